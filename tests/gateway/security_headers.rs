//! `security_headers`.

use crate::harness::*;

const NAMES: [&str; 8] = [
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "content-security-policy",
    "permissions-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
];

/// The values of the eight, in order; `-` for one that is not there.
#[track_caller]
fn assert_headers(answer: &Answer, expected: [&str; 8]) {
    for (name, expected) in NAMES.into_iter().zip(expected) {
        let values: Vec<_> = answer.headers.get_all(name).iter().collect();
        let expected: &[&str] = if expected == "-" { &[] } else { &[expected] };
        assert_eq!(values, expected, "{name}");
    }
}

const BY_DEFAULT: [&str; 8] = [
    "max-age=31536000",
    "nosniff",
    "SAMEORIGIN",
    "strict-origin-when-cross-origin",
    "-",
    "-",
    "-",
    "-",
];

#[tokio::test]
async fn options_over_tls() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        tls = { certificates = [{ cert = "$cert", key = { file = "$key" } }] }
        policies.security_headers = {}

        [routes.plain]
        match = { path = "/plain" }
        respond = { body = "plain" }

        [routes.none]
        match = { path = "/none" }
        respond = { body = "none" }
        policies.security_headers = { hsts = "off", content_type_options = "off", frame_options = "off", referrer_policy = "off" }

        [routes.all]
        match = { path = "/all" }
        respond = { body = "all" }

        [routes.all.policies.security_headers]
        hsts = { max_age = "730d", include_subdomains = true, preload = true }
        frame_options = "DENY"
        referrer_policy = "no-referrer"
        content_security_policy = """
            default-src 'self';
            frame-ancestors 'none'
        """
        permissions_policy = "camera=(), geolocation=(self)"
        cross_origin_opener_policy = "same-origin"
        cross_origin_resource_policy = "same-site"

        [routes.short]
        match = { path = "/short" }
        respond = { body = "short" }
        policies.security_headers = { hsts = { max_age = "5m", include_subdomains = true }, frame_options = "off" }

        [routes.own]
        match = { path = "/own" }
        respond = { body = "own" }
        policies.response_headers = { set = { x-frame-options = "DENY" } }
        "#,
    )
    .with("cert", certificate.cert_path.display())
    .with("key", certificate.key_path.display())
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let config = authority.client_config();
        let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
        let [.., referrer] = ["strict-origin-when-cross-origin"];
        for (target, expected) in [
            ("/plain", BY_DEFAULT),
            ("/nowhere", BY_DEFAULT),
            ("/none", ["-"; 8]),
            (
                "/all",
                [
                    "max-age=63072000; includeSubDomains; preload",
                    "nosniff",
                    "DENY",
                    "no-referrer",
                    "default-src 'self'; frame-ancestors 'none'",
                    "camera=(), geolocation=(self)",
                    "same-origin",
                    "same-site",
                ],
            ),
            (
                "/short",
                [
                    "max-age=300; includeSubDomains",
                    "nosniff",
                    "-",
                    referrer,
                    "-",
                    "-",
                    "-",
                    "-",
                ],
            ),
            (
                "/own",
                [
                    "max-age=31536000",
                    "nosniff",
                    "DENY",
                    referrer,
                    "-",
                    "-",
                    "-",
                    "-",
                ],
            ),
        ] {
            assert_headers(&client.send(get(target)).await, expected);
        }
    }
}

#[tokio::test]
async fn what_the_upstream_says_stays_unless_it_is_overridden() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| {
            reply(
                200,
                &[
                    ("x-frame-options", "ALLOWALL"),
                    ("content-security-policy", "default-src 'none'"),
                    ("content-security-policy", "img-src *"),
                    ("referrer-policy", "unsafe-url"),
                ],
                full("ok"),
            )
        });
        let gateway = Gateway::draft(
            r#"
            [upstreams.shop]
            endpoints = ["$shop"]
            protocol = "$protocol"

            [routes.polite]
            match = { path = "/polite" }
            upstream = "shop"
            policies.security_headers = { content_security_policy = "default-src 'self'", cross_origin_opener_policy = "same-origin" }

            [routes.strict]
            match = { path = "/strict" }
            upstream = "shop"
            policies.security_headers = { content_security_policy = "default-src 'self'", frame_options = "DENY", override = true }
            "#,
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        let polite = client.send(get("/polite")).await;
        let policies: Vec<_> = polite.headers.get_all("content-security-policy").iter().collect();
        assert_eq!(policies, ["default-src 'none'", "img-src *"]);
        assert_eq!(polite.header("x-frame-options"), Some("ALLOWALL"));
        assert_eq!(polite.header("referrer-policy"), Some("unsafe-url"));
        assert_eq!(polite.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(polite.header("cross-origin-opener-policy"), Some("same-origin"));
        // By plain HTTP it would be worth nothing.
        assert_eq!(polite.header("strict-transport-security"), None);
        let strict = client.send(get("/strict")).await;
        assert_headers(
            &strict,
            [
                "-",
                "nosniff",
                "DENY",
                "strict-origin-when-cross-origin",
                "default-src 'self'",
                "-",
                "-",
                "-",
            ],
        );
    })
    .await;
}
