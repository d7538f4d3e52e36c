//! TLS towards an upstream: authorities, the client certificate and what is verified.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use super::Build;
use super::config::{CertificateConfig, TlsConfig};
use crate::listener::{read_chain, read_key, warn_of_readers};
use crate::text::{Spanned, Subject};

/// What is needed to speak TLS to the endpoints of an upstream.
#[derive(Clone)]
pub(super) struct UpstreamTls {
    pub(super) sni: Option<Box<str>>,
    pub(super) is_verified: bool,
    pub(super) authorities: Option<Arc<CaType>>,
    pub(super) client_certificate: Option<Arc<CertKey>>,
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
            Some(path) => {
                let certificates = read_der(path, context.base, &mut subject.key("ca"))?;
                certificates.hash(&mut hasher);
                Some(certificates.into_iter().map(wrap).collect::<Arc<CaType>>())
            }
        };
        let client_certificate = match &config.client_certificate {
            None => None,
            Some(pair) => {
                let mut subject = subject.key("client_certificate");
                let (chain, key) = read_pair(pair, context.base, &mut subject)?;
                chain.hash(&mut hasher);
                Some(Arc::new(CertKey::new(chain, key)))
            }
        };
        (&config.sni, config.insecure_skip_verify).hash(&mut hasher);
        Some(UpstreamTls {
            sni: config.sni.clone(),
            is_verified: !config.insecure_skip_verify,
            authorities,
            client_certificate,
            fingerprint: hasher.finish(),
        })
    }
}

fn wrap(der: Vec<u8>) -> WrappedX509 {
    WrappedX509::new(der, parse_x509)
}

/// Both files are looked at, so that both are told of.
fn read_pair(
    pair: &CertificateConfig,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let chain = read_der(&pair.cert, base, &mut subject.key("cert"));
    let mut subject = subject.key("key");
    let key = read_key(&pair.key.value, base)
        .map_err(|error| {
            subject.error(pair.key.span, error);
        })
        .ok()?;
    warn_of_readers(&pair.key, base, &mut subject);
    Some((chain?, key.secret_der().to_vec()))
}

/// The certificates of a PEM file as DER.
fn read_der(
    path: &Spanned<PathBuf>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<Vec<Vec<u8>>> {
    match read_chain(base.join(&path.value)) {
        Ok(chain) => Some(chain.into_iter().map(|one| one.to_vec()).collect()),
        Err(error) => {
            subject.error(path.span, error);
            None
        }
    }
}
