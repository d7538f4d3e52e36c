//! Where clients come in: TLS and its certificates, protocols, Unix sockets, the cap on connections.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

const PING: &str = r#"
    [routes.ping]
    match = { path = "/ping" }
    respond = { body = "pong" }
"#;

/// A listener with these certificates and these further lines.
async fn over_tls(certificates: &[&Certificate], tls: &str, listener: &str) -> Gateway {
    let pairs: Vec<_> = certificates.iter().map(|one| one.entry()).collect();
    let toml = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n{listener}\ntls = {{ certificates = [{}]{tls} }}\n{PING}",
        pairs.join(", ")
    );
    Gateway::start(&toml).await
}

/// What the listener and a client agree on: the certificate, ALPN and the version of TLS.
async fn handshake(
    gateway: &Gateway,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<(
    CertificateDer<'static>,
    Option<Vec<u8>>,
    rustls::ProtocolVersion,
)> {
    let stream = TcpStream::connect(gateway.address()).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = within("the handshake", connector.connect(name, stream)).await?;
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    Ok((certificate, alpn, session.protocol_version().unwrap()))
}

#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let authority = Authority::new();
    let default = authority.issue(&["default.test", "127.0.0.1"]);
    let exact = authority.issue(&["api.shop.test"]);
    let wildcard = authority.issue(&["*.shop.test"]);
    let gateway = over_tls(&[&default, &wildcard, &exact], "", "").await;
    for (name, expected) in [
        ("default.test", &default),
        ("api.shop.test", &exact),
        ("www.shop.test", &wildcard),
        // An address is never sent as a name.
        ("127.0.0.1", &default),
    ] {
        let agreed = handshake(&gateway, name, authority.client_config()).await;
        assert!(agreed.unwrap().0 == expected.der, "{name}");
    }
    // A star is one label; who asks for anything else gets the first, and does not like it.
    for name in ["a.b.shop.test", "shop.test", "elsewhere.test"] {
        let refused = handshake(&gateway, name, authority.client_config()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("not valid for name"), "{name}: {refused}");
    }
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    let gateway = over_tls(&[&certificate], "", "").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let config = authority.client_config();
        let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
        for _ in 0..2 {
            let answer = client.send(get("/ping")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "pong"));
            let is_h2 = answer.version == http::Version::HTTP_2;
            assert_eq!(is_h2, protocol == Protocol::H2);
        }
    }
}

#[tokio::test]
async fn alpn_prefers_http2_and_keeps_to_the_listener() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    for (protocols, offered, agreed) in [
        ("", &["http/1.1", "h2"][..], Some("h2")),
        ("", &["http/1.1"], Some("http/1.1")),
        ("", &[], None),
        (
            r#"protocols = ["http/1.1"]"#,
            &["h2", "http/1.1"],
            Some("http/1.1"),
        ),
        (r#"protocols = ["h2"]"#, &["h2", "http/1.1"], Some("h2")),
    ] {
        let gateway = over_tls(&[&certificate], "", protocols).await;
        let mut config = authority.client_config();
        config.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
        let (_, alpn, _) = handshake(&gateway, "shop.test", config).await.unwrap();
        let alpn = alpn.map(|alpn| String::from_utf8(alpn).unwrap());
        assert_eq!(alpn.as_deref(), agreed, "{protocols} {offered:?}");
    }
}

