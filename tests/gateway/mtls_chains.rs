//! `mtls` with chains of certificates as openssl makes them: a root that the listener knows, an intermediate that it does
//! not, and clients that show both.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::harness::*;

const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
const NO_CA: &str = "basicConstraints=critical,CA:FALSE\n";
const CLIENT: &str = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n";
const SERVER: &str = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n";

const RSA: &[&str] = &["-newkey", "rsa:2048"];
const EC: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A folder of keys and certificates that openssl has made, each `NAME.key` and `NAME.pem`.
struct Openssl(TempDir);

impl Openssl {
    fn new() -> Openssl {
        Openssl(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("openssl");
        let output = command.args(arguments).current_dir(&self.0).output();
        let output = output.expect("openssl runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn root(&self, name: &str, subject: &str) {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let of = ["req", "-x509", "-nodes", "-days", "30", "-subj", subject];
        let extensions = [
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ];
        self.run(&[&of, RSA, &extensions, &["-keyout", &key, "-out", &pem]].concat());
    }

    /// `extensions` is empty for a certificate of version 1.
    fn issue(
        &self,
        name: &str,
        by: &str,
        subject: &str,
        kind: &[&str],
        days: &str,
        extensions: &str,
    ) {
        let (key, csr, pem) = (
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.pem"),
        );
        let (ca, ca_key, ext) = (
            format!("{by}.pem"),
            format!("{by}.key"),
            format!("{name}.ext"),
        );
        let request = ["req", "-new", "-nodes", "-utf8", "-subj", subject];
        self.run(&[&request, kind, &["-keyout", &key, "-out", &csr]].concat());
        let sign = [
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            days,
        ];
        std::fs::write(self.path(&ext), extensions).expect("writable");
        let with = ["-extfile", &ext, "-out", &pem];
        let with = if extensions.is_empty() {
            &with[2..]
        } else {
            &with
        };
        self.run(&[&sign, with].concat());
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).expect("a certificate")
    }

    /// For a client that shows these certificates with the key of the first.
    fn client(&self, server: &Authority, shown: &[&str]) -> ClientConfig {
        let key = self.path(&format!("{}.key", shown[0]));
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let chain = shown.iter().map(|name| self.certificate(name)).collect();
        // Whether they belong together is for the gateway to find out.
        let key =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key that signs");
        let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
        ClientConfig::builder()
            .with_root_certificates(server.roots())
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
    }

    fn fingerprint(&self, name: &str) -> String {
        let pem = format!("{name}.pem");
        let said = self.run(&["x509", "-in", &pem, "-noout", "-fingerprint", "-sha256"]);
        said.trim()
            .rsplit_once('=')
            .expect("a fingerprint")
            .1
            .to_owned()
    }

    fn subject(&self, name: &str) -> String {
        let pem = format!("{name}.pem");
        let said = self.run(&[
            "x509", "-in", &pem, "-noout", "-subject", "-nameopt", "RFC2253",
        ]);
        said.trim()
            .strip_prefix("subject=")
            .expect("a subject")
            .to_owned()
    }
}

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    tls = { certificates = [$entry], client_auth = { mode = "optional", ca = "$ca" } }

    [consumers.by-fingerprint]
    certificates = [{ fingerprint = "$fingerprint" }]
    [consumers.by-uri]
    certificates = [{ uri = "spiffe://shop/billing" }]
    [consumers.by-dns]
    certificates = [{ dns = "billing.test" }]
    [consumers.by-email]
    certificates = [{ email = "pay@acme.test" }]
    [consumers.by-subject]
    certificates = [{ subject = "$subject" }]

    [identity.mtls.known]

