//! `introspection`: the server that gave a token out says whose it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use tokio::sync::Semaphore;

use crate::harness::*;

/// What the server answers about each token.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<HashMap<String, Written>>>);

#[derive(Clone)]
struct Written {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answers {
    fn say(&self, token: &str, body: impl Into<String>) {
        self.write(token, 200, &[("content-type", "application/json")], body);
    }

    fn write(
        &self,
        token: &str,
        status: u16,
        headers: &[(&'static str, &str)],
        body: impl Into<String>,
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.to_string()));
        let written = Written {
            status,
            headers: headers.collect(),
            body: body.into(),
        };
        self.0.lock().unwrap().insert(token.to_owned(), written);
    }

    fn answer(&self, seen: &Seen) -> Response<Body> {
        let form = String::from_utf8(seen.body.to_vec()).unwrap();
        let token = form
            .strip_prefix("token=")
            .and_then(|rest| rest.split('&').next());
        let answers = self.0.lock().unwrap();
        let Some(written) = answers.get(token.expect("a token")) else {
            return reply(
                200,
                &[("content-type", "application/json")],
                full(r#"{"active":false}"#),
            );
        };
        let headers: Vec<_> = written
            .headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        reply(written.status, &headers, full(written.body.clone()))
    }

    fn server(&self) -> Origin {
        let answers = self.clone();
        Origin::http1(move |seen| answers.answer(&seen))
    }
}

const GATEWAY: &str = r#"
    [identity.introspection.main]
    url = "$url"
    client_id = "gate:way"
    client_secret = { file = "$secret" }
    $more

    [upstreams.shop]
    endpoints = ["$shop"]