#[tokio::test]
async fn a_client_that_speaks_nothing_of_the_listeners_is_refused() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    for (protocols, offered, has_alert) in [
        ("", &["h3", "acme-tls/1"][..], true),
        (r#"protocols = ["http/1.1"]"#, &["h2"], true),
        // Who names no protocol speaks HTTP/1.1; the connection ends behind the handshake.
        (r#"protocols = ["h2"]"#, &[], false),
    ] {
        let gateway = over_tls(&[&certificate], "", protocols).await;
        let mut config = authority.client_config();
        config.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let name = ServerName::try_from("shop.test").unwrap();
        let exchange = async {
            let mut stream = connector.connect(name, stream).await?;
            let ask = b"GET /ping HTTP/1.1\r\nhost: shop.test\r\n\r\n";
            stream.write_all(ask).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let refused = within("a refusal", exchange).await.unwrap_err();
        let refused = format!("{refused:?}");
        let alert = refused.contains("AlertReceived(NoApplicationProtocol)");
        assert_eq!(alert, has_alert, "{refused}");
    }
}

#[tokio::test]
async fn suites_can_be_chosen() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    // A client that offers a key for either, as browsers do.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768,
        rustls::crypto::aws_lc_rs::kx_group::X25519,
    ];
    let provider = Arc::new(provider);
    let agreed = async |suites: &str, versions: &[&'static rustls::SupportedProtocolVersion]| {
        let gateway = over_tls(&[&certificate], &format!(", suites = {suites}"), "").await;
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        let config = Arc::new(config);
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let name = ServerName::try_from("shop.test").unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream = within("the handshake", connector.connect(name, stream)).await;
        let stream = stream.ok()?;
        let session = stream.get_ref().1;
        let suite = session.negotiated_cipher_suite().unwrap();
        let group = session.negotiated_key_exchange_group().unwrap();
        Some((suite.suite(), group.name()))
    };
    use rustls::{CipherSuite, NamedGroup};
    // The listener's order decides, and its key exchange is one that a quantum computer does not undo.
    assert_eq!(
        agreed(
            r#"["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]"#,
            rustls::ALL_VERSIONS
        )
        .await,
        Some((
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            NamedGroup::X25519MLKEM768
        ))
    );
    let old = &[&rustls::version::TLS12];
    assert_eq!(agreed(r#"["TLS_AES_128_GCM_SHA256"]"#, old).await, None);
    let one = r#"["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]"#;
    let suite = agreed(one, old).await.map(|(suite, _)| suite);
    assert_eq!(
        suite,
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
    );
}

#[tokio::test]
async fn old_versions_of_tls_are_refused() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    let roots = || authority.client_config();
    let old = || authority.client_config_of(&[&rustls::version::TLS12]);
    let modern = over_tls(&[&certificate], ", min_version = \"1.3\"", "").await;
    assert!(handshake(&modern, "shop.test", old()).await.is_err());
    let (_, _, version) = handshake(&modern, "shop.test", roots()).await.unwrap();
    assert_eq!(version, rustls::ProtocolVersion::TLSv1_3);
    let lenient = over_tls(&[&certificate], "", "").await;
    let (_, _, version) = handshake(&lenient, "shop.test", old()).await.unwrap();
    assert_eq!(version, rustls::ProtocolVersion::TLSv1_2);
}

#[tokio::test]
async fn a_certificate_can_be_made_on_the_spot() {
    let gateway = Gateway::start(&format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ self_signed = [\"localhost\"] }}] }}\n{PING}"
    ))
    .await;
    // Nobody trusts it, but the listener speaks TLS with it.
    let authority = Authority::new();
    let refused = handshake(&gateway, "localhost", authority.client_config()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn clear_text_on_a_tls_listener_is_refused_and_so_is_a_silent_client() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    let timeouts = r#"timeouts = { tls_handshake = "300ms" }"#;
    let gateway = over_tls(&[&certificate], "", timeouts).await;
    let answer =
        RawClient::exchange(gateway.address(), "GET /ping HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!answer.contains("pong"), "{answer:?}");
    let begin = std::time::Instant::now();
    let mut silent = RawClient::connect(gateway.address()).await;
    assert_eq!(silent.read_to_end().await, "");
    let took = begin.elapsed().as_millis();
    assert!((290..900).contains(&took), "{took} ms");
    let metrics = gateway.metrics().await;
    for reason in ["tls_handshake", "timeout"] {
        let series = format!(
            "northgate_connections_refused_total{{northgate_listener=\"public\",reason=\"{reason}\"}} 1"
        );
        assert!(metrics.contains(&series), "{metrics}");
    }
}

#[tokio::test]
async fn one_port_speaks_both_protocols_in_clear_text() {
    let gateway = Gateway::start(PING).await;
    assert_eq!(gateway.http1().send(get("/ping")).await.text(), "pong");
    let answer = gateway.http2().send(get("/ping")).await;
    assert_eq!(answer.version, http::Version::HTTP_2);
    assert_eq!(answer.text(), "pong");
}

#[tokio::test]
async fn a_listener_speaks_only_what_it_is_for() {
    let listener = |protocol: &str| {
        format!("[listeners.public]\nbind = \"127.0.0.1:0\"\nprotocols = [\"{protocol}\"]\n{PING}")
    };
    let http1 = Gateway::start(&listener("http/1.1")).await;
    assert_eq!(http1.http1().send(get("/ping")).await.text(), "pong");
    let refused = within("a refusal", http1.http2().try_send(get("/ping"))).await;
    assert!(refused.is_err(), "{refused:?}");

    let h2 = Gateway::start(&listener("h2")).await;
    assert_eq!(h2.http2().send(get("/ping")).await.text(), "pong");
    let refused = within("a refusal", h2.http1().try_send(get("/ping"))).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_listener_can_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("northgate.sock");
    let shop = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(
        r#"
        [listeners.local]
        bind = "unix:$path"

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        "#,
    )
    .with("path", path.display())
    .with("shop", &shop)
    .start()
    .await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = Client::of_socket(&path, protocol);
        let answer = client.send(get("/")).await;
        assert_eq!(answer.text(), "ok");
        let line = gateway.log_of(&answer).await;
        assert_eq!(
            (&line["listener"], &line["client"]),
            (&"local".into(), &"127.0.0.1".into())
        );
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let gateway = Gateway::start(&format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\nlimits = {{ connections = 2 }}\n{PING}"
    ))
    .await;
    let ask = "GET /ping HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(gateway.address()).await;
        client.send(ask).await;
        client.read_until("pong").await;
        held.push(client);
    }
    let mut third = RawClient::connect(gateway.address()).await;
    assert_eq!(third.read_to_end().await, "");
    let metrics = gateway.metrics().await;
    let labels = r#"{northgate_listener="public",reason="full"} 1"#;
    assert!(metrics.contains(&format!("northgate_connections_refused_total{labels}")));
    // Room again as soon as somebody has left.
    held.pop();
    eventually("room", async || {
        let answer = gateway.http1().try_send(get("/ping")).await;
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    })
    .await;
}
