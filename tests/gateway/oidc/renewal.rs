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
