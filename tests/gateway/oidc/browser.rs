//! The same with a real browser, over TLS, as people have it.

use super::*;

const TEXT: &str = "document.body.innerText";

#[tokio::test]
async fn a_person_logs_in_and_out() {
    let authority = Authority::new();
    let server = authority.issue(&[HOST]);
    let listener = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}",
        server.entry()
    );
    let shop = Shop::with(Change {
        sections: &listener,
        ..Change::default()
    })
    .await;
    let mut browser = Chromium::start(HOST, shop.gateway.address()).await;
    browser.open("https://app.test/account/orders?page=2").await;

    // The provider's page.
    browser
        .wait_for("document.querySelector('#log-in') !== null")
        .await;
    let host = browser.run("location.origin").await;
    assert_eq!(host, shop.provider.issuer());
    let fill = "document.querySelector('[name=login]').value = 'alice';
        document.querySelector('[name=password]').value = 'password';
        document.querySelector('#log-in').click(); true";
    assert_eq!(browser.run(fill).await, true);

    // Our page, at which it began.
    browser
        .wait_for("location.href === 'https://app.test/account/orders?page=2'")
        .await;
    browser.wait_for(&format!("{TEXT}.includes('alice')")).await;
    assert_eq!(
        browser.run("document.cookie").await,
        "",
        "no script sees the cookies"
    );
    let status = "fetch('/account/x').then((it) => it.status)";
    assert_eq!(browser.run(status).await, 200);
    assert_eq!(
        browser
            .run("fetch('/oauth/userinfo').then((it) => it.json()).then((it) => it.sub)")
            .await,
        "alice"
    );
    browser.open("https://app.test/account/again").await;
    browser.wait_for(&format!("{TEXT}.includes('alice')")).await;

    // A page of another site makes no request with the session, whatever it tries, and ends it by none.
    browser
        .open(&format!(
            "{}/.well-known/openid-configuration",
            shop.provider.issuer()
        ))
        .await;
    browser
        .wait_for(&format!("location.origin === '{}'", shop.provider.issuer()))
        .await;
    let before = shop.origin.seen().len();
    let across = "fetch('https://app.test/account/x', { credentials: 'include', mode: 'no-cors' })
        .then(() => fetch('https://app.test/oauth/logout', { credentials: 'include', mode: 'no-cors' }))
        .then(() => true)";
    assert_eq!(browser.run(across).await, true);
    assert_eq!(shop.origin.seen().len(), before, "it came with the session");
    let leave = "location.href = 'https://app.test/oauth/logout'; true";
    assert_eq!(browser.run(leave).await, true);
    browser
        .wait_for(&format!("{TEXT}.includes('logout_refused')"))
        .await;
    browser.open("https://app.test/account/still").await;
    browser.wait_for(&format!("{TEXT}.includes('alice')")).await;

    // By a link of our own page, to the provider, and back.
    assert_eq!(browser.run(leave).await, true);
    browser
        .wait_for("document.querySelector('[name=logout]') !== null")
        .await;
    assert_eq!(
        browser
            .run("document.querySelector('[name=logout]').click(); true")
            .await,
        true
    );
    browser
        .wait_for("location.href === 'https://app.test/'")
        .await;
    assert_eq!(
        browser.run(status).await,
        401,
        "a script is not sent to the provider"
    );
}

/// Twenty requests of one browser, when the tokens have just ended.
#[tokio::test]
async fn a_page_of_many_requests_renews_its_tokens_once() {
    let authority = Authority::new();
    let server = authority.issue(&[HOST]);
    let listener = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}",
        server.entry()
    );
    let shop = Shop::with(Change {
        sections: &listener,
        ..Change::default()
    })
    .await;
    let mut settings = client();
    settings["ttl"] = json!({ "AccessToken": 2 });
    shop.provider.configure(settings).await;
    let mut browser = Chromium::start(HOST, shop.gateway.address()).await;
    browser.open("https://app.test/account/x").await;
    browser
        .wait_for("document.querySelector('#log-in') !== null")
        .await;
    let fill = "document.querySelector('[name=login]').value = 'bob';
        document.querySelector('[name=password]').value = 'password';
        document.querySelector('#log-in').click(); true";
    assert_eq!(browser.run(fill).await, true);
    browser.wait_for(&format!("{TEXT}.includes('bob')")).await;
    let later = "new Promise((wake) => setTimeout(wake, 2100)).then(() => Promise.all(
        Array.from({ length: 20 }, (_, tab) => fetch('/account/' + tab).then((it) => it.status))
        )).then((all) => all.every((it) => it === 200))";
    assert_eq!(browser.run(later).await, true);
    assert_eq!(shop.provider.count("/token").await, 2);
}
