//! `identity_token`: upstreams verify who calls.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

const GATEWAY: &str = r#"
    [identity.jwt.main]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { file = "$keys" }

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.orders]
    match = { path = "/orders" }
    upstream = "shop"
    policies.jwt = { providers = ["main"], anonymous = "allow" }
    policies.identity_token = { audience = "orders", claims = ["tenant", "realm.roles", "absent"] }

    [routes.other]
    match = { path = "/other" }
    upstream = "shop"
    policies.jwt = { providers = ["main"] }
    policies.identity_token = { audience = "other", header = "x-who-calls" }

    [routes.public]
    match = { path = "/public" }
    upstream = "shop"
"#;

struct Shop {
    gateway: Gateway,
    origin: Origin,
    signer: Signer,
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn start(more: &str) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::new("ES256", "k1");
        let path = folder.path().join("keys.json");
        std::fs::write(&path, jwks([&signer])).unwrap();
        let origin = Origin::http1(|_| text("served"));
        let toml = format!("{GATEWAY}{more}");
        let gateway = Gateway::draft(&toml)
            .with("keys", path.display())
            .with("shop", &origin)
            .start()
            .await;
        Shop {
            gateway,
            origin,
            signer,
            _folder: folder,
        }
    }

    fn token(&self, seconds: i64) -> String {
        let claims = json!({
            "iss": "https://id.test/", "aud": "shop", "sub": "u1", "scope": "a b", "exp": from_now(seconds),
            "tenant": "acme", "realm": { "roles": ["x"] }, "email": "not asked for",
        });
        self.signer.token(&claims)
    }

    /// What the origin was told by this header.
    async fn told(&self, path: &str, token: Option<&str>, header: &str) -> Option<String> {
        let mut ask = get(path)
            .header("x-northgate-identity", "forged")
            .header("x_who_calls", "forged");
        if let Some(token) = token {
            ask = ask.header("authorization", &format!("Bearer {token}"));
        }
        assert_eq!(self.gateway.http1().send(ask).await.status, 200);
        let seen = self.origin.seen().pop().unwrap();
        // Where nobody is asked for a credential, it is none of the gateway's.
        let is_left = seen.header("authorization").is_some();
        assert_eq!(is_left, path == "/public" && token.is_some(), "{path}");
        assert_eq!(seen.header("x_who_calls"), None);
        seen.header(header).map(str::to_owned)
    }

    async fn keys(&self) -> JwkSet {
        let answer = self.gateway.admin(get("/jwks.json")).await;
        assert_eq!(answer.status, 200);
        serde_json::from_slice(&answer.body).unwrap()
    }
}

/// As an upstream does it, by a library that is not ours.
fn verify(token: &str, keys: &JwkSet, audience: &str) -> Result<Value, String> {
    let kid = decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::try_from(keys.find(&kid).ok_or("no such key")?).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["northgate"]);
    let claims = decode::<Value>(token, &key, &validation);
    claims
        .map(|it| it.claims)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_upstream_verifies_who_calls() {
    let shop = Shop::start("").await;
    let token = shop.token(300);
    let header = "x-northgate-identity";
    let told = shop.told("/orders", Some(&token), header).await.unwrap();
    let keys = shop.keys().await;
    let claims = verify(&told, &keys, "orders").unwrap();
    assert_eq!(claims["sub"], "u1");
    assert_eq!(claims["scope"], "a b");
    assert_eq!(claims["authenticator"], "jwt");
    assert_eq!(claims["provider"], "main");
    assert_eq!(
        claims["claims"],
        json!({ "tenant": "acme", "realm.roles": ["x"] })
    );
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(life, 60);
    // The same caller's is used again.
    assert_eq!(
        shop.told("/orders", Some(&token), header).await,
        Some(told.clone())
    );
    assert!(verify(&told, &keys, "other").is_err());
    let other = shop
        .told("/other", Some(&token), "x-who-calls")
        .await
        .unwrap();
    assert_eq!(verify(&other, &keys, "other").unwrap()["sub"], "u1");
    // It ends with the proof, for which the gateway has a leeway of 30 seconds.
    let end = from_now(20);
    let short = shop.token(20);
    let told = shop.told("/orders", Some(&short), header).await.unwrap();
    let claims = verify(&told, &keys, "orders").unwrap();
    assert_eq!(claims["exp"], claims["auth_exp"]);
    assert!(
        (0..=2).contains(&(claims["exp"].as_i64().unwrap() - end - 30)),
        "{claims}"
    );
    // Nobody says who calls where nobody does.
    assert_eq!(shop.told("/orders", None, header).await, None);
    assert_eq!(shop.told("/public", None, header).await, None);
    assert_eq!(shop.told("/public", Some("x"), "x-who-calls").await, None);
}

fn private_key(folder: &std::path::Path, name: &str) -> String {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, pair.serialize_pem()).unwrap();
    format!("{{ file = {:?} }}", path.display().to_string())
}

#[tokio::test]
async fn keys_are_rotated_without_a_token_that_nobody_can_verify() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        private_key(folder.path(), "old"),
        private_key(folder.path(), "new"),
    );
    let header = "x-northgate-identity";
    let before = Shop::start(&format!("[identity.issuer]\nkey = {old}\n")).await;
    let token = before.token(300);
    let told = before.told("/orders", Some(&token), header).await.unwrap();
    let rotated = format!("[identity.issuer]\nkey = {new}\nprevious_keys = [{old}]\n");
    let after = Shop::start(&rotated).await;
    let keys = after.keys().await;
    assert_eq!(keys.keys.len(), 2);
    verify(&told, &keys, "orders").unwrap();
    let token = after.token(300);
    let told = after.told("/orders", Some(&token), header).await.unwrap();
    verify(&told, &keys, "orders").unwrap();
    assert_eq!(
        verify(&told, &before.keys().await, "orders"),
        Err("no such key".into())
    );
    let published = after.gateway.admin(get("/jwks.json")).await.text();
    assert!(!published.contains("\"d\""), "{published}");
}

