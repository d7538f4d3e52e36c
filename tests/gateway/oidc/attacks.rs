//! Attacks on logins and sessions, each by its name, and each refused.

use std::sync::{Arc, Mutex};

use super::*;
use crate::harness::tokens::{Signer, encode, from_now, jwks};

/// A browser that has been at the provider and comes back with this callback.
async fn about_to_finish(shop: &Shop, who: &str) -> (Browser, String) {
    let mut browser = Browser::default();
    let sent = browser.open(&shop.gateway, "/account/x").await;
    let callback = browser.log_in_at(&shop.provider, &sent, who).await;
    (browser, callback)
}

/// The callback with another value, or without the parameter.
fn with(callback: &str, name: &str, value: Option<&str>) -> String {
    let mut all = query(callback);
    match value {
        Some(value) => drop(all.insert(name.to_owned(), value.to_owned())),
        None => drop(all.remove(name)),
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(all);
    format!("/oauth/callback?{}", query.finish())
}

/// Flips one bit of what stands at this byte of a value in base64.
fn flipped(value: &str, at: usize) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut bytes = base64.decode(value).expect("base64");
    bytes[at] ^= 1;
    base64.encode(bytes)
}

#[tokio::test]
async fn attacks_on_the_end_of_a_login() {
    let other = r#"
        [identity.oidc.other]
        issuer = "$issuer"
        client_id = "web"
        callback_url = "https://app.test/other/callback"
        session = { keys = [{ file = "$folder/key" }] }
        [routes.other]
        match = { path = "/other/{*rest}" }
        login = "other"
    "#;
    let shop = Shop::with(Change {
        sections: other,
        ..Change::default()
    })
    .await;
    let (_, of_attacker) = about_to_finish(&shop, "bob").await;
    let attacks = [
        "there is no state",
        "a state that nobody has begun",
        "the attacker's login is finished in the victim's browser",
        "the state comes twice",
        "the code comes twice",
        "the code of another person's login is put in",
        "the answer is said to be of another provider",
        "the answer does not say whose it is",
        "the cookie of the login is changed",
        "the cookie of the login is cut off",
        "the cookie of the login is longer than any",
        "the cookie of another login goes by this one's name",
        "the cookie of the login comes twice",
        "the cookie was made by another provider's login of the same gateway",
        "there is no code",
        "the code is wrong",
        "the provider's error is shown to nobody",
        "the callback comes by HEAD",
    ];
    for attack in attacks {
        let (mut browser, callback) = about_to_finish(&shop, "alice").await;
        let name = browser.begun().pop().expect("a login");
        let cookie = browser.cookie(&name).expect("a login").to_owned();
        let (mut status, mut code) = (400, "login_failed");
        let mut method = "GET";
        let callback = match attack {
            "there is no state" => with(&callback, "state", None),
            "a state that nobody has begun" => with(&callback, "state", Some(&"x".repeat(43))),
            "the attacker's login is finished in the victim's browser" => of_attacker.clone(),
            "the state comes twice" => format!("{callback}&state={}", query(&callback)["state"]),
            "the code comes twice" => format!("{callback}&code=x"),
            "the code of another person's login is put in" => {
                with(&callback, "code", Some(&query(&of_attacker)["code"]))
            }
            "the answer is said to be of another provider" => {
                with(&callback, "iss", Some("https://evil.test"))
            }
            "the answer does not say whose it is" => with(&callback, "iss", None),
            "the cookie of the login is changed" => {
                browser.set(&name, &flipped(&cookie, 40));
                callback
            }
            "the cookie of the login is cut off" => {
                browser.set(&name, &cookie[..cookie.len() - 4]);
                callback
            }
            "the cookie of the login is longer than any" => {
                browser.set(&name, &format!("{cookie}{}", "A".repeat(8000)));
                callback
            }
            "the cookie of another login goes by this one's name" => {
                let mut other = Browser::default();
                other.open(&shop.gateway, "/account/y").await;
                let theirs = other.begun().pop().expect("a login");
                browser.set(&name, other.cookie(&theirs).expect("a login"));
                callback
            }
            "the cookie of the login comes twice" => {
                // Which of the two is meant, nobody knows.
                let ask = get(&callback)
                    .host(HOST)
                    .header("cookie", &format!("{name}={cookie}; {name}={cookie}"));
                let answer = shop.gateway.http1().send(ask).await;
                answer.assert_problem(400, "login_failed");
                callback.replace("code=", "code=x")
            }
            "the cookie was made by another provider's login of the same gateway" => {
                let mut other = Browser::default();
                other.open(&shop.gateway, "/other/login").await;
                let theirs = other.begun().pop().expect("a login");
                browser.set(&name, other.cookie(&theirs).expect("a login"));
                callback
            }
            "there is no code" => with(&callback, "code", None),
            "the code is wrong" => with(&callback, "code", Some("wrong")),
            "the provider's error is shown to nobody" => {
                (status, code) = (403, "login_refused");
                let callback = with(&callback, "code", None);
                format!("{callback}&error=access_denied&error_description=%3Cscript%3Ealert(1)")
            }
            "the callback comes by HEAD" => {
                (status, code) = (405, "");
                method = "HEAD";
                callback
            }
            other => unreachable!("{other}"),
        };
        let ask = request(method, &callback).header("accept", "text/html");
        let answer = browser.send(&shop.gateway.http1(), HOST, ask).await;
        assert_eq!(answer.status, status, "{attack}: {answer:?}");
        if !code.is_empty() {
            answer.assert_problem(status, code);
            assert!(
                !answer.text().contains("script"),
                "{attack}: {}",
                answer.text()
            );
        }
        assert_eq!(
            browser.cookie(SESSION),
            None,
            "{attack}: there is a session"
        );
        let after = browser.fetch(&shop.gateway, "/account/x").await;
        assert_eq!(after.status, 401, "{attack}");
    }
}

