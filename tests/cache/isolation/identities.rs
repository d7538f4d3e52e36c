//! Who may have what was said to whom: routes that know who asks.

use northgate::identity::api_key::{KeyHash, Prefix, make};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::{Ask, Body, Client, Gateway, Origin, Protocol, Seen, full, get, reply};

const ROUTES: &str = r#"
    [identity.jwt.main]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { file = "$keys" }

    [consumers.ann]
    api_keys = ["$ann"]

    [consumers.ben]
    api_keys = ["$ben"]

    [upstreams.origin]
    endpoints = ["$origin"]

    [routes.key-shared]
    match = { path = "/key/shared/{*rest}" }
    upstream = "origin"
    policies.api_key = { forward = { x-who = "consumer" } }
    policies.cache = {}

    [routes.key-own]
    match = { path = "/key/own/{*rest}" }
    upstream = "origin"
    policies.api_key = { forward = { x-who = "consumer" } }
    policies.cache = { vary_by = ["identity"] }

    [routes.key-open]
    match = { path = "/key/open/{*rest}" }
    upstream = "origin"
    policies.api_key = { anonymous = "allow", forward = { x-who = "consumer" } }
    policies.cache = { vary_by = ["identity"] }

    [routes.key-loose]
    match = { path = "/key/loose/{*rest}" }
    upstream = "origin"
    policies.api_key = { anonymous = "allow", forward = { x-who = "consumer" } }
    policies.cache = {}

    [routes.token-shared]
    match = { path = "/token/shared/{*rest}" }
    upstream = "origin"
    policies.jwt = { providers = ["main"], forward = { x-who = "subject" } }
    policies.cache = {}

    [routes.token-own]
    match = { path = "/token/own/{*rest}" }
    upstream = "origin"
    policies.jwt = { providers = ["main"], forward = { x-who = "subject" } }
    policies.cache = { vary_by = ["identity"] }
"#;

struct Edge {
    origin: Origin,
    gateway: Gateway,
    /// What ann and ben prove who they are by.
    keys: [String; 2],
    tokens: [String; 2],
    _folder: TempDir,
}

impl Edge {
    /// The origin says what the query of the request asks it to, and who it was.
    async fn new() -> Edge {
        let keys = [(); 2].map(|()| {
            let made = make(&Prefix::default()).expect("randomness");
            made.text.to_string()
        });
        let signer = Signer::new("EdDSA", "k1");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.json");
        std::fs::write(&path, jwks([&signer])).expect("writable");
        let tokens = ["ann", "ben"].map(|who| {
            let (issuer, end) = ("https://id.test/", from_now(300));
            signer.token(&json!({ "iss": issuer, "aud": "shop", "sub": who, "exp": end }))
        });
        let origin = Origin::http1(|seen: Seen| -> http::Response<Body> {
            let control = seen.target.split_once('?').map_or("", |(_, query)| query);
            let control = control.replace('&', ", ");
            let who = seen.header("x-who").unwrap_or("nobody").to_owned();
            let fields = [("cache-control", control.as_str()), ("etag", "\"a\"")];
            reply(200, &fields, full(who))
        });
        let gateway = Gateway::draft(ROUTES)
            .with("keys", path.display())
            .with("ann", KeyHash::of(keys[0].as_bytes()))
            .with("ben", KeyHash::of(keys[1].as_bytes()))
            .with("origin", &origin)
            .start()
            .await;
        Edge {
            origin,
            gateway,
            keys,
            tokens,
            _folder: folder,
        }
    }

    /// As ann, who is 0, or as ben.
    fn ask(&self, path: &str, who: usize) -> Ask {
        if path.starts_with("/token/") {
            let token = format!("Bearer {}", self.tokens[who]);
            return get(path).header("authorization", &token);
        }
        get(path).header("x-api-key", &self.keys[who])
    }

    /// Whose answer ann, ben and ann again have, and how often the origin was asked for it.
    async fn check(&self, route: &str, control: &str, expected: ([&str; 3], usize)) {
        for protocol in [Protocol::Http1, Protocol::H2] {
            let path = format!("{route}/{protocol:?}?{control}");
            let before = self.origin.seen().len();
            let client = self.gateway.client(protocol);
            let mut answers = Vec::new();
            for who in [0, 1, 0] {
                let answer = client.send(self.ask(&path, who)).await;
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                answers.push(answer.text());
            }
            let asked = self.origin.seen().len() - before;
            assert_eq!(
                (answers.as_slice(), asked),
                (expected.0.map(str::to_owned).as_slice(), expected.1),
                "{path}"
            );
        }
    }

    fn clients(&self) -> [Client; 2] {
        [Protocol::Http1, Protocol::H2].map(|protocol| self.gateway.client(protocol))
    }
}

