//! What the provider is asked for, and how often.

use super::*;
use crate::harness::tokens::from_now;

#[tokio::test]
async fn so_many_logins_end_at_once() {
    let shop = Shop::with(Change {
        more: "concurrent = 1",
        ..Change::default()
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut browser = Browser::default();
        let sent = browser.open(&shop.gateway, "/account/x").await;
        let callback = browser.log_in_at(&shop.provider, &sent, "alice").await;
        waiting.push((browser, callback));
    }
    let slow = json!({ "slow": { "/token": 200 } });
    shop.provider.change(slow).await;
    let ends = waiting.iter_mut().map(|(browser, callback)| {
        let gateway = &shop.gateway;
        async move { browser.open(gateway, callback).await.status }
    });
    assert_eq!(futures_util::future::join_all(ends).await, [303; 4]);
    assert_eq!(shop.provider.most_at_once("/token").await, 1);
}

#[tokio::test]
async fn keys_are_known_before_anybody_comes_and_followed() {
    let shop = Shop::open().await;
    eventually("the keys are fetched", async || {
        (shop.provider.count("/jwks").await == 1).then_some(())
    })
    .await;
    // Whoever comes while they cannot be fetched does not notice it.
    shop.provider.change(json!({ "failing": ["/jwks"] })).await;
    let mut first = Browser::default();
    let page = first.log_in(&shop, "/account/x", "alice").await;
    assert_eq!(page.status, 200);
    assert_eq!(shop.provider.count("/jwks").await, 1);
    let old = logout::logout_token(&shop, json!({})).await;

    // New keys are fetched for the first token that one of them has signed, and those before are not good any more.
    shop.provider.change(json!({ "failing": [] })).await;
    shop.provider.rotate(false).await;
    let mut second = Browser::default();
    let page = second.log_in(&shop, "/account/x", "bob").await;
    assert_eq!(page.status, 200);
    assert_eq!(shop.provider.count("/jwks").await, 2);
    logout::send_token(&shop.gateway, &old)
        .await
        .assert_problem(400, "logout_refused");
    assert_eq!(first.fetch(&shop.gateway, "/account/x").await.status, 200);

    // Nor do tokens of keys that are made up have them fetched each by itself.
    let made_up = (0..20).map(async |number| {
        let kid = format!("made-up-{number}");
        let claims = json!({
            "iss": shop.provider.issuer(), "aud": "web", "jti": kid, "sub": "alice",
            "iat": from_now(0), "exp": from_now(60),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        let header = json!({ "typ": "logout+jwt", "kid": kid });
        let token = shop.provider.sign(claims, header).await;
        logout::send_token(&shop.gateway, &token).await.status
    });
    let refused = futures_util::future::join_all(made_up).await;
    assert_eq!(refused, [400; 20]);
    assert!(shop.provider.count("/jwks").await <= 4);

    // While they cannot be fetched, those that are known are good.
    shop.provider.change(json!({ "failing": ["/jwks"] })).await;
    let good = logout::logout_token(&shop, json!({})).await;
    assert_eq!(logout::send_token(&shop.gateway, &good).await.status, 200);
    assert_eq!(first.fetch(&shop.gateway, "/account/x").await.status, 401);
    assert_eq!(second.fetch(&shop.gateway, "/account/x").await.status, 200);
}
