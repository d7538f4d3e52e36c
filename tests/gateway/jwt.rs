//! `jwt`: tokens prove who calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

fn claims(more: Value) -> Value {
    let mut claims =
        json!({ "iss": "https://id.test/", "aud": "shop", "sub": "me", "exp": from_now(300) });
    for (name, value) in more.as_object().expect("claims") {
        claims[name] = value.clone();
    }
    claims
}

fn bearer(path: &str, token: &str) -> Ask {
    get(path).header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn each_algorithm_by_each_kind_of_key() {
    let folder = tempfile::tempdir().unwrap();
    let signers = ALGORITHMS.map(|algorithm| Signer::new(algorithm, algorithm));
    let mut toml = String::new();
    for signer in &signers {
        let name = signer.algorithm.to_ascii_lowercase();
        let path = |kind: &str| folder.path().join(format!("{name}-{kind}"));
        std::fs::write(path("plain"), &signer.plain).unwrap();
        std::fs::write(path("set"), jwks([signer])).unwrap();
        let plain = path("plain").display().to_string();
        let keys = match signer.algorithm.starts_with("HS") {
            true => format!("secret = {{ file = {plain:?} }}"),
            false => format!("file = {plain:?}"),
        };
        for (kind, keys) in [
            ("plain", keys),
            (
                "set",
                format!("file = {:?}", path("set").display().to_string()),
            ),
        ] {
            toml += &format!(
                "[identity.jwt.{name}-{kind}]\nissuer = \"https://id.test/\"\naudiences = [\"shop\"]\n\
                 algorithms = [\"{}\"]\njwks = {{ {keys} }}\n\
                 [routes.{name}-{kind}]\nmatch.path = \"/{name}/{kind}\"\nrespond.status = 200\n\
                 policies.jwt.providers = [\"{name}-{kind}\"]\n",
                signer.algorithm
            );
        }
    }
    let gateway = Gateway::start(&toml).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for signer in &signers {
            let token = signer.token(&claims(json!({})));
            for kind in ["plain", "set"] {
                for other in ALGORITHMS {
                    let path = format!("/{}/{kind}", other.to_ascii_lowercase());
                    let answer = client.send(bearer(&path, &token)).await;
                    let expected = if other == signer.algorithm { 200 } else { 401 };
                    assert_eq!(answer.status, expected, "{} at {path}", signer.algorithm);
                }
            }
        }
    }
}

