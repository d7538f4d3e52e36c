//! Tokens of a provider that is evil, or of somebody in its place: at a login, and when they are renewed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::harness::tokens::{Signer, encode, from_now, jwks};

/// What a provider answers that is not what it should be: the claims of the next ID token, and how it is made.
type Forge = Arc<dyn Fn(Value, &Signer) -> String + Send + Sync>;

/// A provider that is evil: it gives whatever ID token is to be tried.
struct Evil {
    origin: Origin,
    /// The nonce of the login that is going on.
    nonce: Arc<Mutex<String>>,
    forge: Arc<Mutex<Forge>>,
    /// Of whom the userinfo endpoint speaks.
    subject: Arc<Mutex<String>>,
    /// How many seconds access tokens live.
    lifetime: Arc<AtomicU64>,
}

impl Evil {
    fn start() -> Evil {
        let signer = Signer::new("RS256", "k");
        let nonce = Arc::new(Mutex::new(String::new()));
        let honest: Forge = Arc::new(|claims, signer| signer.token(&claims));
        let forge = Arc::new(Mutex::new(honest));
        let subject = Arc::new(Mutex::new("alice".to_owned()));
        let lifetime = Arc::new(AtomicU64::new(300));
        let (told, makes, speaks) = (nonce.clone(), forge.clone(), subject.clone());
        let lives = lifetime.clone();
        let origin = Origin::http1(move |seen| {
            let issuer = format!("http://{}", seen.host);
            let json = match seen.target.as_str() {
                "/.well-known/openid-configuration" => json!({
                    "issuer": issuer,
                    "authorization_endpoint": format!("{issuer}/auth"),
                    "token_endpoint": format!("{issuer}/token"),
                    "jwks_uri": format!("{issuer}/jwks"),
                    "userinfo_endpoint": format!("{issuer}/userinfo"),
                })
                .to_string(),
                "/jwks" => jwks([&signer]),
                "/userinfo" => {
                    assert_eq!(seen.header("authorization"), Some("Bearer a"));
                    let sub = speaks.lock().expect("no panic").clone();
                    json!({ "sub": sub, "email": "alice@shop.test", "roles": ["root"] }).to_string()
                }
                _ => {
                    let claims = json!({
                        "iss": issuer, "aud": "web", "sub": "alice", "iat": from_now(0), "exp": from_now(60),
                        "roles": ["customer"], "nonce": *told.lock().expect("no panic"),
                    });
                    let forge = makes.lock().expect("no panic").clone();
                    let token = forge(claims, &signer);
                    json!({
                        "id_token": token, "access_token": "a", "refresh_token": "r", "token_type": "Bearer",
                        "expires_in": lives.load(Ordering::Relaxed),
                    })
                    .to_string()
                }
            };
            reply(200, &[("content-type", "application/json")], full(json))
        });
        Evil {
            origin,
            nonce,
            forge,
            subject,
            lifetime,
        }
    }

    /// The gateway that believes it, but for what is wrong.
    async fn gateway(&self, folder: &TempDir, shop: &Origin) -> Gateway {
        for (name, secret) in [
            ("secret", "web-secret-of-32-bytes-and-more-x"),
            ("key", KEY),
        ] {
            std::fs::write(folder.path().join(name), secret).expect("a file");
        }
        let session = "{ keys = [{ file = \"$folder/key\" }] }";
        let toml = CONFIG.replace("$session", session).replace(
            "$more",
            "userinfo = true\nparameters = { prompt = \"login\" }",
        );
        Gateway::draft(&toml)
            .with("issuer", format!("http://{}", self.origin))
            .with("folder", folder.path().display())
            .with("shop", shop)
            .start()
            .await
    }

    fn forge(&self, forge: Option<Forge>) {
        let honest: Forge = Arc::new(|claims, signer| signer.token(&claims));
        *self.forge.lock().expect("no panic") = forge.unwrap_or(honest);
    }

