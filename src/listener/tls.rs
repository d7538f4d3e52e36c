//! TLS termination: certificates by SNI, ALPN, session tickets.

use std::path::Path;
use std::sync::Arc;

use ahash::AHashMap;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::tls::TlsStream;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::config::{CertificateConfig, TlsConfig, TlsVersion};
use super::stream::Downstream;
use crate::text::{Diagnostics, Secret, Span};

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
        config: &crate::text::Spanned<TlsConfig>,
        allows_http1: bool,
        allows_h2: bool,
        base: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Terminator> {
        let mut certificates = Certificates::default();
        if config.certificates.is_empty() {
            diagnostics.error(
                config.span,
                "tls.certificates is empty; it needs at least one",
            );
        }
        let before = diagnostics.error_count();
        for pair in &config.certificates {
            if let Some((names, key)) = load(&pair.value, pair.span, base, diagnostics) {
                certificates.add(names, Arc::new(key));
            }
        }
        certificates.default.as_ref()?;
        if diagnostics.error_count() > before {
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
                diagnostics.error(
                    config.span,
                    format!("tls: cannot make a session ticket key: {error}"),
                );
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

/// Reads or makes a pair, and tells the names that the leaf is for.
fn load(
    config: &CertificateConfig,
    span: Span,
    base: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<(Vec<String>, CertifiedKey)> {
    let pair = match (&config.cert, &config.key, &*config.self_signed) {
        (Some(cert), Some(key), []) => read_pair(&base.join(cert), key, base),
        (None, None, [_, ..]) => make_pair(&config.self_signed),
        _ => Err("a certificate is cert and key, or self_signed".into()),
    };
    let read = pair.and_then(|(chain, key)| {
        let names = chain
            .first()
            .map(dns_names)
            .ok_or("there is no certificate in it")??;
        let key =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|error| error.to_string())?;
        Ok((names, key))
    });
    match read {
        Ok(read) => Some(read),
        Err(what) => {
            let of = config
                .cert
                .as_ref()
                .map(|cert| format!("{}: ", base.join(cert).display()));
            diagnostics.error(span, format!("{}{what}", of.unwrap_or_default()));
            None
        }
    }
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_pair(cert: &Path, key: &Secret, base: &Path) -> Result<Pair, String> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| error.to_string())?;
    let secret = key.read(base).map_err(|error| format!("key: {error}"))?;
    let key =
        PrivateKeyDer::from_pem_slice(secret.expose()).map_err(|error| format!("key: {error}"))?;
    Ok((chain, key))
}

fn make_pair(names: &[String]) -> Result<Pair, String> {
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| format!("self_signed: {error}"))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    Ok((vec![made.cert.der().clone()], key))
}

fn dns_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Ok(Vec::new());
    };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    Ok(names.value.general_names.iter().filter_map(dns).collect())
}