#[tokio::test]
async fn claims_become_the_identity() {
    let signer = Arc::new(Signer::new("EdDSA", "k"));
    over_each_pair(|pair| {
        let signer = signer.clone();
        async move {
            let origin = Origin::speaking(pair.origin, |_| text("served"));
            let gateway = Gateway::draft(
                r#"
                [identity.jwt.main]
                issuer = "https://id.test/"
                audiences = ["shop"]
                jwks = { inline = '$jwks' }
                claims = { consumer = "azp", roles = "realm_access.roles", groups = "https://shop.test/groups" }

                [consumers.acme]
                plan = "gold"
                roles = ["partner"]

                [upstreams.shop]
                endpoints = ["$shop"]
                protocol = "$protocol"

                [routes.orders]
                match = { path = "/orders" }
                upstream = "shop"
                policies.jwt = {}
                [routes.orders.policies.request_headers.set]
                x-subject = "{identity.subject}"
                x-consumer = "{identity.consumer}"
                x-credential = "{identity.credential}"
                x-provider = "{identity.authenticator}.{identity.provider}"
                x-scopes = "{identity.scopes}"
                x-roles = "{identity.roles}"
                x-groups = "{identity.groups}"
                x-plan = "{identity.plan}"
                x-tenant = "{identity.tenant.id}"
                "#,
            )
            .with("jwks", jwks([&*signer]))
            .with("shop", &origin)
            .with("protocol", pair.origin)
            .start()
            .await;
            let token = signer.token(&claims(json!({
                "azp": "acme", "jti": "t-1", "scope": "orders:read orders:write",
                "realm_access": { "roles": ["buyer"] }, "https://shop.test/groups": ["g1", "g2"],
                "tenant": { "id": 7 },
            })));
            // The second time it is remembered.
            for _ in 0..2 {
                let client = gateway.client(pair.client);
                let answer = client.send(bearer("/orders", &token)).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let seen = origin.seen().pop().unwrap();
                for (name, expected) in [
                    ("x-subject", "me"),
                    ("x-consumer", "acme"),
                    ("x-credential", "t-1"),
                    ("x-provider", "jwt.main"),
                    ("x-scopes", "orders:read orders:write"),
                    ("x-roles", "buyer partner"),
                    ("x-groups", "g1 g2"),
                    ("x-plan", "gold"),
                    ("x-tenant", "7"),
                ] {
                    assert_eq!(seen.header(name), Some(expected), "{name}");
                }
                assert_eq!(gateway.log_of(&answer).await["consumer"], "acme");
            }
            let stranger = signer.token(&claims(json!({ "azp": "nobody" })));
            let answer = gateway.client(pair.client).send(bearer("/orders", &stranger)).await;
            answer.assert_problem(401, "credential_refused");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_is_judged_by_the_provider_that_it_names() {
    let (one, two) = (Signer::new("ES256", "k"), Signer::new("RS256", "k"));
    let gateway = Gateway::draft(
        r#"
        [identity.jwt.one]
        issuer = "https://one.test"
        audiences = ["shop"]
        jwks = { inline = '$one' }

        [identity.jwt.two]
        issuer = "https://two.test"
        audiences = ["shop"]
        jwks = { inline = '$two' }

        [routes.both]
        match = { path = "/both" }
        respond = { status = 200 }
        policies.response_headers.set = { x-who = "{identity.provider}" }
        policies.jwt = { providers = ["one", "two"] }

        [routes.two]
        match = { path = "/two" }
        respond = { status = 200 }
        policies.response_headers.set = { x-who = "{identity.provider}" }
        policies.jwt = { providers = ["two"] }
        "#,
    )
    .with("one", jwks([&one]))
    .with("two", jwks([&two]))
    .start()
    .await;
    let client = gateway.http1();
    let said = async |path: &str, token: &str| {
        let answer = client.send(bearer(path, token)).await;
        match answer.status {
            200 => answer.header("x-who").unwrap().to_owned(),
            status => status.to_string(),
        }
    };
    let from = |signer: &Signer, issuer: &str| signer.token(&claims(json!({ "iss": issuer })));
    // Each is asked for as often as it takes to be remembered, and as a stranger too.
    for _ in 0..3 {
        assert_eq!(said("/both", &from(&one, "https://one.test")).await, "one");
        assert_eq!(said("/both", &from(&two, "https://two.test")).await, "two");
        assert_eq!(said("/two", &from(&two, "https://two.test")).await, "two");
        assert_eq!(said("/two", &from(&one, "https://one.test")).await, "401");
        assert_eq!(said("/both", &from(&one, "https://two.test")).await, "401");
        assert_eq!(said("/both", &from(&two, "https://one.test")).await, "401");
        assert_eq!(
            said("/both", &from(&two, "https://three.test")).await,
            "401"
        );
    }
    let token = from(&two, "https://two.test");
    for _ in 0..3 {
        assert_eq!(said("/both", &token).await, "two");
        assert_eq!(said("/two", &token).await, "two");
    }
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_says() {
    let signer = Signer::new("EdDSA", "k");
    let gateway = Gateway::draft(
        r#"
        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { inline = '$jwks' }
        leeway = "1s"

        [routes.orders]
        match = { path = "/orders" }
        respond = { status = 200 }
        policies.jwt = {}
        "#,
    )
    .with("jwks", jwks([&signer]))
    .start()
    .await;
    let client = gateway.http1();
    let end = from_now(1);
    let token = signer.token(&claims(json!({ "exp": end })));
    let answer = client.send(bearer("/orders", &token)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refused = eventually("the token ends", async || {
        let before = from_now(0);
        let answer = client.send(bearer("/orders", &token)).await;
        match answer.status {
            200 => {
                assert!(
                    before <= end + 1,
                    "it is taken after its end and the leeway"
                );
                None
            }
            _ => Some(answer),
        }
    })
    .await;
    assert!(
        from_now(0) > end,
        "it is taken until its end and the leeway"
    );
    refused.assert_problem(401, "credential_refused");
    let line = gateway.log_of(&refused).await;
    assert_eq!(line["cause"], "the token has expired");
}

#[tokio::test]
async fn a_withdrawn_key_takes_the_remembered_tokens_with_it() {
    let (first, second) = (
        Signer::new("ES256", "first"),
        Signer::new("ES256", "second"),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, jwks([&first])).unwrap();
    let gateway = Gateway::draft(
        r#"
        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { file = "$jwks" }

        [routes.orders]
        match = { path = "/orders" }
        respond = { status = 200 }
        policies.jwt = {}
        "#,
    )
    .with("jwks", path.display())
    .start()
    .await;
    let client = gateway.http1();
    let ask = async |token: &str| client.send(bearer("/orders", token)).await.status;
    let old = first.token(&claims(json!({})));
    let new = second.token(&claims(json!({})));
    assert_eq!(
        (ask(&old).await, ask(&old).await, ask(&new).await),
        (200, 200, 401)
    );
    let publish = |set: String| {
        let part = folder.path().join("part");
        std::fs::write(&part, set).unwrap();
        std::fs::rename(&part, &path).unwrap();
    };
    publish(jwks([&first, &second]));
    eventually("the new key counts", async || {
        (ask(&new).await == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&old).await, 200);
    publish(jwks([&second]));
    eventually("the old key is gone", async || {
        (ask(&old).await == 401).then_some(())
    })
    .await;
    assert_eq!((ask(&old).await, ask(&new).await), (401, 200));
}

#[tokio::test]
async fn who_is_whom_is_told_anew_with_each_configuration() {
    let signer = Signer::new("EdDSA", "k");
    let draft = |plan: &str| {
        Gateway::draft(
            r#"
            [identity.jwt.main]
            issuer = "https://id.test/"
            audiences = ["shop"]
            jwks = { inline = '$jwks' }
            claims = { consumer = "azp" }

            [consumers.acme]
            plan = "$plan"

            [routes.orders]
            match = { path = "/orders" }
            respond = { status = 200 }
            policies.response_headers.set = { x-who = "{identity.plan}" }
            policies.jwt = {}
            "#,
        )
        .with("jwks", jwks([&signer]))
        .with("plan", plan)
    };
    let mut gateway = draft("free").start().await;
    let token = signer.token(&claims(json!({ "azp": "acme" })));
    let client = gateway.http1();
    assert_eq!(
        client.send(bearer("/orders", &token)).await.header("x-who"),
        Some("free")
    );
    draft("gold").apply(&mut gateway).await.unwrap();
    assert_eq!(
        client.send(bearer("/orders", &token)).await.header("x-who"),
        Some("gold")
    );
}

#[tokio::test]
async fn keys_are_waited_for_where_there_are_none_of_the_name() {
    let (first, second) = (
        Signer::new("ES256", "first"),
        Signer::new("ES256", "second"),
    );
    let sets = [jwks([&first]), jwks([&first, &second])];
    let fetches = Arc::new(AtomicUsize::new(0));
    let provider = {
        let fetches = fetches.clone();
        Origin::http1(move |_| {
            let count = fetches.fetch_add(1, Ordering::SeqCst);
            text(sets[count.min(1)].clone())
        })
    };
    let gateway = Gateway::draft(
        r#"
        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { url = "http://$provider/jwks", cooldown = "100ms" }

        [identity.jwt.gone]
        issuer = "https://gone.test/"
        audiences = ["shop"]
        jwks = { url = "http://127.0.0.1:1/jwks", cooldown = "100ms" }

        [routes.orders]
        match = { path = "/orders" }
        respond = { status = 200 }
        policies.jwt = { providers = ["main", "gone"] }
        "#,
    )
    .with("provider", &provider)
    .start()
    .await;
    let client = gateway.http1();
    let old = client
        .send(bearer("/orders", &first.token(&claims(json!({})))))
        .await;
    assert_eq!(old.status, 200, "{}", old.text());
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    let new = client
        .send(bearer("/orders", &second.token(&claims(json!({})))))
        .await;
    assert_eq!(new.status, 200, "{}", new.text());
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    // Where nobody can say what the keys are, the token may be good.
    let token = first.token(&claims(json!({ "iss": "https://gone.test/" })));
    let answer = client.send(bearer("/orders", &token)).await;
    answer.assert_problem(503, "authentication_unavailable");
    assert_eq!(answer.header("www-authenticate"), None);
    // What would be refused with any key waits for none.
    let token = first.token(&claims(json!({ "iss": "https://gone.test/", "exp": 0 })));
    let answer = client.send(bearer("/orders", &token)).await;
    answer.assert_problem(401, "credential_refused");
}

#[tokio::test]
async fn a_caller_learns_what_is_wanted_and_not_what_was_wrong() {
    let signer = Signer::new("ES256", "k");
    let gateway = Gateway::draft(
        r#"
        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { inline = '$jwks' }

        [routes.orders]
        match = { path = "/orders" }
        respond = { status = 200 }
        policies.jwt = {}

        [routes.both]
        match = { path = "/both" }
        respond = { status = 200 }
        policies.response_headers.set = { x-who = "{identity.subject}" }
        policies.jwt = { anonymous = "allow" }
        "#,
    )
    .with("jwks", jwks([&signer]))
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let nobody = client.send(get("/orders")).await;
        nobody.assert_problem(401, "unauthenticated");
        let wanted = "Bearer realm=\"northgate\"";
        assert_eq!(nobody.header("www-authenticate"), Some(wanted));
        let mut answers = Vec::new();
        for (token, cause) in [
            ("x".to_owned(), "the token has not three parts"),
            (
                signer.token(&claims(json!({ "exp": 0 }))),
                "the token has expired",
            ),
            (
                signer.token(&claims(json!({ "aud": "bank" }))),
                "the token is for another audience",
            ),
            (
                Signer::new("ES256", "k").token(&claims(json!({}))),
                "the token's signature is wrong",
            ),
        ] {
            let answer = client.send(bearer("/orders", &token)).await;
            answer.assert_problem(401, "credential_refused");
            assert_eq!(gateway.log_of(&answer).await["cause"], cause);
            let mut body = answer.json();
            for id in ["request_id", "trace_id", "instance"] {
                body.as_object_mut().unwrap().remove(id);
            }
            answers.push((body, answer.header("www-authenticate").map(str::to_owned)));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "all are told the same: {answers:?}");
        // The word is of any case.
        let token = signer.token(&claims(json!({})));
        for word in ["Bearer", "bearer", "BEARER", "bEaReR "] {
            let ask = get("/orders").header("authorization", &format!("{word} {token}"));
            assert_eq!(client.send(ask).await.status, 200, "{word}");
        }
        assert_eq!(client.send(get("/both")).await.header("x-who"), None);
        assert_eq!(
            client.send(bearer("/both", &token)).await.header("x-who"),
            Some("me")
        );
        let bad = client.send(bearer("/both", "x")).await;
        bad.assert_problem(401, "credential_refused");
    }
}
