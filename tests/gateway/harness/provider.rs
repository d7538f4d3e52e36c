//! A real OpenID provider: npm's `oidc-provider`, in a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::client::{Answer, Client};
use super::message::post;
use super::pair::Protocol;
use super::wait::within;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/oidc_provider");
/// Packages are installed once, beside other tools of `make test`.
const TOOLS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/oidc_provider");
/// For the packages to come over the network.
const INSTALL_DEADLINE: Duration = Duration::from_secs(180);

/// A provider on a loopback port that the kernel chose. Dropping it ends it.
///
/// It has keys of its own for RS256, PS256, ES256 and EdDSA, and these clients, to which [`Provider::configure`] can
/// add others:
///
/// | client, secret | may |
/// |---|---|
/// | `shop`, `shop-secret` | code flow with PKCE (`redirect_uris`: `http://127.0.0.1/callback`), refresh, client credentials, introspection |
/// | `machine`, `machine-secret` | client credentials, introspection |
///
/// Alice (roles customer, admin; group staff; tenant acme) and Bob (role customer; tenant globex) log in with the
/// password `password`, in a form with the fields `login` and `password` and the button `#log-in`. Nobody is asked
/// to consent. Access tokens have `aud` "shop" and the scopes `orders:read` and `orders:write` as they were asked
/// for. What they are is chosen by `resource`: `urn:shop:jwt` (the default, RS256), `urn:shop:jwt:ES256` and so on
/// for another algorithm, or `urn:shop:opaque`.
///
/// Endpoints: `/auth`, `/token`, `/jwks`, `/me`, `/token/introspection`, `/token/revocation`, `/session/end`,
/// `/.well-known/openid-configuration`. Refresh tokens are good for one use; a second use revokes all that came of
/// the login.
///
/// ```ignore
/// let provider = Provider::start().await;
/// let gateway = Gateway::draft(CONFIG).with("issuer", provider.issuer()).start().await;
/// provider.configure(json!({ "clients": [{ "client_id": "web", "redirect_uris": [callback(&gateway)], … }] })).await;
/// let token = provider.token("orders:read", "urn:shop:jwt").await;
/// ```
pub struct Provider {
    issuer: String,
    pipes: Mutex<Pipes>,
    _child: Child,
}

struct Pipes {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Pipes {
    async fn answer(&mut self) -> Value {
        let line = within("the provider answers", self.answers.next_line()).await;
        let line = line.expect("a line").expect("the provider runs");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Provider {
    pub async fn start() -> Provider {
        let packages = install().await;
        let mut child = Command::new("node")
            .arg(format!("{FOLDER}/provider.mjs"))
            .arg(packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node, from version 20 on");
        let mut pipes = Pipes {
            orders: child.stdin.take().expect("a pipe"),
            answers: BufReader::new(child.stdout.take().expect("a pipe")).lines(),
        };
        let first = pipes.answer().await;
        Provider {
            issuer: first["issuer"].as_str().expect("an issuer").to_owned(),
            pipes: Mutex::new(pipes),
            _child: child,
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn address(&self) -> SocketAddr {
        let address = self.issuer.strip_prefix("http://");
        address.and_then(|it| it.parse().ok()).expect("an address")
    }

    /// For requests to it, as from a browser or a client of OAuth.
    pub fn client(&self) -> Client {
        Client::of(self.address(), Protocol::Http1)
    }

    /// Settings of `oidc-provider` in the place of those that it has: `clients` (all of them), `ttl` (those that are
    /// named) and so on. Sessions, tokens and keys stay.
    pub async fn configure(&self, settings: Value) {
        self.tell(json!({ "configure": settings })).await;
    }

    /// Signs with new keys from now on; those before stay published beside them, or not.
    pub async fn rotate(&self, keeps_earlier: bool) {
        let earlier = if keeps_earlier { "keep" } else { "drop" };
        self.tell(json!({ "rotate": earlier })).await;
    }

    /// Closes every connection without an answer, until [`Provider::come_back`].
    pub async fn go_down(&self) {
        self.tell(json!({ "state": "down" })).await;
    }

    /// Answers everything with 500, until [`Provider::come_back`].
    pub async fn fail(&self) {
        self.tell(json!({ "state": "error" })).await;
    }

    pub async fn come_back(&self) {
        self.tell(json!({ "state": "up" })).await;
    }

    /// Is otherwise the same, but for these: `people` (claims by name, in the place of those that they had),
    /// `failing` (paths that answer 500), `slow` (milliseconds by path) and `resource` (`false`: access tokens are for
    /// the userinfo endpoint).
    pub async fn change(&self, what: Value) {
        self.tell(json!({ "change": what })).await;
    }

    /// How often a path was asked for at the same time, at most.
    pub async fn most_at_once(&self, path: &str) -> u64 {
        let answer = self.tell(json!({ "seen": path })).await;
        answer["most"].as_u64().expect("a number")
    }

    /// How often a path was asked for, such as `/jwks`.
    pub async fn count(&self, path: &str) -> u64 {
        let answer = self.tell(json!({ "seen": path })).await;
        answer["count"].as_u64().expect("a number")
    }

    /// A JWT of any content, signed with the key of the algorithm that `header.alg` names (without it RS256). What
    /// else stands in `header` goes into its header, `kid` by itself.
    pub async fn sign(&self, claims: Value, header: Value) -> String {
        let answer = self.tell(json!({ "sign": claims, "header": header })).await;
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// An access token by the client credentials of `machine`.
    pub async fn token(&self, scope: &str, resource: &str) -> String {
        let form = format!("grant_type=client_credentials&scope={scope}&resource={resource}");
        let answer = self.post("/token", "machine", &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        body["access_token"].as_str().expect("a token").to_owned()
    }

    /// Posts a form as a client, whose secret is its name and `-secret`.
    pub async fn post(&self, path: &str, client: &str, form: &str) -> Answer {
        let basic = STANDARD.encode(format!("{client}:{client}-secret"));
        let ask = post(path, form.to_owned())
            .host(&self.address().to_string())
            .header("authorization", &format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded");
        self.client().send(ask).await
    }

    async fn tell(&self, order: Value) -> Value {
        let mut pipes = self.pipes.lock().await;
        let line = format!("{order}\n");
        let written = pipes.orders.write_all(line.as_bytes()).await;
        written.expect("the provider runs");
        let answer = pipes.answer().await;
        assert!(answer.get("error").is_none(), "{order}: {answer}");
        answer
    }
}

/// The folder of the packages, where they are installed if they are not yet.
async fn install() -> String {
    let installing = Command::new(format!("{FOLDER}/install"))
        .arg(TOOLS)
        .stderr(Stdio::inherit())
        .output();
    let installed = tokio::time::timeout(INSTALL_DEADLINE, installing).await;
    let output = installed.expect("in time").expect("a shell");
    assert!(output.status.success(), "oidc-provider is not installed");
    let folder = String::from_utf8(output.stdout).expect("a path");
    folder.trim().to_owned()
}
