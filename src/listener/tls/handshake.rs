//! What a TLS handshake has settled for the requests of its connection.

use std::sync::Arc;

use smallvec::SmallVec;

use super::certificates::Certificates;
use crate::identity::ClientCertificate;

/// What a TLS handshake has settled, where that is of any consequence to requests.
#[derive(Debug)]
pub struct Handshake {
    /// The name that the client asked for, in lower case.
    name: Option<Box<str>>,
    /// Those that the choice was among.
    certificates: Arc<Certificates>,
    shown: usize,
    client: Option<Arc<ClientCertificate>>,
}

impl Handshake {
    /// `None` where it has no consequences: there was nothing to choose from and nobody to verify.
    pub(super) fn new(
        name: Option<&str>,
        certificates: &Arc<Certificates>,
        client: Option<ClientCertificate>,
    ) -> Option<Handshake> {
        if certificates.len() < 2 && client.is_none() {
            return None;
        }
        Some(Handshake {
            name: name.map(Into::into),
            shown: name.map_or(0, |name| certificates.position(name)),
            certificates: certificates.clone(),
            client: client.map(Arc::new),
        })
    }

    /// The client's certificate, if it has shown one; it is verified.
    pub fn client(&self) -> Option<&Arc<ClientCertificate>> {
        self.client.as_ref()
    }

    /// Whether a client that asked for this host (`name`, or `name:port`) would have been shown another
    /// certificate than this one was.
    pub fn is_misdirected(&self, host: &str) -> bool {
        if self.certificates.len() < 2 {
            return false;
        }
        let name = without_port(host);
        let is_same = |asked: &str| asked.eq_ignore_ascii_case(name);
        if self.name.as_deref().is_some_and(is_same) {
            return false;
        }
        let lower: SmallVec<[u8; 64]> =
            name.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
        // It was text before, and only ASCII letters have changed.
        let lower = std::str::from_utf8(&lower).unwrap_or(name);
        self.certificates.position(lower) != self.shown
    }
}

/// The name in `name:port`, without the dot of a fully qualified one. An address in brackets is no name anyway.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use rustls::sign::CertifiedKey;

    use super::*;

    fn certificates(each: &[&[&str]]) -> Arc<Certificates> {
        let mut certificates = Certificates::default();
        for names in each {
            let made = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
            let key = made.signing_key.serialize_der().try_into().unwrap();
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let key = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider);
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            certificates.add(&names, Arc::new(key.unwrap()));
        }
        Arc::new(certificates)
    }

    #[test]
    fn a_request_belongs_to_the_certificate_that_was_shown() {
        let several = certificates(&[
            &["default.test"],
            &["*.shop.test", "shop.test"],
            &["api.shop.test"],
        ]);
        let check = |asked: Option<&str>, host: &str, expected: bool| {
            let handshake = Handshake::new(asked, &several, None).unwrap();
            assert_eq!(handshake.is_misdirected(host), expected, "{asked:?} {host}");
        };
        check(Some("www.shop.test"), "www.shop.test", false);
        check(Some("www.shop.test"), "WWW.Shop.Test:8443", false);
        check(Some("www.shop.test"), "www.shop.test.", false);
        // Another name of the same certificate: a browser may use the connection for it (RFC 9113 section 9.1.1).
        check(Some("www.shop.test"), "shop.test", false);
        check(Some("www.shop.test"), "other.shop.test:443", false);
        // The certificate would do, but it is not the one that this name gets.
        check(Some("www.shop.test"), "api.shop.test", true);
        check(Some("www.shop.test"), "API.shop.test:443", true);
        check(Some("api.shop.test"), "www.shop.test", true);
        check(Some("api.shop.test"), "default.test", true);
        check(Some("api.shop.test"), "elsewhere.test", true);
        check(Some("api.shop.test"), "", true);
        check(Some("elsewhere.test"), "elsewhere.test", false);
        check(Some("elsewhere.test"), "unknown.test", false);
        check(None, "default.test", false);
        check(None, "[::1]:8443", false);
        check(None, "192.0.2.1", false);
        check(None, "api.shop.test", true);
    }

    #[test]
    fn with_one_certificate_there_is_nothing_to_mistake() {
        let one = certificates(&[&["shop.test"]]);
        assert!(Handshake::new(Some("shop.test"), &one, None).is_none());
    }
}
