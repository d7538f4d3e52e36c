//! Credentials go to whom they are for, and no further.

use northgate::identity::api_key::{KeyHash, Prefix, make};
use serde_json::json;

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

/// Two providers that nobody has to reach, so that their cookies are known.
const LOGINS: &str = r#"
    [identity.oidc.main]
    issuer = "http://127.0.0.1:9"
    client_id = "web"
    callback_url = "https://shop.test/oauth/callback"

    [identity.oidc.staff]
    issuer = "http://127.0.0.1:9"
    client_id = "web"
    callback_url = "http://localhost/staff/callback"

    [routes.login]
    match = { path = "/oauth/{*rest}" }
    login = "main"

    [routes.staff]
    match = { path = "/staff/{*rest}" }
    login = "staff"
"#;

const GATEWAY: &str = r#"
    [consumers.acme]
    api_keys = ["$key"]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.open]
    match = { path = "/open" }
    upstream = "shop"

    [routes.key]
    match = { path = "/key" }
    upstream = "shop"
    [routes.key.policies]
    api_key = {}
    acl = { allow = '!("x-api-key" in request.headers)' }

    [routes.condition]
    match = { path = "/condition" }
    upstream = "shop"
    [routes.condition.policies]
    api_key = {}
    acl = { allow = 'request.headers["cookie"] == "theme=dark; lang=en"' }
"#;

fn key() -> String {
    let key = make(&Prefix::default()).expect("randomness");
    key.text.to_string()
}

async fn gateway(more: &str, key: &str, shop: &Origin, protocol: Protocol) -> Gateway {
    Gateway::draft(&format!("{GATEWAY}\n{more}"))
        .with("key", KeyHash::of(key.as_bytes()))
        .with("shop", shop)
        .with("protocol", protocol)
        .start()
        .await
}

#[tokio::test]
async fn no_cookie_of_a_login_reaches_an_upstream_by_any_route() {
    let own = [
        "__Host-northgate-main=s",
        "__Host-northgate-login-main~0123abcd=p",
        "northgate-staff=s",
        "northgate-login-staff~0123abcd=p",
    ];
    let all = format!("theme=dark; {}; lang=en", own.join("; "));
    over_each_pair(|pair| {
        let all = &all;
        async move {
            let shop = Origin::speaking(pair.origin, |_| text("served"));
            let key = key();
            let gateway = gateway(LOGINS, &key, &shop, pair.origin).await;
            let client = gateway.client(pair.client);
            for path in ["/open", "/key", "/condition"] {
                let ask = get(path).header("x-api-key", &key).header("cookie", all);
                assert_eq!(client.send(ask).await.status, 200, "{path}");
                let seen = shop.seen().pop().expect("a request");
                assert_eq!(seen.header("cookie"), Some("theme=dark; lang=en"), "{path}");
            }
            for cookie in own {
                let ask = get("/open").header("cookie", cookie);
                assert_eq!(client.send(ask).await.status, 200, "{cookie}");
                let seen = shop.seen().pop().expect("a request");
                assert_eq!(seen.header("cookie"), None, "{cookie}");
            }
            // On several lines, and under names that are nearly theirs.
            let ask = get("/open")
                .header("cookie", "a=1; __Host-northgate-main=s")
                .header("cookie", "__Host-northgate-mainly=2; northgate-main=3");
            assert_eq!(client.send(ask).await.status, 200);
            let seen = shop.seen().pop().expect("a request");
            let expected = "a=1; __Host-northgate-mainly=2; northgate-main=3";
            assert_eq!(seen.header("cookie"), Some(expected));
        }
    })
    .await;
}

#[tokio::test]
async fn reloads_know_which_cookies_are_of_logins() {
    let shop = Origin::http1(|_| text("served"));
    let key = key();
    let mut gateway = gateway("", &key, &shop, Protocol::Http1).await;
    let draft = |more: &str| {
        Gateway::draft(&format!("{GATEWAY}\n{more}"))
            .with("key", KeyHash::of(key.as_bytes()))
            .with("shop", &shop)
            .with("protocol", Protocol::Http1)
    };
    let cookie = "__Host-northgate-main=s";
    for (more, expected) in [
        // Where nobody logs in, it is somebody else's.
        ("", Some(cookie)),
        (LOGINS, None),
        ("", Some(cookie)),
    ] {
        draft(more).apply(&mut gateway).await.expect("it is good");
        let ask = get("/open").header("cookie", cookie);
        assert_eq!(gateway.http1().send(ask).await.status, 200);
        let seen = shop.seen().pop().expect("a request");
        assert_eq!(seen.header("cookie"), expected, "{more}");
    }
}

