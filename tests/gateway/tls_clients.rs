//! Certificates of clients: who is let in, and what is said of them to upstreams.

use std::sync::Arc;

use rcgen::{
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

/// A listener with this `client_auth`, in front of an origin to which it forwards what it knows of the client.
async fn gateway(server: &Certificate, client_auth: &str, origin: &Origin) -> Gateway {
    Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        tls = { certificates = [$entry], client_auth = $client_auth }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"

        [routes.all.policies.request_headers.set]
        x-client-subject = "{client.certificate.subject}"
        x-client-issuer = "{client.certificate.issuer}"
        x-client-serial = "{client.certificate.serial}"
        x-client-fingerprint = "{client.certificate.fingerprint}"
        x-client-dns = "{client.certificate.dns}"
        x-client-uri = "{client.certificate.uri}"
        x-client-not-after = "{client.certificate.not_after}"
        client-cert = ":{client.certificate.der}:"
        "#,
    )
    .with("entry", server.entry())
    .with("client_auth", client_auth)
    .with("shop", origin)
    .start()
    .await
}

fn client_auth(mode: &str, authority: &Authority, lists: &[std::path::PathBuf]) -> String {
    let lists: Vec<_> = lists.iter().map(|list| format!("{list:?}")).collect();
    format!(
        "{{ mode = \"{mode}\", ca = \"{}\", crl = [{}] }}",
        authority.path(),
        lists.join(", ")
    )
}

fn for_clients(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
        .distinguished_name
        .push(DnType::CommonName, "billing");
}

#[tokio::test]
async fn each_mode_lets_in_whom_it_should() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue(&["shop.test"]);
    let good = authority.issue_with(&["billing.test"], for_clients);
    let unlimited = authority.issue(&["billing.test"]);
    let revoked = authority.issue_with(&["billing.test"], for_clients);
    let foreign = stranger.issue_with(&["billing.test"], for_clients);
    let expired = authority.issue_with(&["billing.test"], |params| {
        for_clients(params);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let early = authority.issue_with(&["billing.test"], |params| {
        for_clients(params);
        params.not_before = date_time_ymd(2900, 1, 1);
    });
    let for_servers = authority.issue_with(&["billing.test"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let no_words = authority.issue_with(&[], |params| {
        const ALTERNATIVE_NAMES: [u64; 4] = [2, 5, 29, 17];
        // A sequence of one DNS name that is no ASCII.
        let garbage = vec![0x30, 3, 0x82, 1, 0xff];
        let extension = CustomExtension::from_oid_content(&ALTERNATIVE_NAMES, garbage);
        params.custom_extensions.push(extension);
    });
    let lists = [authority.revoke(&[&revoked])];
    let origin = Origin::http1(|_| text("served"));
    // What each mode makes of them: off, optional, required.
    let cases: [(&str, Option<&Certificate>, [bool; 3]); 9] = [
        ("none", None, [true, true, false]),
        ("good", Some(&good), [true, true, true]),
        ("for any use", Some(&unlimited), [true, true, true]),
        ("of another authority", Some(&foreign), [true, false, false]),
        ("revoked", Some(&revoked), [true, false, false]),
        ("expired", Some(&expired), [true, false, false]),
        ("not good yet", Some(&early), [true, false, false]),
        ("for servers", Some(&for_servers), [true, false, false]),
        ("without words", Some(&no_words), [true, false, false]),
    ];
    for (index, mode) in ["off", "optional", "required"].into_iter().enumerate() {
        let gateway = gateway(&server, &client_auth(mode, &authority, &lists), &origin).await;
        for (what, certificate, expected) in &cases {
            for protocol in [Protocol::Http1, Protocol::H2] {
                let config = match certificate {
                    None => authority.client_config(),
                    Some(certificate) => authority.client_config_with(certificate),
                };
                let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
                let sent = client.try_send(get("/").header("x-client-subject", "CN=admin"));
                let answer = within("an end", sent).await;
                assert_eq!(
                    answer.is_ok(),
                    expected[index],
                    "{mode} {what} {protocol:?}"
                );
                if answer.is_err() {
                    continue;
                }
                let is_known = mode != "off" && certificate.is_some();
                let seen = origin.seen().pop().unwrap();
                let subject = seen.headers.get("x-client-subject");
                assert_eq!(subject.is_some(), is_known, "{mode} {what} {protocol:?}");
                assert!(subject.is_none_or(|subject| subject != "CN=admin"));
            }
        }
    }
}

#[tokio::test]
async fn tls_1_2_is_no_way_around() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let good = authority.issue_with(&["billing.test"], for_clients);
    let revoked = authority.issue_with(&["billing.test"], for_clients);
    let lists = [authority.revoke(&[&revoked])];
    let origin = Origin::http1(|_| text("served"));
    let required = client_auth("required", &authority, &lists);
    let gateway = gateway(&server, &required, &origin).await;
    for (certificate, is_served) in [(None, false), (Some(&good), true), (Some(&revoked), false)] {
        let builder = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
            .with_root_certificates(authority.roots());
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(one) => builder
                .with_client_auth_cert(vec![one.der.clone()], one.private_key())
                .unwrap(),
        };
        let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
        let answer = within("an end", client.try_send(get("/"))).await;
        assert_eq!(answer.is_ok(), is_served, "{answer:?}");
    }
}

#[tokio::test]
async fn a_list_that_is_too_old_or_covers_nobody_lets_nobody_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue(&["shop.test"]);
    let good = authority.issue_with(&["billing.test"], for_clients);
    let origin = Origin::http1(|_| text("served"));
    let old = authority.revoke_until(&[], 2021);
    let foreign = stranger.revoke(&[]);
    for list in [old, foreign] {
        let required = client_auth("required", &authority, &[list]);
        let gateway = gateway(&server, &required, &origin).await;
        let config = authority.client_config_with(&good);
        let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
        let answer = within("an end", client.try_send(get("/"))).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_verified_can_be_forwarded() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let billing = authority.issue_with(&["billing.test", "b.test"], |params| {
        for_clients(params);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Ä, B");
        params.not_after = date_time_ymd(2100, 2, 3);
        let uri = "spiffe://shop.test/billing".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
    });
    let origin = Origin::http1(|_| text("served"));
    let optional = client_auth("optional", &authority, &[]);
    let gateway = gateway(&server, &optional, &origin).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let config = authority.client_config_with(&billing);
        let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
        // Every request of a connection.
        for _ in 0..2 {
            let answer = client.send(get("/")).await;
            let seen = origin.seen().pop().unwrap();
            let said = |name: &str| seen.headers.get(name).unwrap().to_str().unwrap();
            let subject = said("x-client-subject");
            assert!(subject.starts_with("O=\\C3\\84\\, B,CN="), "{subject}");
            assert_eq!(said("x-client-issuer"), "CN=rcgen self signed cert");
            assert_eq!(said("x-client-serial").trim_start_matches('0'), "2");
            assert_eq!(said("x-client-dns"), "billing.test,b.test");
            assert_eq!(said("x-client-uri"), "spiffe://shop.test/billing");
            assert_eq!(said("x-client-not-after"), "2100-02-03T00:00:00Z");
            let fingerprint = openssl_fingerprint(&billing);
            assert_eq!(said("x-client-fingerprint"), fingerprint);
            let pem = std::fs::read_to_string(&billing.cert_path).unwrap();
            let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            assert_eq!(said("client-cert"), format!(":{base64}:"));
            let line = gateway.log_of(&answer).await;
            assert_eq!(line["client_certificate"], subject);
        }
    }
}