#[tokio::test]
async fn nothing_of_a_login_is_good_twice() {
    let shop = Shop::open().await;
    let (mut browser, callback) = about_to_finish(&shop, "alice").await;
    let mut thief = browser.clone();
    assert_eq!(browser.open(&shop.gateway, &callback).await.status, 303);
    // Without the login's cookie, which is gone now.
    let again = browser.open(&shop.gateway, &callback).await;
    again.assert_problem(400, "login_failed");
    // With everything that the browser had. The provider, which would end what came of the first time, is not asked.
    let answer = thief.open(&shop.gateway, &callback).await;
    answer.assert_problem(400, "login_failed");
    assert_eq!(thief.cookie(SESSION), None);
    assert_eq!(shop.provider.count("/token").await, 1);
}

#[tokio::test]
async fn nobody_is_sent_to_a_place_that_is_not_ours() {
    let shop = Shop::open().await;
    let refused = [
        "//evil.test",
        "///evil.test",
        "https://evil.test",
        "http:evil.test",
        "javascript:alert(1)",
        "data:text/html,x",
        "evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "/a\\..\\..\\evil.test",
        "/\t/evil.test",
        "/\r\nset-cookie: a=b",
        " /a",
        "/a b",
        "/ä",
        "",
        "/\u{0}",
    ];
    for target in refused {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("return", target);
        let mut browser = Browser::default();
        let page = format!("/oauth/login?{}", query.finish());
        let answer = browser.open(&shop.gateway, &page).await;
        answer.assert_problem(400, "login_failed");
        assert_eq!(browser.begun(), [""; 0], "{target:?}");
    }
    let twice = "/oauth/login?return=/a&return=//evil.test";
    Browser::default()
        .open(&shop.gateway, twice)
        .await
        .assert_problem(400, "login_failed");
    // What a path looks like does not matter: it is one of ours.
    for path in [
        "/account//evil.test",
        "/account/@evil.test",
        "/account/https://evil.test",
        "/account/.evil.test?//x",
    ] {
        let mut browser = Browser::default();
        let sent = browser.open(&shop.gateway, path).await;
        let callback = browser.log_in_at(&shop.provider, &sent, "alice").await;
        let back = browser.open(&shop.gateway, &callback).await;
        assert!(
            location(&back).starts_with("https://app.test/account/"),
            "{back:?}"
        );
    }
    // Nor does a header decide where the provider sends the browser.
    let ask = get("/account/x")
        .host(HOST)
        .header("accept", "text/html")
        .header("x-forwarded-host", "evil.test")
        .header("forwarded", "host=evil.test");
    let sent = shop.gateway.http1().send(ask).await;
    assert_eq!(
        query(location(&sent))["redirect_uri"],
        "https://app.test/oauth/callback"
    );
}

