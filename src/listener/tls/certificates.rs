//! The certificates of one listener by the names that they are for.

use std::sync::Arc;

use ahash::AHashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates by the names that they are for. Each is known by its position; the first is the default.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    exact: AHashMap<Box<str>, usize>,
    /// By what follows `*.`.
    wildcard: AHashMap<Box<str>, usize>,
}

impl Certificates {
    /// The first certificate for a name wins.
    pub(super) fn add(&mut self, names: &[String], key: Arc<CertifiedKey>) {
        let position = self.keys.len();
        for name in names {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(suffix) => self.wildcard.entry(suffix.into()).or_insert(position),
                None => self.exact.entry(name.into()).or_insert(position),
            };
        }
        self.keys.push(key);
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The position of the certificate that a client gets who asks for `name`, which is in lower case. `*` stands
    /// for exactly one label (RFC 9525 section 6.3).
    pub(super) fn position(&self, name: &str) -> usize {
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        let found = self.exact.get(name).or_else(wildcard);
        found.copied().unwrap_or(0)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked the name and gives it in lower case.
        let position = hello.server_name().map_or(0, |name| self.position(name));
        self.keys.get(position).cloned()
    }
}