    async fn log_in(&self, gateway: &Gateway, forge: Option<Forge>) -> (Browser, Answer) {
        let mut browser = Browser::default();
        let sent = browser.open(gateway, "/account/x").await;
        let wanted = query(location(&sent));
        assert_eq!(wanted["prompt"], "login");
        *self.nonce.lock().expect("no panic") = wanted["nonce"].clone();
        self.forge(forge);
        let callback = format!("/oauth/callback?code=c&state={}", wanted["state"]);
        let answer = browser.open(gateway, &callback).await;
        (browser, answer)
    }
}

/// A token that says something else, or nothing.
fn set(name: &'static str, value: Value) -> Forge {
    Arc::new(move |mut claims, signer| {
        match value.is_null() {
            true => drop(claims.as_object_mut().expect("claims").remove(name)),
            false => claims[name] = value.clone(),
        }
        signer.token(&claims)
    })
}

fn unsigned(alg: &'static str) -> Forge {
    Arc::new(move |claims, _| {
        format!(
            "{}.{}.",
            encode(json!({ "alg": alg }).to_string()),
            encode(claims.to_string())
        )
    })
}

fn by_stranger() -> Forge {
    Arc::new(|claims, _| Signer::new("RS256", "k").token(&claims))
}

#[tokio::test]
async fn attacks_on_id_tokens() {
    let evil = Evil::start();
    let folder = tempfile::tempdir().expect("a folder");
    let shop = Origin::http1(|_| text("served"));
    let gateway = evil.gateway(&folder, &shop).await;
    fn headed(header: Value) -> Forge {
        Arc::new(move |claims, signer| signer.token_with(&header, &claims))
    }
    let by_secret: Forge = Arc::new(|claims, _| {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"web-secret-of-32-bytes-and-more-x");
        let header = encode(json!({ "alg": "HS256" }).to_string());
        let message = format!("{header}.{}", encode(claims.to_string()));
        format!("{message}.{}", encode(hmac::sign(&key, message.as_bytes())))
    });
    let by_public_key: Forge = Arc::new(|claims, signer| {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &signer.plain);
        let header = encode(json!({ "alg": "HS256", "kid": "k" }).to_string());
        let message = format!("{header}.{}", encode(claims.to_string()));
        format!("{message}.{}", encode(hmac::sign(&key, message.as_bytes())))
    });
    let brings_key: Forge = Arc::new(|claims, _| {
        let own = Signer::new("ES256", "own");
        own.token_with(&json!({ "alg": "ES256", "jwk": own.jwk }), &claims)
    });
    let attacks: Vec<(&str, Forge)> = vec![
        ("of another issuer", set("iss", json!("https://evil.test"))),
        ("for another client", set("aud", json!("other"))),
        (
            "for another client, in a list",
            set("aud", json!(["other"])),
        ),
        (
            "for several, and nobody says for whom first",
            set("aud", json!(["web", "other"])),
        ),
        ("for nobody", set("aud", Value::Null)),
        ("of nobody", set("sub", Value::Null)),
        ("issued to another client", set("azp", json!("other"))),
        ("issued to no client", set("azp", json!(7))),
        ("of another login", set("nonce", json!("x".repeat(43)))),
        ("of no login", set("nonce", Value::Null)),
        ("a nonce in a list", set("nonce", json!(["n"]))),
        ("expired", set("exp", json!(from_now(-3600)))),
        ("without an end", set("exp", Value::Null)),
        ("an end that is no number", set("exp", json!("9999999999"))),
        ("from the future", set("iat", json!(from_now(3600)))),
        ("not yet good", set("nbf", json!(from_now(3600)))),
        ("without the time that it was made", set("iat", Value::Null)),
        (
            "an access token by its type",
            headed(json!({ "alg": "RS256", "kid": "k", "typ": "at+jwt" })),
        ),
        (
            "a logout token by its type",
            headed(json!({ "alg": "RS256", "kid": "k", "typ": "logout+jwt" })),
        ),
        (
            "asks for what nobody knows",
            headed(json!({ "alg": "RS256", "kid": "k", "crit": ["x"] })),
        ),
        (
            "of an unknown key",
            headed(json!({ "alg": "RS256", "kid": "other" })),
        ),
        (
            "of an algorithm that is not the key's",
            headed(json!({ "alg": "PS256", "kid": "k" })),
        ),
        ("unsigned", unsigned("none")),
        ("unsigned in disguise", unsigned("nOnE")),
        ("without a signature", unsigned("RS256")),
        ("signed with the client's secret", by_secret),
        ("signed with the public key as a secret", by_public_key),
        ("signed by a stranger", by_stranger()),
        ("brings its own key", brings_key),
        ("no token at all", Arc::new(|_, _| "not.a.token".to_owned())),
    ];
    assert_named(attacks.iter().map(|(name, _)| *name), 30);
    for (attack, forge) in attacks {
        let (mut browser, answer) = evil.log_in(&gateway, Some(forge)).await;
        assert_eq!(answer.status, 400, "{attack}: {answer:?}");
        answer.assert_problem(400, "login_failed");
        assert_eq!(browser.cookie(SESSION), None, "{attack}");
        let after = browser.fetch(&gateway, "/account/x").await;
        assert_eq!(after.status, 401, "{attack}");
    }
    // The claims of somebody else.
    *evil.subject.lock().expect("no panic") = "mallory".to_owned();
    let (_, answer) = evil.log_in(&gateway, None).await;
    answer.assert_problem(400, "login_failed");
    *evil.subject.lock().expect("no panic") = "alice".to_owned();
    // And what is good is good; the ID token counts more than the endpoint.
    let (mut browser, answer) = evil.log_in(&gateway, None).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(browser.fetch(&gateway, "/account/x").await.status, 200);
    let line = gateway
        .log_where("a refusal", |line| line["code"] == "login_failed")
        .await;
    assert!(line["cause"].is_string(), "{line}");
}

