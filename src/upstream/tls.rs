//! TLS towards an upstream: authorities, the client certificate and what is verified.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsConnector;

use super::Build;
use super::config::{CertificateConfig, TlsConfig};
use super::handshake::{Pair, Trust, connector};
use crate::discovery::Member;
use crate::identity::{read_chain, read_key, system_authorities, warn_of_readers};
use crate::text::{Spanned, Subject};

/// What is needed to speak TLS to the endpoints of an upstream.
#[derive(Clone)]
pub(super) struct UpstreamTls {
    pub(super) sni: Option<Box<str>>,
    pub(super) is_verified: bool,
    pub(super) authorities: Option<Arc<CaType>>,
    pub(super) client_certificate: Option<Arc<CertKey>>,
    /// All of the above, for the connections that this room opens itself.
    pub(super) connector: TlsConnector,
    /// Of everything above, for keeping pools apart.
    pub(super) fingerprint: u64,
}

impl std::fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("sni", &self.sni)
            .field("is_verified", &self.is_verified)
            .finish()
    }
}

impl UpstreamTls {
    pub(super) fn build(
        config: &Spanned<TlsConfig>,
        context: &mut Build<'_>,
    ) -> Option<UpstreamTls> {
        let mut hasher = std::hash::DefaultHasher::new();
        let mut subject = context.subject.key("tls");
        if config.insecure_skip_verify {
            subject
                .key("insecure_skip_verify")
                .warning(
                    config.span,
                    "whoever answers at these addresses is believed",
                )
                .help("set ca to the authority that signed the endpoints' certificates instead");
        }
        let authorities = match &config.ca {
            None => None,
            Some(path) => Some(read(path, context.base, &mut subject.key("ca"))?),
        };
        let own = match &config.client_certificate {
            None => None,
            Some(pair) => {
                let mut subject = subject.key("client_certificate");
                Some(read_pair(pair, context.base, &mut subject)?)
            }
        };
        authorities.hash(&mut hasher);
        own.as_ref().map(|(chain, _)| chain).hash(&mut hasher);
        let trust = trust(config, authorities.as_deref(), &mut subject)?;
        let client_certificate = own.as_ref().map(|(chain, key)| {
            let chain = chain.iter().map(|one| one.to_vec()).collect();
            Arc::new(CertKey::new(chain, key.secret_der().to_vec()))
        });
        let connector = match connector(trust, own) {
            Ok(connector) => connector,
            Err(error) => {
                refuse(config, &error, &mut subject);
                return None;
            }
        };
        (&config.sni, config.insecure_skip_verify).hash(&mut hasher);
        Some(UpstreamTls {
            sni: config.sni.clone(),
            is_verified: !config.insecure_skip_verify,
            authorities: authorities.map(|all| all.iter().map(wrap).collect::<Arc<CaType>>()),
            client_certificate,
            connector,
            fingerprint: hasher.finish(),
        })
    }

    /// What an endpoint's certificate must be for.
    pub(super) fn name<'a>(&'a self, resolved: &'a Member) -> &'a str {
        self.sni.as_deref().unwrap_or(&resolved.host)
    }
}

fn wrap(certificate: &CertificateDer<'_>) -> WrappedX509 {
    WrappedX509::new(certificate.to_vec(), parse_x509)
}

/// `None` after diagnostics.
fn trust(
    config: &Spanned<TlsConfig>,
    authorities: Option<&[CertificateDer<'static>]>,
    subject: &mut Subject<'_>,
) -> Option<Trust> {
    if config.insecure_skip_verify {
        return Some(Trust::Anybody);
    }
    let Some(authorities) = authorities else {
        return match system_authorities() {
            Ok(roots) => Some(Trust::Authorities(roots)),
            Err(error) => {
                subject
                    .error(
                        config.span,
                        format!("the system's authorities cannot be read: {error}"),
                    )
                    .help("set ca to a PEM file with the authorities to trust");
                None
            }
        };
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        if let Err(error) = roots.add(authority.clone()) {
            let span = config.ca.as_ref().map_or(config.span, |ca| ca.span);
            subject.key("ca").error(span, error);
            return None;
        }
    }
    Some(Trust::Authorities(Arc::new(roots)))
}

/// Tells why there can be no handshakes like this, which is for a client certificate that nobody would take.
fn refuse(config: &Spanned<TlsConfig>, error: &rustls::Error, subject: &mut Subject<'_>) {
    let Some(pair) = &config.client_certificate else {
        subject.error(config.span, error);
        return;
    };
    let mut subject = subject.key("client_certificate");
    let mut subject = subject.key("key");
    match error {
        rustls::Error::InconsistentKeys(_) => {
            subject.error(pair.key.span, "is not the key of the certificate in cert")
        }
        error => subject.error(pair.key.span, error),
    };
}

/// Both files are looked at, so that both are told of.
fn read_pair(pair: &CertificateConfig, base: &Path, subject: &mut Subject<'_>) -> Option<Pair> {
    let chain = read(&pair.cert, base, &mut subject.key("cert"));
    let mut subject = subject.key("key");
    let key = read_key(&pair.key.value, base)
        .map_err(|error| {
            subject.error(pair.key.span, error);
        })
        .ok()?;
    warn_of_readers(&pair.key, base, &mut subject);
    Some((chain?, key))
}

/// The certificates of a PEM file.
fn read(
    path: &Spanned<PathBuf>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    match read_chain(base.join(&path.value)) {
        Ok(chain) => Some(chain),
        Err(error) => {
            subject.error(path.span, error);
            None
        }
    }
}
