//! Session tickets and stapled OCSP responses.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

const PING: &str = r#"
    [routes.ping]
    match = { path = "/ping" }
    respond = { body = "pong" }
"#;

async fn gateway(tls: &str) -> Gateway {
    Gateway::start(&format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n\
         [listeners.other]\nbind = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n{PING}"
    ))
    .await
}

/// One connection with one request: what kind of handshake it began with, and whether it was served.
async fn visit(gateway: &Gateway, listener: &str, config: &Arc<ClientConfig>) -> Visit {
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    let address = gateway.address_of(listener);
    let visit = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("shop.test").unwrap();
        let mut stream = connector.connect(name, stream).await?;
        let kind = stream.get_ref().1.handshake_kind();
        let ask = b"GET /ping HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
        let mut answer = Vec::new();
        let exchanged = async {
            stream.write_all(ask).await?;
            stream.read_to_end(&mut answer).await
        };
        let _: Result<usize, std::io::Error> = exchanged.await;
        Ok::<_, std::io::Error>(Visit {
            kind,
            is_served: answer.ends_with(b"pong"),
        })
    };
    within("a visit", visit).await.unwrap_or(Visit {
        kind: None,
        is_served: false,
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Visit {
    kind: Option<HandshakeKind>,
    is_served: bool,
}

const FULL: Visit = Visit {
    kind: Some(HandshakeKind::Full),
    is_served: true,
};
const RESUMED: Visit = Visit {
    kind: Some(HandshakeKind::Resumed),
    is_served: true,
};

#[tokio::test]
async fn sessions_resume_where_they_began() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let gateway = gateway(&format!("certificates = [{}]", server.entry())).await;
    let versions: [&[&SupportedProtocolVersion]; 2] =
        [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];
    for versions in versions {
        let config = Arc::new(authority.client_config_of(versions));
        assert_eq!(visit(&gateway, "public", &config).await, FULL);
        assert_eq!(visit(&gateway, "public", &config).await, RESUMED);
        // Another listener may have other rules, and has other keys.
        assert_eq!(visit(&gateway, "other", &config).await, FULL);
    }
}

/// A new certificate of the server ends no session: the keys of tickets are not the certificate's.
#[tokio::test]
async fn sessions_outlive_a_certificate_of_the_server() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["shop.test"]),
        authority.issue(&["shop.test"]),
    );
    let gateway = gateway(&format!("certificates = [{}]", old.entry())).await;
    let config = Arc::new(authority.client_config());
    assert_eq!(visit(&gateway, "public", &config).await, FULL);
    old.replace_by(&new);
    eventually("the new certificate", async || {
        let metrics = gateway.metrics().await;
        let series = r#"reloads_total{northgate_listener="public",result="taken"} 1"#;
        metrics.contains(series).then_some(())
    })
    .await;
    assert_eq!(visit(&gateway, "public", &config).await, RESUMED);
}

/// The handshake of a resumed session shows no certificate again, so its end must be looked at all the same.
#[tokio::test]
async fn a_session_ends_with_its_certificate() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let brief = authority.issue_with(&["billing.test"], |params| {
        let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(4);
        params.not_after = soon.into();
    });
    let gateway = gateway(&format!(
        "certificates = [{}], client_auth = {{ mode = \"required\", ca = {:?} }}",
        server.entry(),
        authority.path()
    ))
    .await;
    let config = Arc::new(authority.client_config_with(&brief));
    assert_eq!(visit(&gateway, "public", &config).await, FULL);
    let last = eventually("the end of the certificate", async || {
        let visit = visit(&gateway, "public", &config).await;
        (visit != RESUMED).then_some(visit)
    })
    .await;
    assert_eq!(
        last,
        Visit {
            is_served: false,
            ..RESUMED
        }
    );
}