#[tokio::test]
async fn no_renewal_brings_what_no_login_would() {
    let evil = Evil::start();
    let folder = tempfile::tempdir().expect("a folder");
    let shop = Origin::http1(|_| text("served"));
    let gateway = evil.gateway(&folder, &shop).await;
    let attacks: Vec<(&str, Forge)> = vec![
        ("of somebody else", set("sub", json!("mallory"))),
        ("of another issuer", set("iss", json!("https://evil.test"))),
        ("for another client", set("aud", json!("other"))),
        ("of another login", set("nonce", json!("x".repeat(43)))),
        ("expired", set("exp", json!(from_now(-3600)))),
        ("unsigned", unsigned("none")),
        ("without a signature", unsigned("RS256")),
        ("signed by a stranger", by_stranger()),
    ];
    for (attack, forge) in attacks {
        evil.lifetime.store(2, Ordering::Relaxed);
        let (mut browser, answer) = evil.log_in(&gateway, None).await;
        assert_eq!(answer.status, 303, "{attack}: {answer:?}");
        evil.forge(Some(forge));
        eventually(attack, async || {
            let status = browser.fetch(&gateway, "/account/x").await.status;
            (status != 200).then(|| assert_eq!(status, 401, "{attack}"))
        })
        .await;
        // What is good now comes too late.
        evil.forge(None);
        assert_eq!(browser.fetch(&gateway, "/account/x").await.status, 401);
    }
    for seen in shop.seen() {
        assert_eq!(seen.header("x-who"), Some("alice"), "{seen:?}");
    }
    // And a good renewal is one.
    let (mut browser, _) = evil.log_in(&gateway, None).await;
    let asked = evil.origin.seen().len();
    eventually("a renewal", async || {
        assert_eq!(browser.fetch(&gateway, "/account/x").await.status, 200);
        (evil.origin.seen().len() > asked).then_some(())
    })
    .await;
    assert_eq!(browser.fetch(&gateway, "/account/x").await.status, 200);
}
