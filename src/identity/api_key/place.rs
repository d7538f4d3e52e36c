//! Where requests carry their keys.

use std::borrow::Cow;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};

/// The places that are looked at.
#[derive(Debug, Default)]
pub struct Places {
    pub header: Option<HeaderName>,
    /// The word before the key in the header: `ApiKey` of `Authorization: ApiKey …`.
    pub scheme: Option<Box<str>>,
    /// The parameter of the query, as it is written in there.
    pub query: Option<Box<str>>,
    pub cookie: Option<Box<str>>,
}

/// What a request shows.
#[derive(Debug, PartialEq)]
pub enum Shown<'r> {
    Nothing,
    One(Cow<'r, [u8]>),
    /// Which of them counts would be anybody's guess, and another server on the way might guess otherwise.
    Several,
}

impl Places {
    /// Looks at every place, whatever was found in another.
    pub fn look<'r>(&self, headers: &'r HeaderMap, query: Option<&'r str>) -> Shown<'r> {
        let mut shown = Shown::Nothing;
        if let Some(name) = &self.header {
            for value in headers.get_all(name) {
                if let Some(key) = self.of_header(value.as_bytes()) {
                    shown.add(Cow::Borrowed(key));
                }
            }
        }
        if let Some(name) = &self.query {
            let pairs = query.into_iter().flat_map(|query| query.split('&'));
            let values = pairs.filter_map(|pair| match pair.split_once('=') {
                Some((found, value)) => (found == &**name).then_some(value),
                None => (pair == &**name).then_some(""),
            });
            values.for_each(|value| shown.add(decoded(value.as_bytes())));
        }
        if let Some(name) = &self.cookie {
            for value in headers.get_all(COOKIE) {
                let pairs = value.as_bytes().split(|&byte| byte == b';');
                let values = pairs.filter_map(|pair| {
                    let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                    rest.strip_prefix(b"=")
                });
                values.for_each(|value| shown.add(Cow::Borrowed(value)));
            }
        }
        shown
    }

    /// `None` for a value of another scheme, which is another authenticator's.
    fn of_header<'r>(&self, value: &'r [u8]) -> Option<&'r [u8]> {
        let Some(scheme) = &self.scheme else {
            return Some(value);
        };
        // RFC 9110 section 11.4: a scheme in any case, then spaces.
        let (found, rest) = value.split_at_checked(scheme.len())?;
        let is_ours = found.eq_ignore_ascii_case(scheme.as_bytes());
        match rest {
            [] if is_ours => Some(rest),
            [b' ', ..] if is_ours => Some(rest.trim_ascii_start()),
            _ => None,
        }
    }
}

impl<'r> Shown<'r> {
    fn add(&mut self, key: Cow<'r, [u8]>) {
        *self = match self {
            Shown::Nothing => Shown::One(key),
            Shown::One(_) | Shown::Several => Shown::Several,
        };
    }
}

/// What is percent-encoded, decoded once. A `%` that begins no escape stands for itself.
fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, after @ ..] = rest {
        rest = after;
        match after {
            [high, low, after @ ..] if *first == b'%' => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(*first),
            },
            _ => bytes.push(*first),
        }
    }
    Cow::Owned(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(places: &Places, headers: &[(&str, &str)], query: Option<&str>, expected: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let shown = match places.look(&map, query) {
            Shown::Nothing => "nothing".to_owned(),
            Shown::One(key) => format!("={}", String::from_utf8_lossy(&key)),
            Shown::Several => "several".to_owned(),
        };
        assert_eq!(shown, expected, "{headers:?} {query:?}");
    }

    #[test]
    fn a_header() {
        let places = Places {
            header: Some(HeaderName::from_static("x-api-key")),
            ..Places::default()
        };
        check(&places, &[], Some("x-api-key=k"), "nothing");
        check(&places, &[("authorization", "ApiKey k")], None, "nothing");
        check(&places, &[("cookie", "x-api-key=k")], None, "nothing");
        check(&places, &[("x-api-key", "k")], None, "=k");
        check(&places, &[("X-API-Key", "a, b")], None, "=a, b");
        check(&places, &[("x-api-key", "")], None, "=");
        check(
            &places,
            &[("x-api-key", "k"), ("x-api-key", "k")],
            None,
            "several",
        );
    }

    #[test]
    fn a_scheme() {
        let places = Places {
            header: Some(http::header::AUTHORIZATION),
            scheme: Some("ApiKey".into()),
            ..Places::default()
        };
        for (value, expected) in [
            ("ApiKey k", "=k"),
            ("apikey   k", "=k"),
            ("APIKEY k k", "=k k"),
            ("ApiKey", "="),
            ("ApiKey ", "="),
            ("ApiKeyk", "nothing"),
            ("ApiKe", "nothing"),
            ("Bearer k", "nothing"),
            ("k", "nothing"),
        ] {
            check(&places, &[("authorization", value)], None, expected);
        }
        let both = [("authorization", "Bearer t"), ("authorization", "ApiKey k")];
        check(&places, &both, None, "=k");
    }

    #[test]
    fn a_query() {
        let places = Places {
            query: Some("key".into()),
            ..Places::default()
        };
        for (query, expected) in [
            ("", "nothing"),
            ("keys=1&akey=2&KEY=3", "nothing"),
            ("a=1&key=k", "=k"),
            ("key=a%2Bb%2F+%3d", "=a+b/+="),
            ("key=%&key2=%zz", "=%"),
            ("key=%zz%4", "=%zz%4"),
            ("key", "="),
            ("key=a&b=1&key=a", "several"),
        ] {
            check(&places, &[], Some(query), expected);
        }
    }

    #[test]
    fn a_cookie_beside_a_header() {
        let places = Places {
            header: Some(HeaderName::from_static("x-api-key")),
            cookie: Some("key".into()),
            ..Places::default()
        };
        check(&places, &[("cookie", "a=1; key=k;b=2")], None, "=k");
        check(
            &places,
            &[("cookie", "a=1"), ("cookie", "key=k")],
            None,
            "=k",
        );
        check(
            &places,
            &[("cookie", "keyx=1; xkey=2; Key=3; key")],
            None,
            "nothing",
        );
        check(&places, &[("cookie", "key=a; key=b")], None, "several");
        check(
            &places,
            &[("cookie", "key=a"), ("x-api-key", "a")],
            None,
            "several",
        );
    }
}
