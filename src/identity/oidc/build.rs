//! From `[identity.oidc.NAME]` to a provider.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::RandomState;
use aws_lc_rs::error::Unspecified;
use tokio::sync::Semaphore;

use super::config::{Config, SessionConfig};
use super::cookie::Cookies;
use super::exchange::Credentials;
use super::metadata::{Discovery, REFRESH};
use super::provider::{Core, Seals, is_target};
use super::seal::{KeyRing, SHORTEST_SECRET};
use super::sessions::Sessions;
use super::shared::{Shared, Times};
use super::token::Verifier;
use crate::identity::directory::Reads;
use crate::identity::jwt::{Rules, Types};
use crate::identity::keys::{Algorithm, Algorithms, Source};
use crate::identity::{Build, Client, Entry, Kind, Mapping, Url};
use crate::stores::Redis;
use crate::text::{Secret, SecretValue, Spanned, Subject, quoted};

const IDLE: Duration = Duration::from_secs(3600);
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
const REMEMBER: Duration = Duration::from_secs(5);
const MOST: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");
/// How far the provider's clock and this one may be apart, in seconds.
const LEEWAY: u64 = 30;

/// What the request for a login has anyway.
const RESERVED: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
];

/// Browser login at one provider. What is needed of it for one request is in its [`Core`].
pub struct Provider {
    core: Arc<Core>,
    /// What outlives a reload that leaves provider and client the same.
    lasting: Lasting,
    /// How many sessions are remembered from its start on.
    most: NonZeroUsize,
}

#[derive(Clone)]
struct Lasting {
    issuer: Url,
    client_id: Box<str>,
    keys: Arc<KeyRing>,
    /// Whether the keys were drawn, and so are to be kept.
    keys_are_drawn: bool,
    sessions: Arc<Sessions>,
    discovery: Arc<Discovery>,
}

impl Provider {
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Provider").field(&self.core.name).finish()
    }
}

impl Kind for Provider {
    const NAME: &'static str = "oidc";
    type Config = Config;
    type Credentials = ();