/// What is asked of a service goes to that service; an upstream gets it where the policy says so.
#[tokio::test]
async fn a_service_is_shown_credentials_that_upstreams_do_not_get() {
    const SERVICE: &str = r#"
        [identity.forward_auth.main]
        url = "http://$service/"
        request_headers = ["authorization", "x-auth-token", "x-token", "x-tenant", "cookie"]

        [identity.jwt.elsewhere]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { inline = '$keys' }
        header = "x-token"

        [upstreams.shop]
        endpoints = ["$shop"]
        protocol = "$protocol"

        [routes.hidden]
        match = { path = "/hidden" }
        upstream = "shop"
        policies.forward_auth = {}

        [routes.kept]
        match = { path = "/kept" }
        upstream = "shop"
        policies.forward_auth = { keep_credentials = true }

        [routes.elsewhere]
        match = { path = "/elsewhere" }
        upstream = "shop"
    "#;
    over_each_pair(|pair| async move {
        let service = Origin::http1(|_| text("fine"));
        let shop = Origin::speaking(pair.origin, |_| text("served"));
        let gateway = Gateway::draft(SERVICE)
            .with("service", &service)
            .with("keys", jwks([&Signer::new("EdDSA", "k1")]))
            .with("shop", &shop)
            .with("protocol", pair.origin)
            .start()
            .await;
        let shown = [
            ("authorization", "Token 1"),
            ("x-auth-token", "2"),
            ("x-token", "3"),
        ];
        let rest = [("x-tenant", "acme"), ("cookie", "a=b"), ("x-api-key", "4")];
        for (path, is_kept, asks) in [
            ("/hidden", false, true),
            ("/kept", true, true),
            // Nobody here looks at it, so it may be the upstream's own.
            ("/elsewhere", true, false),
        ] {
            let asked = service.seen().len();
            let ask = shown.into_iter().chain(rest);
            let ask = ask.fold(get(path), |ask, (name, value)| ask.header(name, value));
            let answer = gateway.client(pair.client).send(ask).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(service.seen().len() - asked, usize::from(asks), "{path}");
            let seen = shop.seen().pop().expect("a request");
            for (name, value) in shown {
                assert_eq!(seen.header(name), is_kept.then_some(value), "{path} {name}");
                let asked = service.seen().pop().expect("a question");
                assert_eq!(asked.header(name), Some(value), "{name}");
            }
            for (name, value) in rest {
                assert_eq!(seen.header(name), Some(value), "{path} {name}");
            }
        }
    })
    .await;
}

/// Whatever the answer is, and whoever gives it: what is said about a request is said without its credentials.
#[tokio::test]
async fn no_response_hook_sees_a_credential() {
    const ECHO: &str = r#"
        [listeners.public]
        bind = "127.0.0.1:0"

        [listeners.plain]
        bind = "127.0.0.1:0"
        policies.https_redirect = {}

        [gateway.policies.response_headers.set]
        x-echo = "{request.query}"

        [gateway.policies.jwt]
        providers = ["main"]

        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { inline = '$keys' }
        query = "token"

        [routes.open]
        match = { path = "/open" }
        respond = { status = 200 }

        [routes.denied]
        match = { path = "/denied" }
        respond = { status = 200 }
        policies.acl = { roles = ["nobody"] }

        [routes.here]
        match = { path = "/here" }
        respond = { status = 200 }
        policies.ip_access = { deny = ["0.0.0.0/0"] }

        [routes.scripts]
        match = { path = "/scripts", methods = ["POST"] }
        respond = { status = 200 }
        policies.cors = { origins = ["https://app.test"] }
    "#;
    let signer = Signer::new("EdDSA", "k1");
    let gateway = Gateway::draft(ECHO)
        .with("keys", jwks([&signer]))
        .start()
        .await;
    let claims =
        json!({ "iss": "https://id.test/", "aud": "shop", "sub": "u1", "exp": from_now(300) });
    let good = signer.token(&claims);
    let bad = Signer::new("EdDSA", "k1").token(&claims);
    let public = gateway.address();
    let plain = gateway.address_of("plain");
    for protocol in [Protocol::Http1, Protocol::H2] {
        for (address, method, path, token, status) in [
            (public, "GET", "/open", &good, 200),
            (public, "GET", "/open", &bad, 401),
            (public, "GET", "/denied", &good, 403),
            (public, "GET", "/here", &good, 403),
            (public, "OPTIONS", "/scripts", &good, 204),
            (public, "GET", "/scripts", &good, 405),
            (public, "GET", "/scripts", &bad, 401),
            (public, "GET", "/nowhere", &good, 404),
            (public, "GET", "/nowhere", &bad, 401),
            (public, "GET", "/%2e%2e%2fopen", &good, 400),
            (plain, "GET", "/open", &good, 308),
        ] {
            let target = format!("{path}?a=1&token={token}&%74oken={token}&b=2");
            let ask = request(method, &target)
                .header("origin", "https://app.test")
                .header("access-control-request-method", "POST");
            let answer = Client::of(address, protocol).send(ask).await;
            let what = format!("{method} {path}");
            assert_eq!(answer.status, status, "{what}: {answer:?}");
            assert_eq!(answer.header("x-echo"), Some("a=1&b=2"), "{what}");
            let body = answer.text();
            assert!(!body.contains(token.as_str()), "{what}: {body}");
        }
    }
}
