//! Certificates made for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// Somebody who signs certificates. Its files go away with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: TempDir,
    issued: AtomicU64,
}

/// A certificate with its key, in memory and in files.
pub struct Certificate {
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
    pub der: CertificateDer<'static>,
    pub serial: SerialNumber,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("rcgen self signed cert")
    }

    /// Lists are found by the name of who issued them, so that two authorities of one listener need two.
    pub fn named(name: &str) -> Authority {
        super::install_cryptography();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("writable");
        std::fs::write(folder.path().join("ca.key"), key.serialize_pem()).expect("writable");
        Authority {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            folder,
            issued: AtomicU64::new(1),
        }
    }

    /// The PEM file of the authority's own certificate.
    pub fn path(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_with(names, |_| {})
    }

    /// Issues what `change` makes of a usual certificate.
    pub fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let file = format!("{number}-{}", names.join("+").replace('*', "_"));
        let mut params = CertificateParams::new(names).expect("names");
        let serial = SerialNumber::from(number);
        params.serial_number = Some(serial.clone());
        change(&mut params);
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
            serial,
            key,
        }
    }

    /// Writes a list of these certificates as revoked, and gives its path.
    pub fn revoke(&self, certificates: &[&Certificate]) -> PathBuf {
        self.revoke_until(certificates, 2999)
    }

    /// One that is good until the first day of a year.
    pub fn revoke_until(&self, certificates: &[&Certificate], year: i32) -> PathBuf {
        self.revoke_with(certificates, |list| {
            list.next_update = date_time_ymd(year, 1, 1);
        })
    }

    /// One that is good for this long from now.
    pub fn revoke_for(&self, certificates: &[&Certificate], life: Duration) -> PathBuf {
        self.revoke_with(certificates, |list| {
            list.next_update = (SystemTime::now() + life).into();
        })
    }

    fn revoke_with(
        &self,
        certificates: &[&Certificate],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> PathBuf {
        let revoked = |certificate: &&Certificate| RevokedCertParams {
            serial_number: certificate.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let mut list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2999, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut list);
        let list = list.signed_by(&self.issuer).expect("a list");
        let path = self.folder.path().join("revoked.pem");
        std::fs::write(&path, list.pem().expect("a list")).expect("writable");
        path
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

    /// For one that shows a certificate where it is asked for one.
    pub fn client_config_with(&self, certificate: &Certificate) -> ClientConfig {
        ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![certificate.der.clone()], certificate.private_key())
            .expect("a pair")
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        Arc::new(roots)
    }
}

impl Certificate {
    /// As an entry of `certificates`.
    pub fn entry(&self) -> String {
        format!(
            "{{ cert = \"{}\", key = {{ file = \"{}\" }} }}",
            self.cert_path.display(),
            self.key_path.display()
        )
    }

    /// Puts another pair in the place of this one's files, one file after the other.
    pub fn replace_by(&self, other: &Certificate) {
        for (from, to) in [
            (&other.cert_path, &self.cert_path),
            (&other.key_path, &self.key_path),
        ] {
            std::fs::copy(from, to).expect("a file to copy");
        }
    }

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

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key")
    }
}