#[tokio::test]
async fn attacks_on_the_cookie_of_a_session() {
    let other = r#"
        [identity.oidc.other]
        issuer = "$issuer"
        client_id = "web"
        callback_url = "https://app.test/other/callback"
        session = { keys = [{ file = "$folder/key" }] }
        [routes.other]
        match = { path = "/other/{*rest}" }
        login = "other"
        [routes.others]
        match = { path = "/others" }
        upstream = "shop"
        policies.oidc = { providers = ["other"] }
    "#;
    let shop = Shop::with(Change {
        sections: other,
        ..Change::default()
    })
    .await;
    std::fs::write(
        shop.folder.path().join("else"),
        "a key of somebody else, as long as ours",
    )
    .expect("a file");
    let elsewhere = shop
        .again(Change {
            session: Some("{ keys = [{ file = \"$folder/else\" }] }"),
            ..Change::default()
        })
        .await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    let good = browser.cookie(SESSION).expect("a session").to_owned();
    let begun = {
        let mut other = Browser::default();
        other.open(&shop.gateway, "/account/x").await;
        let name = other.begun().pop().expect("a login");
        other.cookie(&name).expect("a login").to_owned()
    };
    let attacks = [
        ("the name of its key is changed", flipped(&good, 0)),
        ("the nonce is changed", flipped(&good, 5)),
        ("the id is changed", flipped(&good, 30)),
        ("the tag is changed", flipped(&good, 63)),
        ("it is cut off", good[..good.len() - 2].to_owned()),
        ("something is added", format!("{good}AA")),
        ("it is empty", String::new()),
        (
            "it is of another alphabet",
            good.replace(['A', 'B', 'C', 'D'], "+"),
        ),
        ("it is longer than any", "A".repeat(20_000)),
        ("an id in the clear", encode([7; 32])),
        ("zeros", encode([0; 64])),
        ("the cookie of a login", begun),
        ("quotes around it", format!("\"{good}\"")),
    ];
    for (attack, cookie) in attacks {
        let ask = get("/account/x")
            .host(HOST)
            .header("cookie", &format!("{SESSION}={cookie}"));
        let answer = shop.gateway.http1().send(ask).await;
        answer.assert_problem(401, "credential_refused");
        assert!(
            !answer.text().contains("cookie"),
            "{attack}: {}",
            answer.text()
        );
        // Not even where anybody may come in.
        let ask = get("/public")
            .host(HOST)
            .header("cookie", &format!("{SESSION}={cookie}"));
        let answer = shop.gateway.http1().send(ask).await;
        answer.assert_problem(401, "credential_refused");
    }
    let twice = format!("{SESSION}={good}; {SESSION}={good}");
    let ask = get("/account/x").host(HOST).header("cookie", &twice);
    shop.gateway
        .http1()
        .send(ask)
        .await
        .assert_problem(401, "credential_refused");
    // A session of one provider is none of another, with the same keys and under its name.
    let ask = get("/others")
        .host(HOST)
        .header("cookie", &format!("{SESSION}={good}"));
    shop.gateway
        .http1()
        .send(ask)
        .await
        .assert_problem(401, "unauthenticated");
    let ask = get("/others")
        .host(HOST)
        .header("cookie", &format!("__Host-northgate-other={good}"));
    shop.gateway
        .http1()
        .send(ask)
        .await
        .assert_problem(401, "credential_refused");
    // Nor one of another gateway, whose keys are others.
    let answer = browser.fetch(&elsewhere, "/account/x").await;
    answer.assert_problem(401, "credential_refused");
    assert_eq!(browser.fetch(&shop.gateway, "/account/x").await.status, 200);
    let seen = shop.origin.seen();
    assert_eq!(seen.len(), 2, "nothing of this has got through");
}

#[tokio::test]
async fn a_session_that_somebody_has_put_in_ends_with_the_login() {
    let shop = Shop::open().await;
    let mut attacker = Browser::default();
    attacker.log_in(&shop, "/account/x", "bob").await;
    let planted = attacker.cookie(SESSION).expect("a session").to_owned();
    let mut victim = Browser::default();
    let sent = victim.open(&shop.gateway, "/account/x").await;
    let callback = victim.log_in_at(&shop.provider, &sent, "alice").await;
    victim.set(SESSION, &planted);
    assert_eq!(victim.open(&shop.gateway, &callback).await.status, 303);
    assert_ne!(victim.cookie(SESSION), Some(&*planted));
    let mine = victim.fetch(&shop.gateway, "/account/x").await;
    assert_eq!(mine.text(), "for Some(\"alice\")");
    attacker
        .fetch(&shop.gateway, "/account/x")
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn no_other_site_logs_a_person_out() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    let attacks: [(&str, &str, Lines<'_>); 7] = [
        (
            "an image of another site",
            "GET",
            &[("sec-fetch-site", "cross-site")],
        ),
        (
            "a page of a neighbour",
            "GET",
            &[("sec-fetch-site", "same-site")],
        ),
        (
            "a form of another site",
            "POST",
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://evil.test"),
            ],
        ),
        (
            "a form of another site, old browser",
            "POST",
            &[("origin", "https://evil.test")],
        ),
        (
            "a page that hides where it is",
            "POST",
            &[("origin", "null")],
        ),
        (
            "a link of another site, old browser",
            "GET",
            &[("referer", "https://evil.test/app.test")],
        ),
        ("nobody says where it comes from", "GET", &[]),
    ];
    for (attack, method, headers) in attacks {
        let mut ask = request(method, "/oauth/logout");
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        let answer = browser.send(&shop.gateway.http1(), HOST, ask).await;
        answer.assert_problem(400, "logout_refused");
        let after = browser.fetch(&shop.gateway, "/account/x").await;
        assert_eq!(after.status, 200, "{attack}");
    }
    let own = post("/oauth/logout", "").header("origin", ORIGIN);
    assert_eq!(
        browser.send(&shop.gateway.http1(), HOST, own).await.status,
        303
    );
    assert_eq!(browser.fetch(&shop.gateway, "/account/x").await.status, 401);
}

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
}

