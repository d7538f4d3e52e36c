//! Renewing a session's tokens.

use super::*;

/// Access tokens that live for so many seconds.
async fn shop(seconds: u64) -> Shop {
    let shop = Shop::open().await;
    let mut settings = client();
    settings["ttl"] = json!({ "AccessToken": seconds });
    shop.provider.configure(settings).await;
    shop
}

/// How often tokens were given: the first time for the login.
async fn given(shop: &Shop) -> u64 {
    shop.provider.count("/token").await
}

#[tokio::test]
async fn tokens_are_renewed_ahead_of_their_end_and_nobody_notices() {
    let shop = shop(4).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    assert_eq!(given(&shop).await, 1);
    eventually("three renewals", async || {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (given(&shop).await >= 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_tabs_together_renew_once() {
    let shop = shop(2).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    // Nobody comes until the access token has ended.
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let tabs = (0..20).map(|_| {
        let mut tab = browser.clone();
        let gateway = &shop.gateway;
        async move { tab.fetch(gateway, "/account/x").await.status }
    });
    let statuses = futures_util::future::join_all(tabs).await;
    assert_eq!(statuses, [200; 20]);
    // A refresh token that is shown twice would have ended the whole login at this provider.
    assert_eq!(given(&shop).await, 2);
}

#[tokio::test]
async fn a_login_that_the_provider_ends_has_to_be_begun_again() {
    let shop = Shop::open().await;
    let mut settings = client();
    // When the access token is to be renewed, the refresh token is over.
    settings["ttl"] = json!({ "AccessToken": 4, "RefreshToken": 1 });
    shop.provider.configure(settings).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    eventually("the session ends", async || {
        let status = browser.fetch(&shop.gateway, "/account/x").await.status;
        (status != 200).then(|| assert_eq!(status, 401))
    })
    .await;
    let given_before = given(&shop).await;
    // It is not tried again, and the page is sent to log in, which is no loop.
    assert_eq!(
        browser.log_in(&shop, "/account/x", "alice").await.status,
        200
    );
    assert_eq!(given(&shop).await, given_before + 1);
}

#[tokio::test]
async fn while_the_provider_is_down_a_session_lasts_as_long_as_its_token() {
    let shop = shop(6).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    shop.provider.go_down().await;
    let mut was_good = false;
    eventually("the token ends", async || {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        was_good |= answer.status == 200;
        (answer.status != 200).then(|| answer.assert_problem(503, "authentication_unavailable"))
    })
    .await;
    assert!(was_good);
    shop.provider.come_back().await;
    let good =
        async || (browser.fetch(&shop.gateway, "/account/x").await.status == 200).then_some(());
    eventually("the session goes on", good).await;
}

/// What the shop was told of the caller at last.
fn roles(shop: &Shop) -> Option<String> {
    let seen = shop.origin.seen().pop().expect("a request");
    seen.header("x-roles").map(str::to_owned)
}

#[tokio::test]
async fn what_is_not_said_any_more_is_not_true_any_more() {
    let shop = shop(4).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    assert_eq!(roles(&shop).as_deref(), Some("customer admin"));
    let sid = browser.fetch(&shop.gateway, "/oauth/userinfo").await.json()["sid"].clone();
    let people = json!({ "alice": { "email": "alice@shop.test", "tenant": "acme" } });
    shop.provider.change(json!({ "people": people })).await;
    eventually("the roles are gone", async || {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        roles(&shop)
            .is_none_or(|roles| roles.is_empty())
            .then_some(())
    })
    .await;
    let claims = browser.fetch(&shop.gateway, "/oauth/userinfo").await.json();
    assert_eq!(
        (&claims["tenant"], &claims["roles"]),
        (&json!("acme"), &Value::Null)
    );
    assert_eq!(claims["sid"], sid, "what is of the login stays");
    // Nor does it come back with the next one.
    let before = given(&shop).await;
    eventually("another renewal", async || {
        browser.fetch(&shop.gateway, "/account/x").await;
        (given(&shop).await > before).then_some(())
    })
    .await;
    browser.fetch(&shop.gateway, "/account/x").await;
    assert!(roles(&shop).is_none_or(|roles| roles.is_empty()));
}

#[tokio::test]
async fn the_userinfo_endpoint_is_asked_again() {
    let shop = Shop::with(Change {
        more: "userinfo = true\nclaims = { roles = \"email\" }",
        ..Change::default()
    })
    .await;
    let mut settings = client();
    settings["ttl"] = json!({ "AccessToken": 4 });
    settings["conformIdTokenClaims"] = json!(true);
    shop.provider.configure(settings).await;
    shop.provider.change(json!({ "resource": false })).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    assert_eq!(roles(&shop).as_deref(), Some("alice@shop.test"));
    let people = json!({ "alice": { "email": "a@other.test" } });
    shop.provider.change(json!({ "people": people })).await;
    eventually("what the endpoint says now", async || {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (roles(&shop).as_deref() == Some("a@other.test")).then_some(())
    })
    .await;
}

/// The refresh token is spent when it turns out that the keys for the new ID token are not to be had.
#[tokio::test]
async fn what_a_renewal_brings_is_not_lost_while_it_cannot_be_verified() {
    let shop = shop(4).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    shop.provider.change(json!({ "failing": ["/jwks"] })).await;
    shop.provider.rotate(false).await;
    let mut was_good = 0;
    eventually("the token ends", async || {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        was_good += u64::from(answer.status == 200);
        (answer.status != 200).then(|| answer.assert_problem(503, "authentication_unavailable"))
    })
    .await;
    assert!(was_good > 0);
    assert_eq!(given(&shop).await, 2, "the new tokens wait to be read");
    shop.provider.change(json!({ "failing": [] })).await;
    // A refresh token that is shown twice would have ended the whole login at this provider.
    eventually("the session goes on", async || {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
    let before = given(&shop).await;
    eventually("and is renewed again", async || {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (given(&shop).await > before).then_some(())
    })
    .await;
}
