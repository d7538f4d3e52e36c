// A real OpenID provider, npm's oidc-provider, on a loopback port that the kernel chooses.
//
//   node provider.mjs FOLDER     where ./install has put the package
//
// It is told what to do by lines of JSON on its input, and answers each with one line, { ... } or { error }. The first
// line that it writes says where it is, { issuer }. It ends with its input.
//
//   { configure: {...} }         settings of oidc-provider that come in the place of earlier ones: clients, ttl, ...
//   { rotate: "keep" | "drop" }  signs with new keys from now on; earlier ones stay published, or not
//   { state: "up" | "down" | "error" }  is there, closes every connection, or answers 500
//   { sign: claims, header }     a JWT of any content, signed with the key of header.alg
//   { change: {...} }            what is otherwise the same: `people` who are others now, paths that are `failing` with
//                                500, milliseconds that a path is `slow`, and whether access tokens are for a `resource`
//                                (without it they are for the userinfo endpoint)
//   { seen: "/jwks" }            how often the path was asked for, and how often at the same time
//
// Who logs in has no password but "password". People have the claims of `people`, below.

// Its output is for answers alone.
console.info = console.log = console.warn = console.error;

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const packages = join(process.argv[2], 'node_modules');
const load = (file) => import(pathToFileURL(join(packages, file)));
const { Provider } = await load('oidc-provider/lib/index.js');
const { createMemoryAdapter } = await load('oidc-provider/lib/adapters/memory_adapter.js');
const { SignJWT, exportJWK, generateKeyPair, importJWK } = await load('jose/dist/webapi/index.js');

const people = {
  alice: { email: 'alice@shop.test', name: 'Alice', roles: ['customer', 'admin'], groups: ['staff'], tenant: 'acme' },
  bob: { email: 'bob@shop.test', name: 'Bob', roles: ['customer'], groups: [], tenant: 'globex' },
};
const claimsOf = (who) => changes.people[who] ?? people[who];
const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const state = { up: true, fails: false, seen: new Map(), now: new Map(), most: new Map(), keys: [], generation: 0 };
const changes = { people: {}, failing: [], slow: {}, resource: true };

// --- keys

async function newKeys() {
  state.generation += 1;
  return Promise.all(algorithms.map(async (alg) => {
    const curve = alg === 'EdDSA' ? { crv: 'Ed25519' } : {};
    const { privateKey } = await generateKeyPair(alg, { extractable: true, ...curve });
    const kid = `${alg.toLowerCase()}-${state.generation}`;
    return { ...await exportJWK(privateKey), alg, kid, use: 'sig' };
  }));
}

async function sign(claims, { alg = 'RS256', ...header } = {}) {
  const key = state.keys.find((it) => it.alg === alg);
  const jwt = new SignJWT(claims).setProtectedHeader({ alg, kid: key.kid, ...header });
  return jwt.sign(await importJWK(key, alg));
}

// --- the provider

const settings = {
  adapter: createMemoryAdapter(),
  ttl: {
    AccessToken: 300, AuthorizationCode: 60, ClientCredentials: 300, Grant: 3600, IdToken: 300, Interaction: 300,
    RefreshToken: 3600, Session: 3600,
  },
  cookies: { keys: ['a key of this test'] },
  clients: [
    {
      client_id: 'shop',
      client_secret: 'shop-secret',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/callback'],
    },
    {
      client_id: 'machine',
      client_secret: 'machine-secret',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    },
  ],
  scopes: ['openid', 'profile', 'email', 'offline_access', 'orders:read', 'orders:write'],
  claims: {
    openid: ['sub', 'roles', 'groups', 'tenant'],
    profile: ['name'],
    email: ['email'],
  },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  enabledJWA: { idTokenSigningAlgValues: algorithms },
  rotateRefreshToken: true,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    revocation: { enabled: true, allowedPolicy: async () => true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async (ctx, client, one) => one ?? (changes.resource ? 'urn:shop:jwt' : undefined),
      useGrantedResource: async () => true,
      // urn:shop:jwt, urn:shop:jwt:ES256, urn:shop:opaque
      getResourceServerInfo: async (ctx, resource) => ({
        scope: 'orders:read orders:write',
        audience: 'shop',
        accessTokenTTL: settings.ttl.AccessToken,
        accessTokenFormat: resource.includes(':jwt') ? 'jwt' : 'opaque',
        jwt: { sign: { alg: resource.split(':')[3] ?? 'RS256' } },
      }),
    },
  },
  extraTokenClaims: async (ctx, token) => claimsOf(token.accountId),
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, ...claimsOf(id) }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  // Its own asks no address of this machine, and so no gateway for a back-channel logout.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  // Nobody is asked to consent.
  loadExistingGrant: async ({ oidc }) => {
    const { client, session, provider, resourceServers } = oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(settings.scopes.join(' '));
    for (const resource of Object.keys(resourceServers)) grant.addResourceScope(resource, settings.scopes.join(' '));
    await grant.save();
    return grant;
  },
};

function build() {
  state.provider = new Provider(issuer, { ...settings, jwks: { keys: state.keys } });
}

// --- logging in, in one form

const FORM = (uid) => `<!doctype html><title>Log in</title>
<form method="post" action="/interaction/${uid}">
<input name="login" aria-label="login"><input name="password" type="password" aria-label="password">
<button id="log-in">Log in</button></form>`;

async function interact(request, response) {
  const { uid } = await state.provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html').end(FORM(uid));
    return;
  }
  let body = '';
  for await (const part of request) body += part;
  const form = new URLSearchParams(body);
  const accountId = form.get('login');
  const result = accountId in people && form.get('password') === 'password'
    ? { login: { accountId } }
    : { error: 'access_denied', error_description: 'that is not the password' };
  await state.provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

// --- the server

const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  state.seen.set(path, (state.seen.get(path) ?? 0) + 1);
  if (!state.up) return request.socket.destroy();
  if (state.fails || changes.failing.includes(path)) return response.writeHead(500).end();
  state.now.set(path, (state.now.get(path) ?? 0) + 1);
  state.most.set(path, Math.max(state.most.get(path) ?? 0, state.now.get(path)));
  response.once('close', () => state.now.set(path, state.now.get(path) - 1));
  setTimeout(() => answer(path, request, response), changes.slow[path] ?? 0);
});

function answer(path, request, response) {
  if (!path.startsWith('/interaction/')) return state.provider.callback()(request, response);
  return interact(request, response).catch((error) => response.writeHead(400).end(String(error)));
}

await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
const issuer = `http://127.0.0.1:${server.address().port}`;
state.keys = await newKeys();
build();

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ issuer });

async function obey(order) {
  if (order.configure) {
    Object.assign(settings, order.configure, { ttl: { ...settings.ttl, ...order.configure.ttl } });
    build();
  } else if (order.rotate) {
    const earlier = order.rotate === 'keep' ? state.keys : [];
    state.keys = [...await newKeys(), ...earlier];
    build();
  } else if (order.state) {
    state.up = order.state !== 'down';
    state.fails = order.state === 'error';
    server.closeIdleConnections();
  } else if (order.sign) {
    return { token: await sign(order.sign, order.header) };
  } else if (order.seen) {
    return { count: state.seen.get(order.seen) ?? 0, most: state.most.get(order.seen) ?? 0 };
  } else if (order.change) {
    Object.assign(changes, order.change);
  } else {
    throw new Error('what?');
  }
  return {};
}

for await (const line of createInterface({ input: process.stdin })) {
  say(await obey(JSON.parse(line)).catch((error) => ({ error: String(error) })));
}
process.exit();