const APART: [&str; 3] = ["ann", "ben", "ann"];
const SHARED: [&str; 3] = ["ann"; 3];

/// RFC 9111 section 3.5, for credentials in whatever field they are shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proven_is_as_private_as_authorization() {
    let edge = Edge::new().await;
    for route in ["/key/shared", "/token/shared"] {
        edge.check(route, "max-age=3600", (APART, 3)).await;
        edge.check(route, "max-age=3600&stale-while-revalidate=60", (APART, 3))
            .await;
        edge.check(route, "max-age=3600&proxy-revalidate", (APART, 3))
            .await;
        edge.check(route, "private", (APART, 3)).await;
        edge.check(route, "private&max-age=3600&public", (APART, 3))
            .await;
        edge.check(route, "no-store", (APART, 3)).await;
        edge.check(route, "no-cache", (APART, 3)).await;
        edge.check(route, "public&max-age=3600", (SHARED, 1)).await;
        edge.check(route, "s-maxage=3600", (SHARED, 1)).await;
        edge.check(route, "max-age=3600&must-revalidate", (SHARED, 1))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vary_by_identity_keeps_them_apart() {
    let edge = Edge::new().await;
    for route in ["/key/own", "/token/own", "/key/open"] {
        edge.check(route, "max-age=3600", (APART, 2)).await;
        edge.check(route, "public&max-age=3600", (APART, 2)).await;
        edge.check(route, "s-maxage=3600", (APART, 2)).await;
        edge.check(route, "max-age=3600&must-revalidate", (APART, 2))
            .await;
        edge.check(route, "no-store", (APART, 3)).await;
        edge.check(route, "private", (APART, 3)).await;
    }
}

/// Who proves nothing is not let in, whatever is stored; nor is who proves it badly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stored_opens_a_door() {
    let edge = Edge::new().await;
    for (number, client) in edge.clients().iter().enumerate() {
        for route in ["/key/shared", "/key/own", "/token/shared", "/token/own"] {
            let path = format!("{route}/door/{number}?public&max-age=3600");
            let answer = client.send(edge.ask(&path, 0)).await;
            assert_eq!(answer.text(), "ann");
            for (name, value) in [
                ("x-nothing", "at-all"),
                ("x-api-key", "guessed"),
                ("authorization", "Bearer e30.e30.e30"),
                ("if-none-match", "\"a\""),
                ("range", "bytes=0-0"),
                ("cache-control", "only-if-cached"),
                ("cache-control", "max-stale"),
                ("x-who", "ann"),
            ] {
                let answer = client.send(get(&path).header(name, value)).await;
                assert_eq!(answer.status, 401, "{path} with {name}: {answer:?}");
                assert!(!answer.text().contains("ann"), "{answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_what_was_somebodys() {
    let edge = Edge::new().await;
    for (number, client) in edge.clients().iter().enumerate() {
        for route in ["/key/open", "/key/loose"] {
            let path = format!("{route}/nobody/{number}?max-age=3600");
            let answer = client.send(edge.ask(&path, 0)).await;
            assert_eq!(answer.text(), "ann");
            let answer = client.send(get(&path)).await;
            assert_eq!(answer.text(), "nobody", "{path}");
        }
        // And what nobody has is not ann's.
        let path = format!("/key/open/turned/{number}?public&max-age=3600");
        let answer = client.send(get(&path)).await;
        assert_eq!(answer.text(), "nobody", "{path}");
        let answer = client.send(edge.ask(&path, 0)).await;
        assert_eq!(answer.text(), "ann", "{path}");
        let answer = client.send(get(&path)).await;
        assert_eq!(answer.text(), "nobody", "{path}");
    }
}

/// Those who wait for the same answer do not get each other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_once_everybody_has_his_own() {
    let edge = Edge::new().await;
    for (number, client) in edge.clients().iter().enumerate() {
        for route in ["/key/shared", "/key/own", "/token/shared", "/token/own"] {
            let path = format!("{route}/at-once/{number}?max-age=3600");
            let asking = (0..12).map(|each| client.send(edge.ask(&path, each % 2)));
            let answers = futures_util::future::join_all(asking).await;
            for (each, answer) in answers.iter().enumerate() {
                assert_eq!(answer.text(), ["ann", "ben"][each % 2], "{path}");
            }
        }
    }
}

/// A refusal is for who was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_stored() {
    let edge = Edge::new().await;
    for (number, client) in edge.clients().iter().enumerate() {
        for route in ["/key/shared", "/key/own", "/token/own"] {
            let path = format!("{route}/refused/{number}?public&max-age=3600");
            let answer = client.send(get(&path)).await;
            assert_eq!(answer.status, 401, "{answer:?}");
            let answer = client.send(edge.ask(&path, 1)).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ben"));
        }
    }
}