/// As an administrator would find it out.
fn openssl_fingerprint(certificate: &Certificate) -> String {
    let output = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&certificate.cert_path)
        .output()
        .expect("openssl runs");
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, hexadecimal) = text.trim().split_once('=').expect("a fingerprint");
    hexadecimal.replace(':', "").to_lowercase()
}

#[tokio::test]
async fn no_client_forges_what_is_said_of_it() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let billing = authority.issue_with(&["billing.test"], for_clients);
    let origin = Origin::http1(|_| text("served"));
    let optional = client_auth("optional", &authority, &[]);
    let gateway = gateway(&server, &optional, &origin).await;
    let claims = "X-Client-Subject: CN=forged\r\nx-client-subject: CN=forged\r\n\
                  X_Client_Subject: CN=forged\r\nx-client_subject: CN=forged\r\n\
                  X-Client-Uri: spiffe://forged\r\nx_client-uri: spiffe://forged\r\n\
                  Client-Cert: :forged:\r\nclient_cert: :forged:\r\nClient-Cert-Chain: :forged:\r\n\
                  X-Forwarded-Client-Cert: Hash=forged\r\nx_forwarded_client_cert: Hash=forged\r\n";
    for certificate in [None, Some(&billing)] {
        let config = match certificate {
            None => authority.client_config(),
            Some(certificate) => authority.client_config_with(certificate),
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let name = ServerName::try_from("shop.test").unwrap();
        let mut stream = within("the handshake", connector.connect(name, stream))
            .await
            .unwrap();
        let ask = format!("GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n{claims}\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = within("an answer", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("served"), "{answer}");
        let seen = origin.seen().pop().unwrap();
        let forged = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            value.contains("forged").then(|| format!("{name}: {value}"))
        };
        let forged: Vec<_> = seen.headers.iter().filter_map(forged).collect();
        assert!(forged.is_empty(), "{forged:?}");
        let said = seen.headers.get_all("x-client-subject").iter().count();
        assert_eq!(said, usize::from(certificate.is_some()));
    }
}

/// A header that a client names in `Connection` is removed as hop-by-hop; what the gateway says by that name must
/// not be.
#[tokio::test]
async fn connection_does_not_take_away_what_is_said() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let billing = authority.issue_with(&["billing.test"], for_clients);
    let origin = Origin::http1(|_| text("served"));
    let required = client_auth("required", &authority, &[]);
    let gateway = gateway(&server, &required, &origin).await;
    let config = authority.client_config_with(&billing);
    let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
    let ask = get("/").header("connection", "x-client-subject, x-client-dns");
    let answer = client.send(ask).await;
    assert_eq!(answer.text(), "served");
    let seen = origin.seen().pop().unwrap();
    assert!(seen.headers.contains_key("x-client-subject"), "{seen:?}");
    assert!(seen.headers.contains_key("x-client-dns"), "{seen:?}");
    assert!(!seen.headers.contains_key("connection"), "{seen:?}");
}