    [gateway.policies.request_headers.set]
    x-who = "{identity.subject}|{identity.scopes}|{identity.tenant}"

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.introspection = {}
"#;

struct Shop {
    gateway: Gateway,
    origin: Origin,
    _folder: tempfile::TempDir,
}

async fn shop(url: impl std::fmt::Display, more: &str) -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s p%cret\n").unwrap();
    let origin = Origin::http1(|seen| text(seen.header("x-who").unwrap_or_default().to_owned()));
    let gateway = Gateway::draft(GATEWAY)
        .with("url", url)
        .with("secret", secret.display())
        .with("shop", &origin)
        .with("more", more)
        .start()
        .await;
    Shop {
        gateway,
        origin,
        _folder: folder,
    }
}

fn show(token: &str) -> Ask {
    get("/a").header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn the_server_says_whose_a_token_is() {
    for (more, is_post) in [("", false), ("client_authentication = \"post\"", true)] {
        let answers = Answers::default();
        let server = answers.server();
        let shop = shop(format!("http://{server}/introspect"), more).await;
        answers.say(
            "full",
            r#"{"active":true,"sub":"u1","scope":"a b","tenant":"acme","exp":4000000000}"#,
        );
        answers.say(
            "program",
            r#"{"active":true,"client_id":"robot","scope":"a"}"#,
        );
        answers.say("nobody", r#"{"active":true,"scope":"a"}"#);
        for protocol in [Protocol::Http1, Protocol::H2] {
            let client = shop.gateway.client(protocol);
            assert_eq!(client.send(show("full")).await.text(), "u1|a b|acme");
            // What an unknown variable leaves out, the whole header leaves out.
            assert_eq!(client.send(show("program")).await.status, 200);
            client
                .send(show("nobody"))
                .await
                .assert_problem(401, "credential_refused");
            let unknown = client.send(show("unknown")).await;
            unknown.assert_problem(401, "credential_refused");
            assert_eq!(
                unknown.header("www-authenticate"),
                Some("Bearer realm=\"northgate\", error=\"invalid_token\"")
            );
            let none = client.send(get("/a")).await;
            none.assert_problem(401, "unauthenticated");
            assert_eq!(
                none.header("www-authenticate"),
                Some("Bearer realm=\"northgate\"")
            );
        }
        // Each token was asked about once, over both.
        let seen = server.seen();
        assert_eq!(seen.len(), 4);
        let asked = &seen[0];
        assert_eq!(
            (asked.method.as_str(), &*asked.target),
            ("POST", "/introspect")
        );
        assert_eq!(asked.header("accept"), Some("application/json"));
        let form = std::str::from_utf8(&asked.body).unwrap();
        match is_post {
            // "gate%3Away:s%20p%25cret"
            false => {
                assert_eq!(
                    asked.header("authorization"),
                    Some("Basic Z2F0ZSUzQXdheTpzJTIwcCUyNWNyZXQ=")
                );
                assert_eq!(form, "token=full&token_type_hint=access_token");
            }
            true => {
                assert_eq!(asked.header("authorization"), None);
                assert_eq!(
                    form,
                    "token=full&token_type_hint=access_token&client_id=gate%3Away&client_secret=s%20p%25cret"
                );
            }
        }
    }
}

/// Tokens that are refused with 401, by what the server says of them.
const REFUSED: &[(&str, &str)] = &[
    ("not-active", r#"{"active":false,"sub":"u1"}"#),
    (
        "expired",
        r#"{"active":true,"sub":"u1","iss":"https://id.test","aud":"shop","exp":1}"#,
    ),
    (
        "not-yet-good",
        r#"{"active":true,"sub":"u1","iss":"https://id.test","aud":"shop","nbf":4000000000}"#,
    ),
    (
        "another-issuer",
        r#"{"active":true,"sub":"u1","iss":"https://evil.test","aud":"shop"}"#,
    ),
    ("no-issuer", r#"{"active":true,"sub":"u1","aud":"shop"}"#),
    (
        "another-audience",
        r#"{"active":true,"sub":"u1","iss":"https://id.test","aud":["other"]}"#,
    ),
    (
        "no-audience",
        r#"{"active":true,"sub":"u1","iss":"https://id.test"}"#,
    ),
    (
        "bound-to-a-key",
        r#"{"active":true,"sub":"u1","iss":"https://id.test","aud":"shop","cnf":{"jkt":"x"}}"#,
    ),
    (
        "subject-of-a-wrong-type",
        r#"{"active":true,"sub":["u1"],"iss":"https://id.test","aud":"shop"}"#,
    ),
];

const JSON: (&str, &str) = ("content-type", "application/json");
const GOOD: &str = r#"{"active":true,"sub":"u1","iss":"https://id.test","aud":"shop"}"#;

type Headers<'a> = &'a [(&'static str, &'a str)];

#[tokio::test]
async fn no_answer_lets_in_whom_it_should_not() {
    let answers = Answers::default();
    let (server, elsewhere) = (answers.server(), answers.server());
    let more =
        "issuer = \"https://id.test\"\naudiences = [\"shop\"]\nclient = { timeout = \"2s\" }";
    let shop = shop(format!("http://{server}/"), more).await;
    let client = shop.gateway.http1();
    answers.say("good", GOOD);
    assert_eq!(client.send(show("good")).await.status, 200);
    for (token, body) in REFUSED {
        answers.say(token, *body);
        let answer = client.send(show(token)).await;
        eprintln!("{token}: {}", shop.gateway.log_of(&answer).await["cause"]);
        answer.assert_problem(401, "credential_refused");
    }
    // What says nothing of the token is no answer.
    let there = format!("http://{elsewhere}/");
    let large = format!(
        r#"{{"active":true,"sub":"u1","x":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    let cases: [(&str, u16, Headers<'_>, &str); 14] = [
        ("redirect", 302, &[JSON, ("location", &there)], GOOD),
        (
            "redirect-that-repeats",
            307,
            &[JSON, ("location", &there)],
            GOOD,
        ),
        ("failure", 500, &[JSON], GOOD),
        ("unknown-client", 401, &[JSON], GOOD),
        ("created", 201, &[JSON], GOOD),
        ("page", 200, &[("content-type", "text/html")], GOOD),
        ("no-kind", 200, &[], GOOD),
        ("no-json", 200, &[JSON], "active"),
        ("nothing", 200, &[JSON], "{}"),
        (
            "active-as-text",
            200,
            &[JSON],
            r#"{"active":"true","sub":"u1"}"#,
        ),
        (
            "active-twice",
            200,
            &[JSON],
            r#"{"active":false,"active":true,"sub":"u1"}"#,
        ),
        (
            "expiry-as-text",
            200,
            &[JSON],
            r#"{"active":true,"sub":"u1","exp":"4000000000"}"#,
        ),
        (
            "compressed",
            200,
            &[JSON, ("content-encoding", "gzip")],
            GOOD,
        ),
        ("large", 200, &[JSON], &large),
    ];
    for (token, status, headers, body) in cases {
        answers.write(token, status, headers, body);
        let answer = client.send(show(token)).await;
        eprintln!("{token}");
        answer.assert_problem(503, "authentication_unavailable");
    }
    assert!(elsewhere.seen().is_empty(), "no redirect is followed");
    // What is no token is asked nobody about.
    let asked = server.seen().len();
    for ask in [
        get("/a")
            .header("authorization", "Bearer good")
            .header("authorization", "Bearer good"),
        get("/a").header("authorization", "Bearer good&token=good"),
        get("/a").header("authorization", "Bearer good, Bearer good"),
        get("/a").header("authorization", "Bearer"),
    ] {
        client
            .send(ask)
            .await
            .assert_problem(401, "credential_refused");
    }
    for ask in [
        get("/a?access_token=good"),
        get("/a").header("cookie", "access_token=good"),
        get("/a").header("authorization", "Basic good"),
        get("/a").header("proxy-authorization", "Bearer good"),
    ] {
        client
            .send(ask)
            .await
            .assert_problem(401, "unauthenticated");
    }
    assert_eq!(server.seen().len(), asked);
    assert_eq!(shop.origin.seen().len(), 1, "nobody else got in");
}

#[tokio::test]
async fn however_often_it_is_shown_there_is_one_question() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Origin::serving(Protocol::Http1, {
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                reply(200, &[JSON], full(r#"{"active":true,"sub":"u1"}"#))
            }
        }
    });
    let shop = shop(format!("http://{server}/"), "").await;
    let client = Arc::new(shop.gateway.http2());
    let all: Vec<_> = (0..40)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.send(show("same")).await.status })
        })
        .collect();
    eventually("the question", async || {
        (server.connections() == 1).then_some(())
    })
    .await;
    gate.add_permits(1);
    for status in all {
        assert_eq!(status.await.unwrap(), 200);
    }
    assert_eq!((server.seen().len(), server.connections()), (1, 1));
}

