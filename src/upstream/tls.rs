//! TLS towards an upstream: authorities, the client certificate and what is verified.

use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Build;
use super::config::{CertificateConfig, TlsConfig};
use crate::text::{Diagnostics, Span};

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
        config: &crate::text::Spanned<TlsConfig>,
        context: &mut Build<'_>,
    ) -> Option<UpstreamTls> {
        let mut hasher = std::hash::DefaultHasher::new();
        if config.insecure_skip_verify {
            context
                .diagnostics
                .warning(
                    config.span,
                    "insecure_skip_verify: whoever answers at these addresses is believed",
                )
                .help("set ca to the authority that signed the endpoints' certificates instead");
        }
        let authorities = match &config.ca {
            None => None,
            Some(path) => {
                let certificates = read_certificates(
                    &context.base.join(&path.value),
                    path.span,
                    context.diagnostics,
                )?;
                certificates.hash(&mut hasher);
                Some(certificates.into_iter().map(wrap).collect::<Arc<CaType>>())
            }
        };
        let client_certificate = match &config.client_certificate {
            None => None,
            Some(pair) => {
                let (chain, key) =
                    read_pair(&pair.value, pair.span, context.base, context.diagnostics)?;
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

/// The certificates of a PEM file as DER, checked to be certificates.
fn read_certificates(
    path: &Path,
    span: Span,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Vec<u8>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = match read {
        Ok(certificates) if certificates.is_empty() => {
            diagnostics.error(span, format!("{}: no certificate in it", path.display()));
            return None;
        }
        Ok(certificates) => certificates,
        Err(error) => {
            diagnostics.error(span, format!("{}: {error}", path.display()));
            return None;
        }
    };
    // Pingora panics on a certificate that it cannot parse, so what reaches it must have been parsed before.
    for certificate in &certificates {
        if rustls::server::ParsedCertificate::try_from(certificate).is_err() {
            diagnostics.error(
                span,
                format!(
                    "{}: holds a certificate that cannot be parsed",
                    path.display()
                ),
            );
            return None;
        }
    }
    Some(
        certificates
            .into_iter()
            .map(|certificate| certificate.to_vec())
            .collect(),
    )
}

fn read_pair(
    pair: &CertificateConfig,
    span: Span,
    base: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let chain = read_certificates(&base.join(&pair.cert), span, diagnostics)?;
    let secret = match pair.key.read(base) {
        Ok(secret) => secret,
        Err(error) => {
            diagnostics.error(span, format!("key: {error}"));
            return None;
        }
    };
    match PrivateKeyDer::from_pem_slice(secret.expose()) {
        Ok(key) => Some((chain, key.secret_der().to_vec())),
        Err(error) => {
            diagnostics.error(span, format!("key: {error}"));
            None
        }
    }
}