    fn credentials(_: &[Entry<'_>], _: Reads<'_>, _: &mut Subject<'_>) {}

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        let errors = context.subject.error_count();
        check(config, &mut context.subject);
        let folder = context.folder();
        let client = Client::build(&config.client, folder, &mut context.subject.key("client"))?;
        client.check(&config.issuer, &mut context.subject.key("issuer"));
        let secret = match &config.client_secret {
            None => None,
            Some(secret) => Some(read(
                secret,
                context.folder(),
                &mut context.subject.key("client_secret"),
            )?),
        };
        let lasting = lasting(config, context)?;
        let session = &config.session;
        let shared = match &session.store {
            None => None,
            Some(name) => {
                let mut subject = context.subject.key("session");
                let store = context.stores.find(name, &mut subject.key("store"))?;
                if session.keys.is_empty() {
                    subject
                        .error(name.span, "needs keys: each gateway would draw its own, and read no other's sessions")
                        .help("write keys = [{ file = \"…\" }], the same for all of them");
                }
                Some(share(config, store, &lasting, context.name))
            }
        };
        if context.subject.error_count() > errors {
            return None;
        }
        match core(config, context, &lasting, (client, secret, shared)) {
            Ok(core) => Some(Provider {
                core: Arc::new(core),
                lasting,
                most: most(session),
            }),
            Err(Unspecified) => {
                context
                    .subject
                    .error(context.span, "cannot be used: the system gives no keys");
                None
            }
        }
    }

    /// Asks the provider where it is, and again from time to time, so that nobody has to wait for that.
    fn start(self: &Arc<Self>) {
        self.lasting.sessions.memory.resize(self.most);
        self.core.verifier.keys.start();
        let core = Arc::downgrade(&self.core);
        tokio::spawn(keep_known(core));
    }
}

async fn keep_known(core: Weak<Core>) {
    let mut pause = Duration::from_secs(1);
    loop {
        {
            let Some(core) = core.upgrade() else { return };
            pause = match core.discovery.refresh(&core.client, &core.issuer).await {
                Ok(_) => REFRESH,
                Err(error) => {
                    log::warn!("oidc {}: {error}", core.name);
                    (pause * 2).min(Duration::from_secs(60))
                }
            };
        }
        tokio::time::sleep(pause).await;
    }
}

fn check(config: &Config, subject: &mut Subject<'_>) {
    let callback = &config.callback_url;
    let mut place = subject.key("callback_url");
    if !callback.is_https() && !callback.is_local() && !config.client.allow_http {
        let what = format!("must be https, got {}", quoted(callback.as_str()));
        place
            .error(callback.span, what)
            .help("over http, anybody on the way could take the session");
    }
    if callback.uri().query().is_some() {
        place.error(callback.span, "must be without a query");
    }
    for (index, scope) in config.scopes.iter().enumerate() {
        let is_token = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if scope.is_empty() || !scope.bytes().all(is_token) {
            let what = format!("must be one scope, got {}", quoted(scope));
            subject.key("scopes").index(index).error(scope.span, what);
        }
    }
    for (name, value) in &config.parameters {
        if RESERVED.contains(&name.as_str()) {
            let mut table = subject.key("parameters");
            table
                .key(name)
                .error(value.span, "is the gateway's own to set");
        }
    }
    if let Some(after) = &config.after_logout {
        let is_url = after.value.parse::<Url>().is_ok();
        if !is_url && !is_target(&after.value) {
            let what = format!("must be a path or a URL, got {}", quoted(&after.value));
            subject.key("after_logout").error(after.span, what);
        }
    }
    check_session(&config.session, &mut subject.key("session"));
}

fn check_session(session: &SessionConfig, subject: &mut Subject<'_>) {
    let (idle, lifetime) = (idle(session), lifetime(session));
    if let Some(written) = &session.lifetime
        && lifetime < idle
    {
        subject
            .key("lifetime")
            .error(written.span, "must not be shorter than idle");
    }
    if let Some(store) = &session.store
        && remember(session) >= idle
    {
        subject.error(
            store.span,
            "remember must be shorter than idle, or a session ends here that is used elsewhere",
        );
    }
}

fn idle(session: &SessionConfig) -> Duration {
    session.idle.map_or(IDLE, |idle| idle.as_std())
}

fn lifetime(session: &SessionConfig) -> Duration {
    session
        .lifetime
        .as_ref()
        .map_or(LIFETIME, |lifetime| lifetime.as_std())
}

fn remember(session: &SessionConfig) -> Duration {
    session
        .remember
        .map_or(REMEMBER, |remember| remember.as_std())
}

fn most(session: &SessionConfig) -> NonZeroUsize {
    let most = session.most.and_then(|most| most.try_into().ok());
    most.unwrap_or(MOST)
}

fn read(secret: &Spanned<Secret>, base: &Path, subject: &mut Subject<'_>) -> Option<SecretValue> {
    match secret.read(base) {
        Ok(value) => Some(value),
        Err(error) => {
            subject.error(secret.span, error);
            None
        }
    }
}

/// What outlives reloads: of the provider before, where it is the same.
fn lasting(config: &Config, context: &mut Build<'_, Provider>) -> Option<Lasting> {
    let is_same = |it: &&Lasting| {
        it.issuer == config.issuer.value && *it.client_id == *config.client_id.value
    };
    let before = context.before.map(|before| &before.lasting).filter(is_same);
    let (keys, keys_are_drawn) = keys(config, before, context)?;
    if let Some(before) = before {
        return Some(Lasting {
            keys,
            keys_are_drawn,
            ..before.clone()
        });
    }
    Some(Lasting {
        issuer: config.issuer.value.clone(),
        client_id: config.client_id.as_str().into(),
        keys,
        keys_are_drawn,
        sessions: Arc::new(Sessions::new(most(&config.session))),
        discovery: Arc::default(),
    })
}

fn keys(
    config: &Config,
    before: Option<&Lasting>,
    context: &mut Build<'_, Provider>,
) -> Option<(Arc<KeyRing>, bool)> {
    let written = &config.session.keys;
    if written.is_empty() {
        context
            .subject
            .key("session")
            .warning(context.span, "has no keys: logins end with the process, and every gateway has its own")
            .help("write session = { keys = [{ file = \"…\" }] }, with what `openssl rand -base64 32` prints");
        if let Some(before) = before.filter(|before| before.keys_are_drawn) {
            return Some((before.keys.clone(), true));
        }
        let mut drawn = [0; SHORTEST_SECRET];
        if aws_lc_rs::rand::fill(&mut drawn).is_err() {
            context.subject.error(
                context.span,
                "cannot be used: the system gives no randomness",
            );
            return None;
        }
        return Some((Arc::new(KeyRing::new(context.name, [&drawn[..]])), true));
    }
    let folder = context.folder();
    let mut session = context.subject.key("session");
    let mut list = session.key("keys");
    let mut secrets = Vec::with_capacity(written.len());
    for (index, secret) in written.iter().enumerate() {
        let mut subject = list.index(index);
        let value = read(secret, folder, &mut subject)?;
        if value.expose().len() < SHORTEST_SECRET {
            let what = format!("must be of at least {SHORTEST_SECRET} bytes");
            subject
                .error(secret.span, what)
                .help("make one with `openssl rand -base64 32`");
            return None;
        }
        secrets.push(value);
    }
    let secrets = secrets.iter().map(SecretValue::expose);
    Some((Arc::new(KeyRing::new(context.name, secrets)), false))
}

fn share(config: &Config, store: Arc<Redis>, lasting: &Lasting, name: &str) -> Shared {
    let times = Times {
        idle: idle(&config.session),
        lease: lease(config),
    };
    Shared::new(store, lasting.keys.clone(), name, times)
}

/// A renewal asks the provider up to five times: where it is, for tokens, for the place of its keys, for these, and for
/// claims. Keys may have a cool-down, and the store is told of it all.
fn lease(config: &Config) -> Duration {
    config.client.timeout.as_std() * 5 + Duration::from_secs(10)
}

fn core(
    config: &Config,
    context: &Build<'_, Provider>,
    lasting: &Lasting,
    (client, secret, shared): (Client, Option<SecretValue>, Option<Shared>),
) -> Result<Core, Unspecified> {
    static BUILDS: AtomicU64 = AtomicU64::new(0);
    let session = &config.session;
    let mut scopes = String::from("openid");
    for scope in config
        .scopes
        .iter()
        .filter(|scope| scope.as_str() != "openid")
    {
        scopes.push(' ');
        scopes.push_str(scope);
    }
    let parameters = config.parameters.iter();
    let before = context.before.map(|before| &before.core.verifier.keys);
    Ok(Core {
        name: context.name.clone(),
        issuer: config.issuer.value.clone(),
        credentials: Credentials {
            id: config.client_id.as_str().into(),
            secret,
            shown: config.client_auth,
        },
        callback: config.callback_url.value.clone(),
        scopes: scopes.into(),
        parameters: parameters
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect(),
        asks_userinfo: config.userinfo,
        after_logout: config
            .after_logout
            .as_ref()
            .map_or("/", |after| after.as_str())
            .into(),
        verifier: Verifier {
            client_id: config.client_id.as_str().into(),
            id: rules(config, &["JWT"], &["iat", "sub"]),
            logout: rules(config, &["JWT", "logout+jwt"], &["iat"]),
            keys: Source::published(&config.issuer, &client, before, context),
            state: RandomState::new(),
        },
        client,
        discovery: lasting.discovery.clone(),
        mapping: Mapping::new(&config.claims, context.consumers),
        build: BUILDS.fetch_add(1, Ordering::Relaxed),
        cookies: Cookies::new(context.name, config.callback_url.is_https()),
        seals: Seals {
            session: lasting.keys.sealer("session cookie", b"")?,
            login: lasting.keys.sealer("login cookie", b"")?,
        },
        sessions: lasting.sessions.clone(),
        shared,
        idle: idle(session).as_secs().max(1),
        lifetime: lifetime(session).as_secs().max(1),
        remember: u64::try_from(remember(session).as_millis()).unwrap_or(u64::MAX),
        on_store_down: session.on_store_down,
        patience: lease(config),
        logins: Semaphore::new(config.concurrent.get().into()),
        renewals: Semaphore::new(config.concurrent.get().into()),
        needs_access: false,
    })
}

/// What holds for every token of the provider. Whoever can verify a signature of a client secret can make one, so that
/// only keys of pairs count.
fn rules(config: &Config, types: &'static [&'static str], required: &[&str]) -> Rules {
    let algorithms = Algorithm::ALL.into_iter().filter(|it| !it.is_symmetric());
    Rules {
        algorithms: algorithms.collect::<Algorithms>(),
        types: Types::NoneOr(types),
        issuer: config.issuer.as_str().into(),
        audiences: Some([config.client_id.as_str().into()].into()),
        required: required.iter().map(|&name| name.into()).collect(),
        leeway: LEEWAY,
        longest_life: None,
    }
}
