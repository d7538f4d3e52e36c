//! Which requests belong together, so that the same endpoint serves them: `hash = "header:x-user-id"`.

use std::str::FromStr;

use http::HeaderName;

use super::{KeyPart, View};
use crate::limits::KeyParts;
use crate::text::{ParsedText, StableHash, parsed_text, quoted};

/// What requests have in common that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    Header(HeaderName),
    Cookie(Box<str>),
    Claim(Box<str>),
    /// A parameter of the route's path.
    Path(Box<str>),
    /// The client's address, of IPv6 the first 64 bits.
    Address,
    /// The consumer, or the subject that was proven.
    Identity,
}

/// What no requests are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be header:NAME, cookie:NAME, claim:NAME, path:NAME, address or identity, got {}", quoted(.0))]
pub struct UnknownHash(Box<str>);

impl FromStr for HashBy {
    type Err = UnknownHash;

    fn from_str(text: &str) -> Result<HashBy, UnknownHash> {
        let wrong = || UnknownHash(text.into());
        let named = text.split_once(':').filter(|(_, name)| !name.is_empty());
        match (text, named) {
            ("address", _) => Ok(HashBy::Address),
            ("identity", _) => Ok(HashBy::Identity),
            (_, Some(("header", name))) => name.parse().map(HashBy::Header).map_err(|_| wrong()),
            (_, Some(("cookie", name))) => Ok(HashBy::Cookie(name.into())),
            (_, Some(("claim", name))) => Ok(HashBy::Claim(name.into())),
            (_, Some(("path", name))) => Ok(HashBy::Path(name.into())),
            _ => Err(wrong()),
        }
    }
}

impl ParsedText for HashBy {
    const EXPECTED: &'static str = "what to hash, such as \"header:x-user-id\"";
}

parsed_text!(
    HashBy,
    "string",
    r"^(address|identity|(header|cookie|claim|path):.+)$",
    "What requests have in common that go to the same endpoint: \"header:NAME\", \"cookie:NAME\", \"claim:NAME\" (of who calls), \"path:NAME\" (a parameter of the route's path), \"address\" (the client's, of IPv6 the first 64 bits) or \"identity\" (the consumer, or the subject that was proven)."
);

/// [`HashBy`] for the requests of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity(KeyPart);

impl Affinity {
    /// `None` where the path of the route has no such parameter: then its requests have nothing in common.
    pub fn of(by: &HashBy, parameters: &[Box<str>]) -> Option<Affinity> {
        Some(Affinity(match by {
            HashBy::Header(name) => KeyPart::Header(name.clone()),
            HashBy::Cookie(name) => KeyPart::Cookie(name.clone()),
            HashBy::Claim(name) => KeyPart::Claim(name.clone()),
            HashBy::Path(name) => KeyPart::Path(parameters.iter().position(|it| it == name)?),
            HashBy::Address => KeyPart::Client,
            HashBy::Identity => KeyPart::Identity,
        }))
    }

    /// The same on every gateway. `None` where the request has nothing of the kind.
    pub fn key(&self, view: View<'_>) -> Option<u64> {
        let mut key = StableHash::new();
        self.0.add(&mut key, view).then(|| key.finish())
    }
}

impl KeyParts for StableHash {
    fn part(&mut self, bytes: &[u8]) {
        self.part(bytes);
    }

    /// A key that is not there is none.
    fn absent(&mut self) {}
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;

    use super::*;
    use crate::facts::{Facts, Scheme};

    fn key(by: &str, path: &str, lines: &[(&'static str, &str)]) -> Option<u64> {
        let affinity = Affinity::of(&by.parse().unwrap(), &["id".into()])?;
        let mut facts = Facts::new([192, 0, 2, 7].into(), Scheme::Http);
        facts.captures.push((8, path.len() as u32));
        let mut request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        affinity.key(View {
            facts: &facts,
            request: &request,
        })
    }

    #[test]
    fn each_kind_of_key() {
        fn one(by: &str, lines: &[(&'static str, &str)]) -> Option<u64> {
            key(by, "/orders/17", lines)
        }
        let is_told_apart =
            |by: &str, a: [(&'static str, &str); 1], b: [(&'static str, &str); 1]| {
                assert!(one(by, &a).is_some(), "{by}");
                assert_eq!(one(by, &a), one(by, &a), "{by}");
                assert_ne!(one(by, &a), one(by, &b), "{by}");
                assert_eq!(one(by, &[("other", "1")]), None, "{by}");
            };
        is_told_apart("header:x-user", [("x-user", "a")], [("x-user", "b")]);
        is_told_apart(
            "cookie:user",
            [("cookie", "x=1; user=a")],
            [("cookie", "x=1; user=b")],
        );
        assert_ne!(one("path:id", &[]), key("path:id", "/orders/18", &[]));
        assert_eq!(one("path:id", &[]), key("path:id", "/orders/17", &[]));
        assert_eq!(one("path:other", &[]), None);
        assert!(one("address", &[]).is_some());
        assert_eq!(one("identity", &[]), None);
        assert_eq!(one("claim:sub", &[]), None);
    }

    #[test]
    fn what_is_no_key() {
        for text in [
            "",
            "header",
            "header:",
            "header:a b",
            "ip",
            "client",
            "path:",
        ] {
            let wrong = "must be header:NAME, cookie:NAME, claim:NAME, path:NAME, address or identity, got ";
            let error = text.parse::<HashBy>().unwrap_err().to_string();
            assert!(error.starts_with(wrong), "{error}");
        }
    }
}
