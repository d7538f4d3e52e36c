//! Logging in, from the first page to the session.

use super::*;

#[tokio::test]
async fn a_login_leads_back_to_the_page_and_proves_who_it_is() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    let sent = browser
        .open(&shop.gateway, "/account/orders?page=2&q=a%26b")
        .await;
    assert_eq!(sent.status, 302);
    assert_eq!(sent.header("cache-control"), Some("no-store"));
    let wanted = query(location(&sent));
    assert!(location(&sent).starts_with(&format!("{}/auth?", shop.provider.issuer())));
    assert_eq!(wanted["response_type"], "code");
    assert_eq!(wanted["scope"], "openid email");
    assert_eq!(wanted["redirect_uri"], "https://app.test/oauth/callback");
    assert_eq!(wanted["code_challenge_method"], "S256");
    assert_eq!(wanted["code_challenge"].len(), 43);
    assert!(wanted["state"].len() == 43 && wanted["nonce"].len() == 43);

    let callback = browser.log_in_at(&shop.provider, &sent, "alice").await;
    assert_eq!(browser.begun().len(), 1);
    let back = browser.open(&shop.gateway, &callback).await;
    assert_eq!(back.status, 303, "{back:?}");
    assert_eq!(
        location(&back),
        "https://app.test/account/orders?page=2&q=a%26b"
    );
    assert_eq!(browser.begun(), [""; 0], "the login is over");
    let cookies: Vec<_> = back.headers.get_all("set-cookie").iter().collect();
    let session = cookies
        .iter()
        .find(|it| it.as_bytes().starts_with(SESSION.as_bytes()));
    let session = session.expect("a session").to_str().expect("ASCII");
    for attribute in [
        "Path=/",
        "HttpOnly",
        "SameSite=Lax",
        "Secure",
        "Max-Age=43200",
    ] {
        assert!(session.contains(attribute), "{attribute} in {session}");
    }
    let value = browser.cookie(SESSION).expect("a session").to_owned();
    assert!(value.len() < 100, "the cookie is small: {}", value.len());

    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = shop.gateway.client(protocol);
        let answer = browser.send(&client, HOST, get("/account/orders")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = shop.origin.seen().pop().expect("a request");
        assert_eq!(seen.header("x-who"), Some("alice"));
        assert_eq!(seen.header("x-roles"), Some("customer admin"));
        let line = shop.gateway.log_of(&answer).await;
        assert!(!line.to_string().contains(&value), "{line}");
    }
}

#[tokio::test]
async fn scripts_and_programs_get_401_and_no_redirect() {
    let shop = Shop::open().await;
    let client = shop.gateway.http1();
    let html = ("accept", "text/html");
    let cases: [(&str, Lines<'_>, u16); 8] = [
        ("GET", &[html], 302),
        ("GET", &[("sec-fetch-mode", "navigate")], 302),
        ("GET", &[html, ("sec-fetch-mode", "cors")], 401),
        ("GET", &[html, ("x-requested-with", "XMLHttpRequest")], 401),
        ("GET", &[("accept", "application/json")], 401),
        ("GET", &[], 401),
        ("POST", &[html, ("sec-fetch-mode", "navigate")], 401),
        ("DELETE", &[html], 401),
    ];
    for (method, headers, status) in cases {
        let mut ask = request(method, "/account/x").host(HOST);
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        let answer = client.send(ask).await;
        assert_eq!(answer.status, status, "{method} {headers:?}");
        if status == 401 {
            answer.assert_problem(401, "unauthenticated");
            let challenge = answer.header("www-authenticate");
            assert_eq!(
                challenge,
                Some("Cookie cookie-name=\"__Host-northgate-main\"")
            );
            assert!(answer.headers.get("set-cookie").is_none());
        }
    }
    // The cookie of a login would not come back from another host.
    let elsewhere = get("/account/x")
        .host("other.test")
        .header("accept", "text/html");
    client
        .send(elsewhere)
        .await
        .assert_problem(401, "unauthenticated");
    let port = get("/account/x")
        .host("app.test:8443")
        .header("accept", "text/html");
    assert_eq!(client.send(port).await.status, 302);
}

#[tokio::test]
async fn a_page_for_everybody_knows_who_has_logged_in() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    let answer = browser.open(&shop.gateway, "/public").await;
    assert_eq!((answer.status, answer.text()), (200, "for None".to_owned()));
    browser.log_in(&shop, "/account/x", "bob").await;
    let answer = browser.open(&shop.gateway, "/public").await;
    assert_eq!(answer.text(), "for Some(\"bob\")");
}

