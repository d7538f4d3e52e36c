//! `Cache-Status` (RFC 9211): what became of a request at this cache.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went on to the upstream (section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache was told to have nothing to do with it.
    Bypass,
    Method,
    /// Nothing is kept for its URL.
    UriMiss,
    /// What is kept for its URL is for other requests.
    VaryMiss,
    /// What is kept is good, and not what the client wants.
    Request,
    Stale,
    /// Only a part is kept, and another is wanted.
    Partial,
}

impl Forward {
    pub fn as_str(self) -> &'static str {
        match self {
            Forward::Bypass => "bypass",
            Forward::Method => "method",
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Request => "request",
            Forward::Stale => "stale",
            Forward::Partial => "partial",
        }
    }
}

/// What is said of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Where it did not go on, it was a hit.
    pub forward: Option<Forward>,
    /// What the upstream has answered, where that is not what the client gets.
    pub forward_status: Option<StatusCode>,
    pub is_stored: bool,
    pub is_collapsed: bool,
    /// How many seconds the response is still good; below zero where it is stale.
    pub ttl: Option<i64>,
    /// For operators; a token.
    pub detail: Option<&'static str>,
}

impl Status {
    /// Adds it behind what other caches have said. `name` is what this one is called, a token of RFC 8941.
    pub fn add(&self, name: &str, headers: &mut HeaderMap) {
        // On the stack, as most are short; the value has room for no more than it needs.
        let mut text = SmallVec::<[u8; 96]>::from_slice(name.as_bytes());
        let mut say = |key: &str, value: &str| {
            text.extend_from_slice(key.as_bytes());
            text.extend_from_slice(value.as_bytes());
        };
        match self.forward {
            None => say("; hit", ""),
            Some(forward) => {
                say("; fwd=", forward.as_str());
                if let Some(status) = self.forward_status {
                    say("; fwd-status=", status.as_str());
                }
                if self.is_stored {
                    say("; stored", "");
                }
                if self.is_collapsed {
                    say("; collapsed", "");
                }
            }
        }
        if let Some(ttl) = self.ttl {
            say("; ttl=", itoa::Buffer::new().format(ttl));
        }
        if let Some(detail) = self.detail {
            say("; detail=", detail);
        }
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            headers.append(CACHE_STATUS, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_behind_what_others_say() {
        let check = |status: Status, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.append(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
            status.add("northgate", &mut headers);
            let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
            assert_eq!(lines, ["origin; hit", expected]);
        };
        let hit = Status {
            ttl: Some(30),
            ..Status::default()
        };
        check(hit, "northgate; hit; ttl=30");
        let miss = Status {
            forward: Some(Forward::UriMiss),
            forward_status: Some(StatusCode::OK),
            is_stored: true,
            ..Status::default()
        };
        check(miss, "northgate; fwd=uri-miss; fwd-status=200; stored");
        let spared = Status {
            forward: Some(Forward::Stale),
            is_collapsed: true,
            ttl: Some(-3),
            detail: Some("circuit_open"),
            ..Status::default()
        };
        check(
            spared,
            "northgate; fwd=stale; collapsed; ttl=-3; detail=circuit_open",
        );
    }
}
