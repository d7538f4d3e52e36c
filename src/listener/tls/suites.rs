//! Versions, cipher suites and key exchange.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::config::{TlsConfig, TlsVersion};
use crate::text::{Subject, nearest, quoted};

static VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// The versions that are spoken.
pub(super) fn versions(config: &TlsConfig) -> &'static [&'static SupportedProtocolVersion] {
    match config.min_version {
        TlsVersion::Tls12 => &VERSIONS,
        TlsVersion::Tls13 => &VERSIONS[..1],
    }
}

/// The cryptography that the process has chosen in `main`, with the suites that are wanted. `None` after
/// diagnostics.
pub(super) fn provider(
    config: &TlsConfig,
    subject: &mut Subject<'_>,
) -> Option<Arc<CryptoProvider>> {
    let mut provider = match CryptoProvider::get_default() {
        Some(provider) => CryptoProvider::clone(provider),
        None => aws_lc_rs::default_provider(),
    };
    // The listener's order decides. What is recorded today must not be readable once there is a machine that
    // breaks elliptic curves, so the hybrid with ML-KEM comes first.
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
        aws_lc_rs::kx_group::SECP384R1,
    ];
    let before = subject.error_count();
    let mut wanted = Vec::new();
    let mut list = subject.key("suites");
    for (index, suite) in config.suites.iter().enumerate() {
        let mut known = provider.cipher_suites.iter();
        match known.find(|known| iana_name(known) == suite.value) {
            Some(known) => wanted.push(*known),
            None => {
                let names: Vec<String> = provider.cipher_suites.iter().map(iana_name).collect();
                let what = format!("unknown cipher suite {}", quoted(&suite.value));
                let names = names.iter().map(String::as_str);
                let help = match nearest(&suite.value, names.clone()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("known are {}", names.collect::<Vec<_>>().join(", ")),
                };
                list.index(index).error(suite.span, what).help(help);
            }
        }
    }
    if subject.error_count() > before {
        return None;
    }
    if let Some(first) = config.suites.first() {
        let is_of_a_version = |suite: &SupportedCipherSuite| {
            let mut versions = versions(config).iter();
            versions.any(|version| version.version == suite.version().version)
        };
        if !wanted.iter().any(is_of_a_version) {
            let what = "has no suite for the versions of TLS that are spoken";
            subject.key("suites").error(first.span, what);
            return None;
        }
        provider.cipher_suites = wanted;
    }
    Some(Arc::new(provider))
}

/// The library has a prefix of its own for the suites of TLS 1.3.
fn iana_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}