/// An upstream that had the cookie could come in as whoever has logged in.
#[tokio::test]
async fn no_upstream_gets_the_session_unless_it_should() {
    let sections = r#"
        [routes.open]
        match = { path = "/open" }
        upstream = "shop"

        [routes.kept]
        match = { path = "/kept" }
        upstream = "shop"
        policies.oidc = { providers = ["main"], keep_credentials = true }
    "#;
    let change = Change {
        sections,
        ..Change::default()
    };
    let shop = Shop::with(change).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    // Another login has begun, and the application has a cookie of its own.
    let client = shop.gateway.http1();
    let begun = get("/oauth/login?return=/x");
    assert_eq!(browser.send(&client, HOST, begun).await.status, 303);
    assert_eq!(browser.begun().len(), 1);
    browser.set("theme", "dark");
    let session = browser.cookie(SESSION).expect("a session").to_owned();
    let kept = format!("{SESSION}={session}; theme=dark");
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = shop.gateway.client(protocol);
        for (path, expected) in [
            ("/open", "theme=dark"),
            ("/public", "theme=dark"),
            ("/account/x", "theme=dark"),
            ("/kept", &*kept),
        ] {
            let answer = browser.send(&client, HOST, get(path)).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let seen = shop.origin.seen().pop().expect("a request");
            assert_eq!(seen.header("cookie"), Some(expected), "{path}");
        }
    }
    // What answers for the gateway itself still sees them.
    let userinfo = browser.send(&client, HOST, get("/oauth/userinfo")).await;
    assert_eq!(userinfo.json()["sub"], "alice");
    let nobody = client.send(get("/oauth/userinfo").host(HOST)).await;
    nobody.assert_problem(401, "unauthenticated");
    assert_eq!(
        nobody.header("www-authenticate"),
        Some("Cookie cookie-name=\"__Host-northgate-main\"")
    );
}

#[tokio::test]
async fn several_tabs_log_in_at_once() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    let mut sent = Vec::new();
    for tab in 0..3 {
        sent.push(
            browser
                .open(&shop.gateway, &format!("/account/{tab}"))
                .await,
        );
    }
    assert_eq!(browser.begun().len(), 3);
    // The last first: nothing depends on the order.
    for (tab, sent) in sent.iter().enumerate().rev() {
        let callback = browser.log_in_at(&shop.provider, sent, "alice").await;
        let back = browser.open(&shop.gateway, &callback).await;
        assert_eq!(location(&back), format!("{ORIGIN}/account/{tab}"));
    }
    assert_eq!(browser.begun(), [""; 0]);
    assert_eq!(browser.open(&shop.gateway, "/account/x").await.status, 200);
    // However many are begun, a browser keeps few.
    let mut other = Browser::default();
    for tab in 0..12 {
        other.open(&shop.gateway, &format!("/account/{tab}")).await;
        assert!(other.begun().len() <= 5, "{:?}", other.begun());
    }
}

#[tokio::test]
async fn a_script_sends_its_page_to_log_in_and_asks_who_it_is() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    browser
        .fetch(&shop.gateway, "/oauth/userinfo")
        .await
        .assert_problem(401, "unauthenticated");
    let sent = browser
        .open(&shop.gateway, "/oauth/login?return=/account/a%3Fb%3Dc")
        .await;
    assert_eq!(sent.status, 303);
    let callback = browser.log_in_at(&shop.provider, &sent, "alice").await;
    let back = browser.open(&shop.gateway, &callback).await;
    assert_eq!(location(&back), "https://app.test/account/a?b=c");
    let answer = browser.fetch(&shop.gateway, "/oauth/userinfo").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let claims = answer.json();
    assert_eq!(
        (&claims["sub"], &claims["tenant"]),
        (&json!("alice"), &json!("acme"))
    );
    let methods = [
        ("/oauth/callback", "GET"),
        ("/oauth/userinfo", "GET"),
        ("/oauth/logout", "GET, POST"),
    ];
    for (path, allowed) in methods {
        let answer = browser
            .send(&shop.gateway.http1(), HOST, delete(path))
            .await;
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed));
    }
    browser
        .open(&shop.gateway, "/oauth/nothing")
        .await
        .assert_problem(404, "route_not_found");
}

