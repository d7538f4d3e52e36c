//! TLS termination: certificates by SNI, ALPN, session tickets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::AHashMap;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::tls::TlsStream;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::config::{CertificateConfig, TlsConfig, TlsVersion};
use super::pem::{read_chain, read_key};
use super::stream::Downstream;
use crate::text::{HostPattern, Secret, Spanned, Subject};

/// Terminates TLS for one listener.
pub(super) struct Terminator {
    acceptor: Acceptor,
}

impl std::fmt::Debug for Terminator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminator")
    }
}

impl Terminator {
    pub(super) fn build(
        config: &Spanned<TlsConfig>,
        allows_http1: bool,
        allows_h2: bool,
        base: &Path,
        subject: &mut Subject<'_>,
    ) -> Option<Terminator> {
        let mut certificates = Certificates::default();
        let before = subject.error_count();
        let mut list = subject.key("certificates");
        if config.certificates.is_empty() {
            list.error(config.certificates.span, "is empty; it needs at least one");
        }
        for (index, pair) in config.certificates.iter().enumerate() {
            if let Some((names, key)) = load(pair, base, &mut list.index(index)) {
                certificates.add(names, Arc::new(key));
            }
        }
        if subject.error_count() > before {
            return None;
        }
        let versions: &[&rustls::SupportedProtocolVersion] = match config.min_version {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        if allows_h2 {
            server.alpn_protocols.push(b"h2".to_vec());
        }
        if allows_http1 {
            server.alpn_protocols.push(b"http/1.1".to_vec());
        }
        match rustls::crypto::aws_lc_rs::Ticketer::new() {
            Ok(ticketer) => server.ticketer = ticketer,
            Err(error) => {
                let what = format!("cannot make a session ticket key: {error}");
                subject.error(config.span, what);
                return None;
            }
        }
        Some(Terminator {
            acceptor: Acceptor::from_server_config(Arc::new(server)),
        })
    }

    /// `None` where the client and the gateway could not agree; what clients get wrong is not worth a log line
    /// each, so it is counted by the caller.
    pub(super) async fn handshake(&self, stream: Downstream) -> Option<TlsStream<Downstream>> {
        match self.acceptor.tls_handshake(stream).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                log::debug!("TLS handshake: {error}");
                None
            }
        }
    }
}

/// The cryptography that the process has chosen in `main`.
fn provider() -> Arc<CryptoProvider> {
    match CryptoProvider::get_default() {
        Some(provider) => provider.clone(),
        None => Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    }
}

/// Certificates by the names that they are for.
#[derive(Debug, Default)]
struct Certificates {
    exact: AHashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: AHashMap<Box<str>, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// The first certificate for a name wins, and the first of all is the default.
    fn add(&mut self, names: Vec<String>, key: Arc<CertifiedKey>) {
        for name in names {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(suffix) => self
                    .wildcard
                    .entry(suffix.into())
                    .or_insert_with(|| key.clone()),
                None => self.exact.entry(name.into()).or_insert_with(|| key.clone()),
            };
        }
        self.default.get_or_insert(key);
    }

    /// `*` stands for exactly one label (RFC 9525 section 6.3).
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked the name and gives it in lower case.
        let named = hello.server_name().and_then(|name| self.find(name));
        named.or(self.default.as_ref()).cloned()
    }
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads or makes a pair, and tells the names that the leaf is for. `None` after diagnostics.
fn load(
    config: &Spanned<CertificateConfig>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<(Vec<String>, CertifiedKey)> {
    let (chain, key) = pair(config, base, subject)?;
    let names = chain.first().map(dns_names).unwrap_or_default();
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(key) => Some((names, key)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            subject.error(config.span, "key is not the key of the certificate in cert");
            None
        }
        Err(error) => {
            subject.error(config.span, error);
            None
        }
    }
}

fn pair(
    config: &Spanned<CertificateConfig>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<Pair> {
    let what = match (&config.cert, &config.key, &*config.self_signed) {
        (Some(cert), Some(key), []) => return read_pair(cert, key, base, subject),
        (None, None, [_, ..]) => return make_pair(config, subject),
        (Some(_), None, []) => "has cert without key",
        (None, Some(_), []) => "has key without cert",
        (None, None, []) => "is empty",
        _ => "has self_signed beside cert or key",
    };
    subject
        .error(config.span, what)
        .help("write either cert and key, or self_signed");
    None
}

/// Both are looked at, so that both are told of.
fn read_pair(
    cert: &Spanned<PathBuf>,
    key: &Spanned<Secret>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<Pair> {
    let chain = read_chain(base.join(&cert.value))
        .map_err(|error| {
            subject.key("cert").error(cert.span, error);
        })
        .ok();
    let key = read_key(&key.value, base)
        .map_err(|error| {
            subject.key("key").error(key.span, error);
        })
        .ok();
    Some((chain?, key?))
}

fn make_pair(config: &Spanned<CertificateConfig>, subject: &mut Subject<'_>) -> Option<Pair> {
    // A certificate has an IPv6 address without the brackets of a URL.
    let name = |host: &HostPattern| host.to_string().replace(['[', ']'], "");
    let names: Vec<String> = config.self_signed.iter().map(name).collect();
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string());
    let made = made.and_then(|made| {
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
        Ok((vec![made.cert.der().clone()], key))
    });
    made.map_err(|error| {
        subject.key("self_signed").error(config.span, error);
    })
    .ok()
}

/// The DNS names of a certificate that was parsed before.
fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Diagnostics, Sources, Span};

    /// What is said of a chain and a key, each in a file of its own.
    fn said(chain: &str, key: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let span = Span::start_of(Sources::new().add("t.toml", ""));
        let config = CertificateConfig {
            cert: Some(Spanned::new(file("a.pem", chain), span)),
            key: Some(Spanned::new(Secret::File(file("a.key", key)), span)),
            self_signed: Vec::new(),
        };
        let mut diagnostics = Diagnostics::new();
        let mut subject = Subject::new(&mut diagnostics, "tls");
        let read = load(&Spanned::new(config, span), folder.path(), &mut subject);
        assert_eq!(read.is_none(), diagnostics.has_errors());
        let folder = format!("{}/", folder.path().display());
        let messages = diagnostics.iter();
        messages
            .map(|one| one.message.replace(&folder, ""))
            .collect()
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_told_apart() {
        let make = || rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (one, other) = (make(), make());
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert_eq!(said(&chain, &key), Vec::<String>::new());
        let another = other.signing_key.serialize_pem();
        assert_eq!(
            said(&chain, &another),
            ["tls: key is not the key of the certificate in cert"]
        );
        assert_eq!(
            said(&key, &chain),
            [
                "tls.cert: there is no certificate in a.pem",
                "tls.key: there is no private key in it; it must be a PEM file with one"
            ]
        );
        let broken = chain.replace("-----END CERTIFICATE-----", "");
        assert_eq!(
            said(&broken, &key),
            ["tls.cert: a.pem is no PEM file: a section in it has no END line"]
        );
        let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(
            said(&(chain + hollow), &key),
            ["tls.cert: certificate 2 in a.pem cannot be parsed"]
        );
    }
}
