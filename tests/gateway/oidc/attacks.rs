//! Attacks on logins and sessions, each by its name, and each refused.

use super::*;
use crate::harness::tokens::encode;

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
    assert_named(attacks, 18);
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
    assert_named(refused, 17);
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
    assert_named(attacks.iter().map(|(name, _)| *name), 13);
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
    assert_named(attacks.iter().map(|(name, ..)| *name), 7);
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