#[tokio::test]
async fn who_is_no_consumer_is_not_let_in() {
    let change = Change {
        more: "claims = { consumer = \"tenant\" }",
        sections: "[consumers.acme]\nroles = [\"partner\"]",
        ..Change::default()
    };
    let shop = Shop::with(change).await;
    let mut bob = Browser::default();
    let sent = bob.open(&shop.gateway, "/account/x").await;
    let callback = bob.log_in_at(&shop.provider, &sent, "bob").await;
    let answer = bob.open(&shop.gateway, &callback).await;
    answer.assert_problem(403, "login_refused");
    assert_eq!(bob.cookie(SESSION), None);
    let mut alice = Browser::default();
    let page = alice.log_in(&shop, "/account/x", "alice").await;
    assert_eq!(page.status, 200);
    let line = shop.gateway.log_of(&page).await;
    assert_eq!(line["consumer"], "acme");
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_apart_from_a_bad_login() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    let sent = browser.open(&shop.gateway, "/account/x").await;
    let callback = browser.log_in_at(&shop.provider, &sent, "alice").await;
    shop.provider.go_down().await;
    let answer = browser.open(&shop.gateway, &callback).await;
    answer.assert_problem(503, "authentication_unavailable");
    shop.provider.come_back().await;
    // The code was not redeemed, but the login is used up: it begins anew.
    assert_eq!(
        browser.log_in(&shop, "/account/x", "alice").await.status,
        200
    );
}

#[tokio::test]
async fn sessions_outlive_a_reload_and_see_its_claims() {
    let mut shop = Shop::open().await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    let more = "claims = { roles = \"groups\", subject = \"email\" }";
    shop.reload(Change {
        more,
        ..Change::default()
    })
    .await;
    assert_eq!(browser.open(&shop.gateway, "/account/x").await.status, 200);
    let seen = shop.origin.seen().pop().expect("a request");
    assert_eq!(seen.header("x-roles"), Some("staff"));
    // Without keys of the configuration, those that were drawn stay for as long as the process does.
    let drawn = || Change {
        session: Some("{}"),
        ..Change::default()
    };
    shop.reload(drawn()).await;
    assert_eq!(browser.open(&shop.gateway, "/account/x").await.status, 302);
    browser.log_in(&shop, "/account/x", "alice").await;
    shop.reload(Change {
        more: "userinfo = true",
        ..drawn()
    })
    .await;
    assert_eq!(browser.open(&shop.gateway, "/account/x").await.status, 200);
}

#[tokio::test]
async fn keys_of_cookies_rotate() {
    let mut shop = Shop::open().await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    std::fs::write(
        shop.folder.path().join("new"),
        "another key, as long as it has to be",
    )
    .expect("a file");
    let both = "{ keys = [{ file = \"$folder/new\" }, { file = \"$folder/key\" }] }";
    shop.reload(Change {
        session: Some(both),
        ..Change::default()
    })
    .await;
    assert_eq!(browser.open(&shop.gateway, "/account/x").await.status, 200);
    let mut later = Browser::default();
    later.log_in(&shop, "/account/x", "bob").await;
    let new = "{ keys = [{ file = \"$folder/new\" }] }";
    shop.reload(Change {
        session: Some(new),
        ..Change::default()
    })
    .await;
    assert_eq!(later.open(&shop.gateway, "/account/x").await.status, 200);
    assert_eq!(browser.open(&shop.gateway, "/account/x").await.status, 302);
}
