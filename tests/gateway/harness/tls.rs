//! Certificates made for one test.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// Somebody who signs certificates. Its files go away with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: TempDir,
}

/// A certificate with its key, in memory and in files.
pub struct Certificate {
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
    pub der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Authority {
        super::install_cryptography();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("writable");
        Authority {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    /// The PEM file of the authority's own certificate.
    pub fn path(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    pub fn issue(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let file = names.join("+").replace('*', "_");
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let cert_path = self.folder.path().join(format!("{file}.pem"));
        let key_path = self.folder.path().join(format!("{file}.key"));
        std::fs::write(&cert_path, certificate.pem()).expect("writable");
        std::fs::write(&key_path, key.serialize_pem()).expect("writable");
        Certificate {
            cert_path,
            key_path,
            der: certificate.der().clone(),
            key,
        }
    }

    /// For a client that trusts this authority and nobody else.
    pub fn client_config(&self) -> ClientConfig {
        self.client_config_of(rustls::ALL_VERSIONS)
    }

    /// For one that speaks only these versions of TLS.
    pub fn client_config_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        Arc::new(roots)
    }
}

impl Certificate {
    /// For an origin that shows this certificate.
    pub fn server_config(&self) -> ServerConfig {
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], self.private_key())
            .expect("a pair")
    }

    /// For an origin that lets in only clients with a certificate of this authority.
    pub fn server_config_for(&self, clients: &Authority) -> ServerConfig {
        let verifier = WebPkiClientVerifier::builder(clients.roots())
            .build()
            .expect("roots");
        ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.der.clone()], self.private_key())
            .expect("a pair")
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key")
    }
}