impl Evil {
    fn start() -> Evil {
        let signer = Signer::new("RS256", "k");
        let nonce = Arc::new(Mutex::new(String::new()));
        let honest: Forge = Arc::new(|claims, signer| signer.token(&claims));
        let forge = Arc::new(Mutex::new(honest));
        let subject = Arc::new(Mutex::new("alice".to_owned()));
        let (told, makes, speaks) = (nonce.clone(), forge.clone(), subject.clone());
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
                    json!({ "id_token": token, "access_token": "a", "token_type": "Bearer" })
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
        }
    }
}

#[tokio::test]
async fn attacks_on_id_tokens() {
    let evil = Evil::start();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, secret) in [
        ("secret", "web-secret-of-32-bytes-and-more-x"),
        ("key", KEY),
    ] {
        std::fs::write(folder.path().join(name), secret).expect("a file");
    }
    let issuer = format!("http://{}", evil.origin);
    let shop = Origin::http1(|_| text("served"));
    let session = "{ keys = [{ file = \"$folder/key\" }] }";
    let toml = CONFIG.replace("$session", session).replace(
        "$more",
        "userinfo = true\nparameters = { prompt = \"login\" }",
    );
    let gateway = Gateway::draft(&toml)
        .with("issuer", &issuer)
        .with("folder", folder.path().display())
        .with("shop", &shop)
        .start()
        .await;
    fn set(name: &'static str, value: Value) -> Forge {
        Arc::new(move |mut claims, signer| {
            match value.is_null() {
                true => drop(claims.as_object_mut().expect("claims").remove(name)),
                false => claims[name] = value.clone(),
            }
            signer.token(&claims)
        })
    }
    fn headed(header: Value) -> Forge {
        Arc::new(move |claims, signer| signer.token_with(&header, &claims))
    }
    let unsigned = |alg: &'static str| -> Forge {
        Arc::new(move |claims, _| {
            format!(
                "{}.{}.",
                encode(json!({ "alg": alg }).to_string()),
                encode(claims.to_string())
            )
        })
    };
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
    let by_stranger: Forge = Arc::new(|claims, _| Signer::new("RS256", "k").token(&claims));
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
        ("signed by a stranger", by_stranger),
        ("brings its own key", brings_key),
        ("no token at all", Arc::new(|_, _| "not.a.token".to_owned())),
    ];
    let log_in = async |forge: Option<Forge>| {
        let mut browser = Browser::default();
        let sent = browser.open(&gateway, "/account/x").await;
        let wanted = query(location(&sent));
        assert_eq!(wanted["prompt"], "login");
        *evil.nonce.lock().expect("no panic") = wanted["nonce"].clone();
        let honest: Forge = Arc::new(|claims, signer| signer.token(&claims));
        *evil.forge.lock().expect("no panic") = forge.unwrap_or(honest);
        let callback = format!("/oauth/callback?code=c&state={}", wanted["state"]);
        let answer = browser.open(&gateway, &callback).await;
        (browser, answer)
    };
    for (attack, forge) in attacks {
        let (mut browser, answer) = log_in(Some(forge)).await;
        assert_eq!(answer.status, 400, "{attack}: {answer:?}");
        answer.assert_problem(400, "login_failed");
        assert_eq!(browser.cookie(SESSION), None, "{attack}");
        let after = browser.fetch(&gateway, "/account/x").await;
        assert_eq!(after.status, 401, "{attack}");
    }
    // The claims of somebody else.
    *evil.subject.lock().expect("no panic") = "mallory".to_owned();
    let (_, answer) = log_in(None).await;
    answer.assert_problem(400, "login_failed");
    *evil.subject.lock().expect("no panic") = "alice".to_owned();
    // And what is good is good; the ID token counts more than the endpoint.
    let (mut browser, answer) = log_in(None).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(browser.fetch(&gateway, "/account/x").await.status, 200);
    let line = gateway
        .log_where("a refusal", |line| line["code"] == "login_failed")
        .await;
    assert!(line["cause"].is_string(), "{line}");
}
