//! Requests that come by the TLS connection of another host: 421.

use crate::harness::*;

const ROUTES: &str = r#"
    [routes.all]
    match = { path = "/{*rest}" }
    respond = { body = "served" }
"#;

async fn gateway(certificates: &[&Certificate]) -> Gateway {
    let entries: Vec<_> = certificates.iter().map(|one| one.entry()).collect();
    let entries = entries.join(", ");
    Gateway::start(&format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{entries}] }}\n{ROUTES}"
    ))
    .await
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected() {
    let authority = Authority::new();
    let first = authority.issue(&["first.test", "127.0.0.1"]);
    let shop = authority.issue(&["*.shop.test", "shop.test"]);
    let api = authority.issue(&["api.shop.test"]);
    let gateway = gateway(&[&first, &shop, &api]).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = |name: &str| {
            let config = authority.client_config();
            Client::over_tls(gateway.address(), protocol, name, config)
        };
        for (asked, host, is_served) in [
            ("www.shop.test", "www.shop.test", true),
            ("www.shop.test", "WWW.shop.test:8443", true),
            // Another host of the same certificate, as a browser that joins connections asks for it.
            ("www.shop.test", "shop.test", true),
            ("www.shop.test", "api.shop.test", false),
            ("api.shop.test", "www.shop.test", false),
            ("api.shop.test", "first.test", false),
            ("api.shop.test", "elsewhere.test", false),
            // An address is never asked for by name: this is a client without SNI.
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "elsewhere.test", true),
            ("127.0.0.1", "api.shop.test", false),
        ] {
            let client = client(asked);
            let answer = client.send(get("/").host(host)).await;
            if is_served {
                assert_eq!(answer.text(), "served", "{protocol:?} {asked} {host}");
            } else {
                answer.assert_problem(421, "misdirected");
                // The connection is good for its own hosts.
                let answer = client.send(get("/").host(asked)).await;
                assert_eq!(answer.text(), "served", "{protocol:?} {asked}");
            }
        }
    }
}

#[tokio::test]
async fn with_one_certificate_every_host_is_served() {
    let authority = Authority::new();
    let only = authority.issue(&["shop.test"]);
    let gateway = gateway(&[&only]).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let config = authority.client_config();
        let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
        let answer = client.send(get("/").host("elsewhere.test")).await;
        assert_eq!(answer.text(), "served");
    }
}