/// What is planted in every place of a request where a secret may stand, and is looked for wherever something is said.
#[tokio::test]
async fn secrets_are_said_nowhere() {
    let more = "[routes.cookie]\nmatch = { path = \"/cookie\" }\nupstream = \"shop\"\n\
                policies.jwt = { providers = [\"places\"] }\n\
                policies.acl = { scopes = [\"missing\"], explain = true, allow = 'identity.claims.tenant == request.query.tenant' }\n\
                [identity.jwt.places]\nissuer = \"https://id.test/\"\naudiences = [\"shop\"]\njwks = { file = \"$keys\" }\n\
                cookie = \"session\"\nquery = \"access_token\"\n";
    let shop = Shop::start(more).await;
    let canary = "CANARY5ecret";
    let encoded = URL_SAFE_NO_PAD.encode(format!("user:{canary}"));
    let good = shop.token(300);
    let signature = good.rsplit('.').next().unwrap().to_owned();
    let bad = format!("{}.{canary}", good.rsplit_once('.').unwrap().0);
    let authorizations = [
        format!("Bearer {canary}"),
        format!("Bearer {bad}"),
        format!("Bearer {good}"),
        format!("Basic {encoded}"),
        format!("{canary} {canary}"),
        format!("Digest username=\"{canary}\""),
    ];
    let mut answers = Vec::new();
    for path in ["/orders", "/other", "/public", "/cookie", "/nowhere"] {
        for authorization in &authorizations {
            for protocol in [Protocol::Http1, Protocol::H2] {
                let target = format!("{path}?access_token={canary}&api_key={canary}&token={good}");
                let ask = post(&target, canary)
                    .header("authorization", authorization)
                    .header("proxy-authorization", authorization)
                    .header("cookie", &format!("session={canary}; other={canary}"))
                    .header("x-api-key", canary)
                    .header("signature", &format!("sig1=:{canary}:"))
                    .header("dpop", canary)
                    .header("x-forwarded-access-token", canary);
                let answer = shop.gateway.client(protocol).send(ask).await;
                shop.gateway.log_of(&answer).await;
                answers.push(format!("{:?} {}", answer.headers, answer.text()));
            }
        }
    }
    let mut said = answers;
    said.extend(shop.gateway.log().iter().map(Value::to_string));
    said.push(shop.gateway.metrics().await);
    for page in ["/config", "/routes", "/upstreams", "/jwks.json", "/readyz"] {
        said.push(shop.gateway.admin(get(page)).await.text());
    }
    assert!(said.len() > 120, "{}", said.len());
    for text in said {
        for secret in [canary, &encoded, &signature, &bad] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// RFC 6750 section 3.1, and only for bearers of tokens. Which scopes are needed is said where callers are told at all,
/// and where the list means that all of them are.
#[tokio::test]
async fn a_bearer_is_told_that_a_scope_is_missing_and_which_only_where_it_should_be() {
    let route = |name: &str, acl: &str| {
        format!(
            "[routes.{name}]\nmatch = {{ path = \"/{name}/{{tenant}}\" }}\nrespond = {{ status = 200 }}\n\
             policies.jwt = {{}}\npolicies.acl = {{ {acl} }}\n"
        )
    };
    let more = [
        route("scoped", "scopes = [\"a\", \"c\"]"),
        route("told", "scopes = [\"a\", \"c\"], explain = true"),
        route("any", "any_scopes = [\"x\", \"y\"], explain = true"),
        route(
            "tenants",
            "allow = 'identity.claims.tenant == path.tenant || \"admin\" in identity.roles'",
        ),
    ];
    let shop = Shop::start(&more.concat()).await;
    let bearer = format!("Bearer {}", shop.token(300));
    let ask = |path: &str| get(path).header("authorization", &bearer);
    let refused = "Bearer realm=\"northgate\", error=\"insufficient_scope\"";
    let lacks = "the caller lacks";
    for (path, parameter, detail) in [
        ("/scoped/x", "", None),
        (
            "/told/x",
            ", scope=\"a c\"",
            Some(format!("{lacks} one of the scopes a c")),
        ),
        (
            "/any/x",
            "",
            Some(format!("{lacks} each of the scopes x y")),
        ),
    ] {
        let answer = shop.gateway.http1().send(ask(path)).await;
        answer.assert_problem(403, "access_denied");
        let challenge = format!("{refused}{parameter}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some(&*challenge),
            "{path}"
        );
        assert_eq!(
            answer.json()["detail"].as_str(),
            detail.as_deref(),
            "{path}"
        );
    }
    let answer = shop.gateway.http1().send(ask("/scoped/x")).await;
    let line = shop.gateway.log_of(&answer).await;
    assert_eq!(line["subject"], "u1");
    assert_eq!(line["authenticator"], "jwt");
    let cases = [
        ("/tenants/acme", 200),
        ("/tenants/%61cme", 200),
        ("/tenants/other", 403),
    ];
    for (path, status) in cases {
        let answer = shop.gateway.http1().send(ask(path)).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("www-authenticate"), None);
    }
    let answer = shop.gateway.http1().send(get("/tenants/acme")).await;
    answer.assert_problem(401, "unauthenticated");
    assert!(
        answer
            .header("www-authenticate")
            .is_some_and(|it| it.starts_with("Bearer"))
    );
}
