//! What a request asks the cache for.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method};
use pingora::http::RequestHeader;

use super::key::{Scope, VaryBy, primary};
use super::key_hash::Key;
use super::rfc::RequestDirectives;
use super::rules::Rules;
use crate::facts::{KeyPart, View, host};

/// What a request asks the cache for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of all variants together.
    pub(super) key: Key,
    pub(super) control: RequestDirectives,
    /// Whether its sender has proven who it is, or may have, and nothing in the key tells who that is.
    pub(super) is_personal: bool,
    pub(super) is_head: bool,
    /// Whether only a part is wanted.
    pub(super) has_range: bool,
}

/// Why the cache has nothing to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Its method is none that is answered from a cache.
    Method,
    /// It is more than a question for what is there: it has a body, a condition for the upstream, or wants another protocol.
    Request,
    /// The route says so.
    Bypass,
}

impl Ask {
    /// Costs a SHA-256.
    pub fn of(rules: &Rules, scope: Scope<'_>, view: View<'_>) -> Result<Ask, Past> {
        let request = view.request;
        let is_head = request.method == Method::HEAD;
        if !is_head && request.method != Method::GET {
            return Err(Past::Method);
        }
        if is_strange(request) {
            return Err(Past::Request);
        }
        if let Some(bypass) = &rules.bypass
            && bypass.evaluate(view).unwrap_or(true)
        {
            return Err(Past::Bypass);
        }
        let headers = &request.headers;
        let query = rules.query.of(request.uri.query());
        let control = match rules.hears_clients {
            true => RequestDirectives::of(headers),
            false => RequestDirectives::default(),
        };
        Ok(Ask {
            key: primary(scope, query.as_deref(), rules.vary_by.as_ref(), view),
            control,
            is_personal: is_personal(rules, view),
            is_head,
            // Only `GET` has ranges (RFC 9110 section 14.2).
            has_range: !is_head && headers.contains_key(RANGE),
        })
    }

    /// Of all variants together.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Whether the upstream is not to be asked (RFC 9111 section 5.2.1.7).
    pub fn is_only_if_cached(&self) -> bool {
        self.control.only_if_cached
    }

    /// Whether what comes of it may be for nobody else, by what is said of its sender.
    pub fn is_personal(&self) -> bool {
        self.is_personal
    }

    /// Whether its sender wants nothing kept of it.
    pub fn is_for_once(&self) -> bool {
        self.control.no_store
    }

    /// Whether only a part is wanted.
    pub fn has_range(&self) -> bool {
        self.has_range
    }

    pub fn is_head(&self) -> bool {
        self.is_head
    }
}

/// Whether its sender has proven who it is, or may have, and nothing in the key tells who that is. What proves it here is taken out
/// of requests. What is still there may prove something else to the upstream, which the key knows nothing of.
fn is_personal(rules: &Rules, view: View<'_>) -> bool {
    let has_credentials = view.request.headers.contains_key(AUTHORIZATION);
    match rules.vary_by.as_ref().map(VaryBy::parts) {
        None => has_credentials || view.facts.identity.is_some(),
        Some([]) => false,
        Some(parts) => has_credentials && !parts.contains(&KeyPart::Header(AUTHORIZATION)),
    }
}

/// Whether it is more than a question for what is there. Conditions on what the upstream has now are for the upstream (RFC
/// 9111 section 4.3.2); of a body, or of a protocol to change to, the key knows nothing.
fn is_strange(request: &RequestHeader) -> bool {
    const STRANGE: [http::HeaderName; 5] = [
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        UPGRADE,
        IF_MATCH,
        IF_UNMODIFIED_SINCE,
    ];
    let has = |headers: &HeaderMap| STRANGE.iter().any(|name| headers.contains_key(name));
    host(request).is_none() || has(&request.headers)
}