/// Nor are the lists asked again, which may have become too old. Who is covered by another list resumes.
#[tokio::test]
async fn a_session_ends_with_the_list_that_covers_it() {
    let (brief, lasting) = (Authority::named("brief"), Authority::named("lasting"));
    let server = lasting.issue(&["shop.test"]);
    let authorities = lasting.folder().join("both.pem");
    let both = [&brief, &lasting].map(|one| std::fs::read_to_string(one.path()).unwrap());
    std::fs::write(&authorities, both.concat()).unwrap();
    let client = |authority: &Authority, version: &'static SupportedProtocolVersion| {
        let pair = authority.issue(&["billing.test"]);
        let config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(lasting.roots())
            .with_client_auth_cert(vec![pair.der.clone()], pair.private_key());
        Arc::new(config.unwrap())
    };
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    let ending = versions.map(|version| client(&brief, version));
    let staying = versions.map(|version| client(&lasting, version));
    let gateway = gateway(&format!(
        "certificates = [{}], client_auth = {{ mode = \"required\", ca = {authorities:?}, crl = [{:?}, {:?}] }}",
        server.entry(),
        lasting.revoke(&[]),
        brief.revoke_for(&[], Duration::from_secs(6)),
    ))
    .await;
    for config in ending.iter().chain(&staying) {
        assert_eq!(visit(&gateway, "public", config).await, FULL);
        assert_eq!(visit(&gateway, "public", config).await, RESUMED);
    }
    for config in &ending {
        let last = eventually("the end of the list", async || {
            let visit = visit(&gateway, "public", config).await;
            (visit != RESUMED).then_some(visit)
        })
        .await;
        let refused = Visit {
            is_served: false,
            ..RESUMED
        };
        assert_eq!(last, refused);
    }
    for (version, config) in versions.into_iter().zip(&staying) {
        assert_eq!(visit(&gateway, "public", config).await, RESUMED);
        let new = client(&brief, version);
        assert!(!visit(&gateway, "public", &new).await.is_served);
        let new = client(&lasting, version);
        assert_eq!(visit(&gateway, "public", &new).await, FULL);
    }
}

/// A verifier that remembers the OCSP response that it was shown.
#[derive(Debug)]
struct Curious {
    verifier: Arc<WebPkiServerVerifier>,
    stapled: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.stapled.lock().unwrap() = ocsp.to_vec();
        self.verifier
            .verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// What the listener staples.
async fn stapled(gateway: &Gateway, authority: &Authority) -> Vec<u8> {
    let verifier = WebPkiServerVerifier::builder(authority.roots()).build();
    let curious = Arc::new(Curious {
        verifier: verifier.unwrap(),
        stapled: Mutex::default(),
    });
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(curious.clone())
        .with_no_client_auth();
    assert_eq!(visit(gateway, "public", &Arc::new(config)).await, FULL);
    curious.stapled.lock().unwrap().clone()
}

/// Has openssl answer as the authority's responder, into a file of this name.
fn responder(authority: &Authority, certificate: &Certificate, file: &str) -> PathBuf {
    let at = |name: &str| authority.folder().join(name);
    let serial = certificate.serial.to_bytes();
    let serial: String = serial.iter().map(|byte| format!("{byte:02X}")).collect();
    let index = format!("V\t290101000000Z\t\t{serial}\tunknown\t/CN=shop.test\n");
    std::fs::write(at("index.txt"), index).unwrap();
    let run = |arguments: &[&str], files: &[(&str, PathBuf)]| {
        let mut command = Command::new("openssl");
        command.arg("ocsp").args(arguments);
        for (option, path) in files {
            command.arg(option).arg(path);
        }
        let output = command.output().expect("openssl runs");
        assert!(output.status.success(), "{output:?}");
    };
    run(
        &["-no_nonce"],
        &[
            ("-issuer", at("ca.pem")),
            ("-cert", certificate.cert_path.clone()),
            ("-reqout", at("request.der")),
        ],
    );
    run(
        &["-ndays", "2"],
        &[
            ("-index", at("index.txt")),
            ("-rsigner", at("ca.pem")),
            ("-rkey", at("ca.key")),
            ("-CA", at("ca.pem")),
            ("-reqin", at("request.der")),
            ("-respout", at(file)),
        ],
    );
    at(file)
}

#[tokio::test]
async fn ocsp_responses_are_stapled_and_renewed() {
    let authority = Authority::new();
    let (server, other) = (
        authority.issue(&["shop.test"]),
        authority.issue(&["other.test"]),
    );
    let file = responder(&authority, &server, "shop.ocsp");
    let first = std::fs::read(&file).unwrap();
    let entry = server.entry();
    let entry = entry.trim_end_matches('}');
    let stapling = gateway(&format!("certificates = [{entry}, ocsp = {file:?} }}]")).await;
    assert_eq!(stapled(&stapling, &authority).await, first);
    // One for another certificate is not taken.
    let foreign = std::fs::read(responder(&authority, &other, "other.ocsp")).unwrap();
    std::fs::write(&file, foreign).unwrap();
    eventually("a refusal", async || {
        let metrics = stapling.metrics().await;
        metrics.contains(r#"result="refused""#).then_some(())
    })
    .await;
    assert_eq!(stapled(&stapling, &authority).await, first);
    // The next answer differs by its signature at least.
    responder(&authority, &server, "shop.ocsp");
    let second = std::fs::read(&file).unwrap();
    assert_ne!(first, second);
    eventually("the new response", async || {
        (stapled(&stapling, &authority).await == second).then_some(())
    })
    .await;
    let plain = gateway(&format!("certificates = [{}]", server.entry())).await;
    assert_eq!(stapled(&plain, &authority).await, b"");
}