    [upstreams.shop]
    endpoints = ["$shop"]
    [routes.known]
    match = { path = "/known" }
    upstream = "shop"
    policies.mtls = { forward = { x-who = "consumer" } }
"#;

#[tokio::test]
async fn chains_of_openssl_prove_their_consumers_and_broken_ones_nobody() {
    let openssl = Openssl::new();
    openssl.root("root", "/C=DE/O=Acme Inc./CN=Root");
    openssl.root("twin", "/C=DE/O=Acme Inc./CN=Root");
    openssl.issue(
        "middle",
        "root",
        "/C=DE/O=Acme Inc./CN=Clients",
        RSA,
        "30",
        CA,
    );
    openssl.issue(
        "twin-middle",
        "twin",
        "/C=DE/O=Acme Inc./CN=Clients",
        RSA,
        "30",
        CA,
    );
    openssl.issue(
        "no-middle",
        "root",
        "/C=DE/O=Acme Inc./CN=Not a CA",
        RSA,
        "30",
        NO_CA,
    );
    let leaf = |name: &str, by: &str, kind: &[&str], days: &str, extensions: &str, names: &str| {
        let subject = format!("/C=DE/O=Acme Inc./CN={name}");
        let names = if names.is_empty() {
            String::new()
        } else {
            format!("subjectAltName={names}\n")
        };
        openssl.issue(
            name,
            by,
            &subject,
            kind,
            days,
            &format!("{extensions}{names}"),
        );
    };
    let billing = "URI:spiffe://shop/billing";
    leaf(
        "fingerprint",
        "middle",
        RSA,
        "30",
        CLIENT,
        "URI:spiffe://shop/billing,DNS:billing.test",
    );
    leaf(
        "uri",
        "middle",
        EC,
        "30",
        CLIENT,
        "DNS:billing.test,URI:spiffe://shop/billing,email:pay@acme.test",
    );
    leaf(
        "dns",
        "middle",
        RSA,
        "30",
        CLIENT,
        "DNS:other.test,DNS:Billing.Test,email:pay@acme.test",
    );
    leaf("email", "middle", EC, "30", CLIENT, "email:pay@acme.test");
    // Several names in one part, letters beyond ASCII, and a comma.
    openssl.issue(
        "subject",
        "middle",
        "/C=DE/O=Bäckerei, Söhne+OU=Pay/CN=billing",
        EC,
        "30",
        CLIENT,
    );
    leaf("expired", "middle", RSA, "-1", CLIENT, billing);
    leaf("server", "middle", RSA, "30", SERVER, billing);
    leaf("twin-leaf", "twin-middle", RSA, "30", CLIENT, billing);
    leaf("below-no-ca", "no-middle", RSA, "30", CLIENT, billing);
    leaf(
        "stranger",
        "middle",
        RSA,
        "30",
        CLIENT,
        "URI:spiffe://shop/billing/2",
    );
    openssl.issue("version-1", "middle", "/C=DE/CN=old", RSA, "30", "");

    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let origin = Origin::http1(|_| text("served"));
    // openssl writes other bytes than ASCII by their hexadecimal values, the form that RFC 4514 has for that.
    let subject = openssl.subject("subject");
    assert!(
        subject.contains("\\C3\\A4") && subject.contains("\\,"),
        "{subject}"
    );
    let gateway = Gateway::draft(GATEWAY)
        .with("entry", server.entry())
        .with("ca", openssl.path("root.pem").display())
        .with("shop", &origin)
        .with("fingerprint", openssl.fingerprint("fingerprint"))
        .with("subject", subject.replace('\\', "\\\\"))
        .start()
        .await;

    for (shown, expected) in [
        ("fingerprint", "by-fingerprint"),
        ("uri", "by-uri"),
        ("dns", "by-dns"),
        ("email", "by-email"),
        ("subject", "by-subject"),
    ] {
        for protocol in [Protocol::Http1, Protocol::H2] {
            let config = openssl.client(&authority, &[shown, "middle"]);
            let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
            let answer = client.send(get("/known")).await;
            assert_eq!(answer.status, 200, "{shown}: {}", answer.text());
            let seen = origin.seen().pop().unwrap();
            assert_eq!(seen.headers["x-who"], expected, "{shown}");
        }
    }
    // A good chain of nobody's.
    let config = openssl.client(&authority, &["stranger", "middle"]);
    let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
    client
        .send(get("/known"))
        .await
        .assert_problem(401, "credential_refused");

    let served = origin.seen().len();
    for (what, shown) in [
        ("the intermediate is missing", &["uri"][..]),
        (
            "another authority with the same names",
            &["twin-leaf", "twin-middle"],
        ),
        (
            "another authority's leaf below ours",
            &["twin-leaf", "middle"],
        ),
        (
            "the other authority shows its root as well",
            &["twin-leaf", "twin-middle", "twin"],
        ),
        ("it is expired", &["expired", "middle"]),
        ("it is a server's", &["server", "middle"]),
        (
            "the one between is no authority",
            &["below-no-ca", "no-middle"],
        ),
        ("it is of version 1", &["version-1", "middle"]),
    ] {
        let config = openssl.client(&authority, shown);
        let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
        assert!(client.try_send(get("/known")).await.is_err(), "{what}");
    }
    assert_eq!(origin.seen().len(), served);
}