#[tokio::test]
async fn what_a_server_that_is_down_means_is_a_choice() {
    for (choice, expected) in [("refuse", 503), ("allow_cached", 200)] {
        let answers = Answers::default();
        let server = answers.server();
        let more = format!(
            "on_server_down = \"{choice}\"\nremember = \"1ms\"\nremember_refused = \"1ms\"\nclient = {{ timeout = \"1s\" }}"
        );
        let shop = shop(format!("http://{server}/"), &more).await;
        let client = shop.gateway.http1();
        let soon = crate::harness::tokens::from_now(4);
        answers.say("kept", r#"{"active":true,"sub":"u1","exp":4000000000}"#);
        answers.say(
            "ends",
            format!(r#"{{"active":true,"sub":"u1","exp":{soon}}}"#),
        );
        for token in ["kept", "ends"] {
            assert_eq!(client.send(show(token)).await.status, 200);
        }
        assert_eq!(client.send(show("refused")).await.status, 401);
        drop(server);
        assert_eq!(client.send(show("kept")).await.status, expected);
        assert_eq!(client.send(show("unknown")).await.status, 503);
        // A token that was refused is not let in for want of an answer.
        let refused = client.send(show("refused")).await.status;
        assert!(refused == 401 || refused == 503, "{refused}");
        // Nobody is let in beyond the end of a token.
        eventually("its end", async || {
            let status = client.send(show("ends")).await.status;
            assert!(status == expected || status == 503, "{status}");
            (status == 503).then_some(())
        })
        .await;
        assert_eq!(client.send(show("kept")).await.status, expected);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_nobody_up_for_long() {
    let server = crate::origins::silent::start();
    let more = "concurrent = 1\nclient = { timeout = \"400ms\" }";
    let shop = shop(format!("http://{server}/"), more).await;
    let client = Arc::new(shop.gateway.http2());
    let began = std::time::Instant::now();
    let all: Vec<_> = (0..10)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.send(show(&format!("t{n}"))).await })
        })
        .collect();
    for answer in all {
        answer
            .await
            .unwrap()
            .assert_problem(503, "authentication_unavailable");
    }
    // One asks and the others wait for its place, each for no longer than its own patience and then its own question.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

/// npm's `oidc-provider`, with tokens that it alone can read.
#[tokio::test]
async fn a_real_provider_is_asked() {
    let provider = Provider::start().await;
    let origin = Origin::http1(|seen| text(seen.header("x-who").unwrap_or_default().to_owned()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "shop-secret").unwrap();
    let gateway = Gateway::draft(
        r#"
        [identity.introspection.main]
        url = "$issuer/token/introspection"
        client_id = "shop"
        client_secret = { file = "$secret/secret" }
        audiences = ["shop"]
        remember = "1ms"

        [upstreams.shop]
        endpoints = ["$origin"]

        [gateway.policies.request_headers.set]
        x-who = "{identity.subject}|{identity.scopes}"

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        policies.introspection = {}
        "#,
    )
    .with("issuer", provider.issuer())
    .with("secret", folder.path().display())
    .with("origin", &origin)
    .start()
    .await;
    let client = gateway.http1();
    let token = provider.token("orders:read", "urn:shop:opaque").await;
    let answer = client.send(show(&token)).await;
    assert_eq!(
        (answer.status, &*answer.text()),
        (200, "machine|orders:read")
    );
    let forged = format!("{}x", &token[..token.len() - 1]);
    client
        .send(show(&forged))
        .await
        .assert_problem(401, "credential_refused");
    provider.go_down().await;
    client
        .send(show(&token))
        .await
        .assert_problem(503, "authentication_unavailable");
    provider.come_back().await;
    eventually("it is asked again", async || {
        (client.send(show(&token)).await.status == 200).then_some(())
    })
    .await;
    let form = format!("token={token}");
    let revoked = provider.post("/token/revocation", "machine", &form).await;
    assert_eq!(revoked.status, 200);
    client
        .send(show(&token))
        .await
        .assert_problem(401, "credential_refused");
}
