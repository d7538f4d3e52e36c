//! Logging out, here, at the provider and by the provider.

use super::*;

#[tokio::test]
async fn a_logout_ends_the_session_here_and_at_the_provider() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    let kept = browser.clone();
    let answer = browser.open(&shop.gateway, "/oauth/logout").await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let sent = query(location(&answer));
    assert!(location(&answer).starts_with(&format!("{}/session/end?", shop.provider.issuer())));
    assert_eq!(sent["post_logout_redirect_uri"], "https://app.test/");
    assert_eq!(sent["client_id"], "web");
    assert_eq!(sent["id_token_hint"].split('.').count(), 3);
    assert_eq!(browser.cookie(SESSION), None);
    // Nor does it help to have kept the cookie.
    let mut thief = kept;
    thief
        .fetch(&shop.gateway, "/account/x")
        .await
        .assert_problem(401, "unauthenticated");
    // The provider takes the hint for what it is.
    let host = shop.provider.address().to_string();
    let target = location(&answer)
        .strip_prefix(shop.provider.issuer())
        .expect("the provider");
    let page = browser
        .send(&shop.provider.client(), &host, get(target))
        .await;
    assert_eq!(page.status, 200, "{page:?}");
    // Without a session there is nothing to end at the provider.
    let again = browser.open(&shop.gateway, "/oauth/logout").await;
    assert_eq!(location(&again), "https://app.test/");
}

/// A logout token as the provider would make it.
pub async fn logout_token(shop: &Shop, change: Value) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let mut claims = json!({
        "iss": shop.provider.issuer(), "aud": "web", "iat": now, "exp": now + 120,
        "jti": format!("{:?}", std::time::Instant::now()), "sub": "alice",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let mut header = json!({ "typ": "logout+jwt" });
    for (name, value) in change.as_object().expect("changes") {
        match name.as_str() {
            "alg" | "typ" => header[name] = value.clone(),
            _ if value.is_null() => drop(claims.as_object_mut().expect("claims").remove(name)),
            _ => claims[name] = value.clone(),
        }
    }
    shop.provider.sign(claims, header).await
}

pub async fn send_token(gateway: &Gateway, token: &str) -> Answer {
    let form = post("/oauth/backchannel-logout", format!("logout_token={token}"))
        .host(HOST)
        .header("content-type", "application/x-www-form-urlencoded");
    gateway.http1().send(form).await
}

#[tokio::test]
async fn the_provider_ends_sessions_of_whom_it_names() {
    let shop = Shop::open().await;
    let (mut alice, mut also_alice, mut bob) = <(Browser, Browser, Browser)>::default();
    alice.log_in(&shop, "/account/x", "alice").await;
    also_alice.log_in(&shop, "/account/x", "alice").await;
    bob.log_in(&shop, "/account/x", "bob").await;
    let token = logout_token(&shop, json!({})).await;
    let answer = send_token(&shop.gateway, &token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for (browser, status) in [(&mut alice, 401), (&mut also_alice, 401), (&mut bob, 200)] {
        assert_eq!(
            browser.fetch(&shop.gateway, "/account/x").await.status,
            status
        );
    }
    send_token(&shop.gateway, &token)
        .await
        .assert_problem(400, "logout_refused");
}

/// What the provider itself sends when a person logs out there.
#[tokio::test]
async fn a_logout_at_the_provider_reaches_the_gateway() {
    let shop = Shop::open().await;
    let mut clients = client();
    let back = format!("http://{}/oauth/backchannel-logout", shop.gateway.address());
    clients["clients"][0]["backchannel_logout_uri"] = json!(back);
    clients["clients"][0]["backchannel_logout_session_required"] = json!(true);
    shop.provider.configure(clients).await;
    let (mut here, mut elsewhere) = <(Browser, Browser)>::default();
    here.log_in(&shop, "/account/x", "alice").await;
    elsewhere.log_in(&shop, "/account/x", "alice").await;
    let claims = here.fetch(&shop.gateway, "/oauth/userinfo").await.json();
    assert!(claims["sid"].is_string(), "{claims}");

    // The person says goodbye to the provider, which asks whether that is meant.
    let host = shop.provider.address().to_string();
    let mut at_provider = here.clone();
    let page = at_provider
        .send(&shop.provider.client(), &host, get("/session/end"))
        .await;
    let page = page.text();
    let xsrf = page
        .split("name=\"xsrf\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let form = format!("xsrf={}&logout=yes", xsrf.expect("a form"));
    let form = post("/session/end/confirm", form)
        .header("content-type", "application/x-www-form-urlencoded");
    let done = at_provider.send(&shop.provider.client(), &host, form).await;
    assert_eq!(done.status, 303, "{done:?}");
    let ended = async || {
        (here.clone().fetch(&shop.gateway, "/account/x").await.status == 401).then_some(())
    };
    eventually("the session ends", ended).await;
    // It was this session of the provider, and not the person's every one.
    assert_eq!(
        elsewhere.fetch(&shop.gateway, "/account/x").await.status,
        200
    );
}

#[tokio::test]
async fn logout_tokens_that_end_nothing() {
    let shop = Shop::open().await;
    let mut alice = Browser::default();
    alice.log_in(&shop, "/account/x", "alice").await;
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let cases = [
        ("with a nonce, so an ID token", json!({ "nonce": "n" })),
        (
            "of another event",
            json!({ "events": { "http://schemas.openid.net/event/other": {} } }),
        ),
        ("of no event", json!({ "events": null })),
        (
            "an event that is no object",
            json!({ "events": { event: "yes" } }),
        ),
        ("for another client", json!({ "aud": "shop" })),
        ("of another issuer", json!({ "iss": "https://evil.test" })),
        ("old", json!({ "iat": 1_000_000 })),
        ("expired", json!({ "exp": 1_000_000 })),
        ("without an end", json!({ "exp": null })),
        ("without a name of its own", json!({ "jti": null })),
        ("of nobody", json!({ "sub": null })),
        ("an access token by its type", json!({ "typ": "at+jwt" })),
    ];
    for (what, change) in cases {
        let token = logout_token(&shop, change).await;
        let answer = send_token(&shop.gateway, &token).await;
        answer.assert_problem(400, "logout_refused");
        let status = alice.fetch(&shop.gateway, "/account/x").await.status;
        assert_eq!(status, 200, "{what}: it has ended the session");
    }
    // Signed by nobody, or changed.
    let good = logout_token(&shop, json!({})).await;
    let (signed, signature) = good.rsplit_once('.').expect("a token");
    let (_, claims) = signed.split_once('.').expect("a token");
    let forged = [
        format!("{signed}."),
        format!("eyJhbGciOiJub25lIn0.{claims}."),
        format!("eyJhbGciOiJub25lIn0.{claims}.{signature}"),
        format!("{signed}.{}", signature.chars().rev().collect::<String>()),
        "x".repeat(70_000),
        String::new(),
    ];
    for token in forged {
        let answer = send_token(&shop.gateway, &token).await;
        assert!(answer.status == 400 || answer.status == 413, "{answer:?}");
    }
    let twice = format!("{good}&logout_token={good}");
    send_token(&shop.gateway, &twice)
        .await
        .assert_problem(400, "logout_refused");
    assert_eq!(alice.fetch(&shop.gateway, "/account/x").await.status, 200);
    assert_eq!(send_token(&shop.gateway, &good).await.status, 200);
    assert_eq!(alice.fetch(&shop.gateway, "/account/x").await.status, 401);
}
