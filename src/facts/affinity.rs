//! Which requests belong together, so that the same endpoint, or the same branch of a split, serves them.

use super::{KeyBy, KeyPart, View};
use crate::limits::KeyParts;
use crate::text::StableHash;

/// What requests of one route have in common that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity(KeyPart);

impl Affinity {
    /// `None` where the path of the route has no such parameter: then its requests have nothing in common.
    pub fn of(by: &KeyBy, parameters: &[Box<str>]) -> Option<Affinity> {
        by.part(parameters).map(Affinity)
    }

    /// The same in every gateway and after every start, so it is no hash with a secret: who may choose the value chooses where
    /// its requests go. `None` where the request has nothing of the kind.
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
        assert_eq!(one("claim:sub", &[]), None);
        // A stranger is known by its address.
        assert!(one("client", &[]).is_some());
        for by in ["consumer", "credential"] {
            assert_eq!(one(by, &[]), one("client", &[]));
        }
    }

    /// It is the same in every version, too: otherwise an upgrade would move everybody to another branch and endpoint.
    #[test]
    fn keys_stay_what_they_are() {
        let lines = [("x-user", "ann"), ("cookie", "sid=17")];
        let keys = ["client", "header:x-user", "cookie:sid", "path:id"]
            .map(|by| key(by, "/orders/17", &lines).unwrap());
        let value = 14135164526654820139;
        assert_eq!(
            keys,
            [14695654388743343864, 14525006484816735681, value, value]
        );
    }

    #[test]
    fn addresses_are_those_of_subscribers() {
        let at = |address: &str| {
            let facts = Facts::new(address.parse().unwrap(), Scheme::Http);
            let request = RequestHeader::build("GET", b"/", None).unwrap();
            let view = View {
                facts: &facts,
                request: &request,
            };
            Affinity::of(&KeyBy::Client, &[]).unwrap().key(view)
        };
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    }
}
