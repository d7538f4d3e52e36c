//! How long sessions last.

use super::*;

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_after_its_lifetime() {
    let session = "{ keys = [{ file = \"$folder/key\" }], idle = \"2s\", lifetime = \"8s\" }";
    let shop = Shop::with(Change {
        session: Some(session),
        ..Change::default()
    })
    .await;
    ends_by_idleness_and_by_age(&shop).await;
}

#[tokio::test]
async fn a_session_of_a_store_ends_when_nobody_uses_it_and_after_its_lifetime() {
    let redis = Redis::start().await;
    let session = "{ keys = [{ file = \"$folder/key\" }], idle = \"2s\", lifetime = \"8s\", store = \"shared\", remember = \"500ms\" }";
    let shop = Shop::with(Change {
        session: Some(session),
        sections: &format!("[stores.shared]\nredis = {{ url = \"{}\" }}", redis.url()),
        ..Change::default()
    })
    .await;
    ends_by_idleness_and_by_age(&shop).await;
}

/// Has a session used for so long.
async fn keep_busy(shop: &Shop, browser: &mut Browser, milliseconds: u128) {
    let began = std::time::Instant::now();
    while began.elapsed().as_millis() < milliseconds {
        let answer = browser.fetch(&shop.gateway, "/account/x").await;
        assert_eq!(answer.status, 200, "after {:?}", began.elapsed());
    }
}

/// With an `idle` of two seconds and a `lifetime` of eight.
async fn ends_by_idleness_and_by_age(shop: &Shop) {
    let (mut idle, mut busy) = <(Browser, Browser)>::default();
    idle.log_in(shop, "/account/x", "alice").await;
    busy.log_in(shop, "/account/x", "bob").await;
    let began = std::time::Instant::now();
    // Long before the lifetime ends the one that nobody uses is over, and the other one is not.
    keep_busy(shop, &mut busy, 4000).await;
    idle.fetch(&shop.gateway, "/account/x")
        .await
        .assert_problem(401, "unauthenticated");
    assert_eq!(busy.fetch(&shop.gateway, "/account/x").await.status, 200);
    eventually("the lifetime ends", async || {
        let status = busy.fetch(&shop.gateway, "/account/x").await.status;
        (status == 401).then_some(())
    })
    .await;
    assert!(began.elapsed().as_millis() > 6000, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_reload_makes_no_session_younger() {
    let session = "{ keys = [{ file = \"$folder/key\" }], idle = \"2s\" }";
    let change = |more| Change {
        session: Some(session),
        more,
        ..Change::default()
    };
    let mut shop = Shop::with(change("")).await;
    let (mut idle, mut busy) = <(Browser, Browser)>::default();
    idle.log_in(&shop, "/account/x", "alice").await;
    busy.log_in(&shop, "/account/x", "bob").await;
    keep_busy(&shop, &mut busy, 3100).await;
    shop.reload(change("claims = { roles = \"groups\" }")).await;
    idle.fetch(&shop.gateway, "/account/x")
        .await
        .assert_problem(401, "unauthenticated");
    assert_eq!(busy.fetch(&shop.gateway, "/account/x").await.status, 200);
}

#[tokio::test]
async fn a_configuration_that_is_refused_logs_nobody_out() {
    let session = |most: u32| format!("{{ keys = [{{ file = \"$folder/key\" }}], most = {most} }}");
    let (many, few) = (session(100), session(1));
    let mut shop = Shop::with(Change {
        session: Some(&many),
        ..Change::default()
    })
    .await;
    let (mut alice, mut bob) = <(Browser, Browser)>::default();
    alice.log_in(&shop, "/account/x", "alice").await;
    bob.log_in(&shop, "/account/x", "bob").await;
    // Another listener has the address.
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let taken = holder.local_addr().expect("an address");
    let sections = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n[listeners.third]\nbind = \"{taken}\""
    );
    let refused = Change {
        session: Some(&few),
        sections: &sections,
        ..Change::default()
    };
    let refused = draft(&shop.provider, &shop.origin, &shop.folder, &refused);
    refused
        .apply(&mut shop.gateway)
        .await
        .expect_err("it is taken");
    for browser in [&mut alice, &mut bob] {
        assert_eq!(browser.fetch(&shop.gateway, "/account/x").await.status, 200);
    }
    // One that is served has room for one.
    shop.reload(Change {
        session: Some(&few),
        ..Change::default()
    })
    .await;
    assert_eq!(bob.fetch(&shop.gateway, "/account/x").await.status, 200);
    assert_eq!(alice.fetch(&shop.gateway, "/account/x").await.status, 401);
}
