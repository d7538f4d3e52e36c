//! Sessions of several gateways, in a real Redis.

use super::*;

/// What has two gateways share their sessions: `session`, and the sections that it takes.
fn change(redis: &Redis, on_store_down: &str) -> (String, String) {
    change_of(&redis.url(), on_store_down)
}

/// As `change`, for a store at this address.
pub fn change_of(url: &str, on_store_down: &str) -> (String, String) {
    let session = format!(
        "{{ keys = [{{ file = \"$folder/key\" }}], store = \"shared\", remember = \"1s\", on_store_down = \"{on_store_down}\" }}"
    );
    let store = format!("[stores.shared]\nredis = {{ url = \"{url}\", timeout = \"1s\" }}");
    (session, store)
}

struct Two {
    shop: Shop,
    other: Gateway,
}

impl Two {
    async fn open(redis: &Redis, on_store_down: &str) -> Two {
        let (session, sections) = change(redis, on_store_down);
        let change = || Change {
            session: Some(&session),
            sections: &sections,
            ..Change::default()
        };
        let shop = Shop::with(change()).await;
        let other = shop.again(change()).await;
        Two { shop, other }
    }
}

#[tokio::test]
async fn what_began_at_one_gateway_goes_on_at_another() {
    let redis = Redis::start().await;
    let Two { shop, other } = Two::open(&redis, "refuse").await;
    let mut browser = Browser::default();
    // Even a login: it begins here and ends there.
    let sent = browser.open(&shop.gateway, "/account/x").await;
    let callback = browser.log_in_at(&shop.provider, &sent, "alice").await;
    assert_eq!(browser.open(&other, &callback).await.status, 303);
    for gateway in [&shop.gateway, &other] {
        let answer = browser.fetch(gateway, "/account/x").await;
        assert_eq!(answer.text(), "for Some(\"alice\")");
    }
    // A request asks the store only where the node has not asked it just now.
    let before = redis.calls("getex").await;
    for _ in 0..10 {
        browser.fetch(&other, "/account/x").await;
    }
    assert!(redis.calls("getex").await <= before + 2);
    // The end of it is noticed everywhere.
    let mut here = browser.clone();
    assert_eq!(here.open(&shop.gateway, "/oauth/logout").await.status, 303);
    let ended = async || (browser.fetch(&other, "/account/x").await.status == 401).then_some(());
    eventually("the session ends at the other gateway", ended).await;
}

#[tokio::test]
async fn the_provider_ends_sessions_at_every_gateway() {
    let redis = Redis::start().await;
    let Two { shop, other } = Two::open(&redis, "refuse").await;
    let (mut alice, mut bob) = <(Browser, Browser)>::default();
    alice.log_in(&shop, "/account/x", "alice").await;
    bob.log_in(&shop, "/account/x", "bob").await;
    let token = logout::logout_token(&shop, json!({})).await;
    // It is sent to one of them, and good for no other afterwards.
    assert_eq!(logout::send_token(&other, &token).await.status, 200);
    logout::send_token(&shop.gateway, &token)
        .await
        .assert_problem(400, "logout_refused");
    for gateway in [&shop.gateway, &other] {
        let ended = async || (alice.fetch(gateway, "/account/x").await.status == 401).then_some(());
        eventually("the session ends", ended).await;
        assert_eq!(bob.fetch(gateway, "/account/x").await.status, 200);
    }
}

#[tokio::test]
async fn tabs_at_several_gateways_renew_once() {
    let redis = Redis::start().await;
    let Two { shop, other } = Two::open(&redis, "refuse").await;
    let mut settings = client();
    settings["ttl"] = json!({ "AccessToken": 3 });
    shop.provider.configure(settings).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    assert_eq!(browser.fetch(&other, "/account/x").await.status, 200);
    // Nobody comes until the access token has ended.
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    let tabs = (0..20).map(|tab| {
        let mut browser = browser.clone();
        let gateway = if tab % 2 == 0 { &shop.gateway } else { &other };
        async move { browser.fetch(gateway, "/account/x").await.status }
    });
    let statuses = futures_util::future::join_all(tabs).await;
    assert_eq!(statuses, [200; 20]);
    // One for the login, one for the renewal: a second one would have ended the login.
    assert_eq!(shop.provider.count("/token").await, 2);
}

#[tokio::test]
async fn while_the_store_is_down_it_is_as_the_configuration_chooses() {
    let mut redis = Redis::start().await;
    let strict = Two::open(&redis, "refuse").await;
    let lenient = Two::open(&redis, "remembered").await;
    let mut browsers = Vec::new();
    for two in [&strict, &lenient] {
        let mut browser = Browser::default();
        browser.log_in(&two.shop, "/account/x", "alice").await;
        browsers.push(browser);
    }
    redis.stop().await;
    let down = async || {
        let answer = browsers[0].fetch(&strict.shop.gateway, "/account/x").await;
        (answer.status != 200).then(|| answer.assert_problem(503, "authentication_unavailable"))
    };
    eventually("what is remembered is not believed any more", down).await;
    // Of what it remembers, the other one goes on, and only of that.
    for _ in 0..3 {
        let answer = browsers[1].fetch(&lenient.shop.gateway, "/account/x").await;
        assert_eq!(answer.status, 200);
    }
    let answer = browsers[1].fetch(&lenient.other, "/account/x").await;
    answer.assert_problem(503, "authentication_unavailable");
    // Nobody can log in, and nobody is told that he is logged out.
    let mut newcomer = Browser::default();
    let sent = newcomer.open(&strict.shop.gateway, "/account/x").await;
    let callback = newcomer
        .log_in_at(&strict.shop.provider, &sent, "bob")
        .await;
    let answer = newcomer.open(&strict.shop.gateway, &callback).await;
    answer.assert_problem(503, "authentication_unavailable");
    let answer = browsers[0]
        .open(&strict.shop.gateway, "/oauth/logout")
        .await;
    answer.assert_problem(503, "authentication_unavailable");
    assert!(browsers[0].cookie(SESSION).is_some());
    // It comes back empty: whoever was logged in is not any more, and can be again.
    redis.start_again().await;
    let gone = async || {
        (browsers[0]
            .fetch(&strict.shop.gateway, "/account/x")
            .await
            .status
            == 401)
            .then_some(())
    };
    eventually("the store answers", gone).await;
    let page = browsers[0]
        .log_in(&strict.shop, "/account/x", "alice")
        .await;
    assert_eq!(page.status, 200);
}
