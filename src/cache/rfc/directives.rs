//! `Cache-Control` (RFC 9111 section 5.2) and the fields that stand in for it (RFC 9213).

use http::header::{CACHE_CONTROL, HeaderName, PRAGMA};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use crate::text::structured::{Bare, Member, Twice, dictionary};

/// More seconds than this are as many (RFC 9111 section 1.2.2).
const MOST_SECONDS: u64 = 1 << 31;

/// Whether a directive is there, and for which fields where it says that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    #[default]
    No,
    /// Of the response only these fields.
    Fields(SmallVec<[HeaderName; 2]>),
    All,
}

impl Extent {
    fn add(&mut self, value: Option<&[u8]>) {
        let named = value.map(|value| {
            let names = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            let names = names.filter(|name| !name.is_empty());
            names
                .map(HeaderName::from_bytes)
                .collect::<Result<SmallVec<[_; 2]>, _>>()
        });
        match (named, &mut *self) {
            (_, Extent::All) => {}
            (Some(Ok(names)), Extent::Fields(fields)) if !names.is_empty() => fields.extend(names),
            (Some(Ok(names)), Extent::No) if !names.is_empty() => *self = Extent::Fields(names),
            // What cannot be read is the strictest that it could be.
            _ => *self = Extent::All,
        }
    }

    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Extent::Fields(fields) => fields,
            _ => &[],
        }
    }
}

/// What a response says about its being kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub no_store: bool,
    pub private: Extent,
    pub no_cache: Extent,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub public: bool,
    /// In seconds, as all that follow; of what cannot be read, none at all.
    pub max_age: Option<u64>,
    pub s_maxage: Option<u64>,
    pub stale_while_revalidate: Option<u64>,
    pub stale_if_error: Option<u64>,
    /// Whether they are of a field for caches such as this one alone, next to which `Expires` counts for nothing.
    pub is_targeted: bool,
}

impl ResponseDirectives {
    /// `targets` are the fields that are for this cache, the nearest first (RFC 9213 section 2.2): the first of them that is
    /// there and can be read counts in the place of `Cache-Control`.
    pub fn of(headers: &HeaderMap, targets: &[HeaderName]) -> ResponseDirectives {
        for target in targets {
            if let Some(directives) = targeted(headers, target) {
                return directives;
            }
        }
        let mut directives = ResponseDirectives::default();
        each(headers, &CACHE_CONTROL, |name, value| {
            directives.take(name, value)
        });
        directives
    }

    fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("max-age") {
            lower(&mut self.max_age, value);
        } else if is("s-maxage") {
            lower(&mut self.s_maxage, value);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache.add(value);
        } else if is("private") {
            self.private.add(value);
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("stale-while-revalidate") {
            lower(&mut self.stale_while_revalidate, value);
        } else if is("stale-if-error") {
            lower(&mut self.stale_if_error, value);
        }
    }
}

/// What a request wants of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    pub no_store: bool,
    pub no_cache: bool,
    pub only_if_cached: bool,
    /// In seconds, as all that follow.
    pub max_age: Option<u64>,
    /// However stale where there is no number.
    pub max_stale: Option<u64>,
    pub min_fresh: Option<u64>,
    pub stale_if_error: Option<u64>,
}

impl RequestDirectives {
    /// `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 section 5.4).
    pub fn of(headers: &HeaderMap) -> RequestDirectives {
        let mut directives = RequestDirectives::default();
        if !headers.contains_key(CACHE_CONTROL) {
            if headers.contains_key(PRAGMA) {
                each(headers, &PRAGMA, |name, _| {
                    directives.no_cache |= name.eq_ignore_ascii_case(b"no-cache");
                });
            }
            return directives;
        }
        each(headers, &CACHE_CONTROL, |name, value| {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("no-cache") {
                directives.no_cache = true;
            } else if is("no-store") {
                directives.no_store = true;
            } else if is("only-if-cached") {
                directives.only_if_cached = true;
            } else if is("max-age") {
                lower(&mut directives.max_age, value);
            } else if is("min-fresh") {
                // The more is wanted the stricter it is.
                let least = value.and_then(seconds).unwrap_or(MOST_SECONDS);
                directives.min_fresh = Some(directives.min_fresh.unwrap_or(0).max(least));
            } else if is("max-stale") {
                match value {
                    None => directives.max_stale = directives.max_stale.or(Some(MOST_SECONDS)),
                    Some(_) => lower(&mut directives.max_stale, value),
                }
            } else if is("stale-if-error") {
                lower(&mut directives.stale_if_error, value);
            }
        });
        directives
    }
}

/// Of several the strictest counts, and what is no number is zero (RFC 9111 section 4.2.1).
fn lower(least: &mut Option<u64>, value: Option<&[u8]>) {
    let value = value.and_then(seconds).unwrap_or(0);
    *least = Some(least.map_or(value, |before| before.min(value)));
}

/// Digits and nothing else; as many as there may be.
fn seconds(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = value.iter().map(|byte| u64::from(byte - b'0'));
    Some(digits.fold(0, |sum: u64, digit| (sum * 10 + digit).min(MOST_SECONDS)))
}

/// Calls with each directive, and its value without quotes.
fn each(headers: &HeaderMap, field: &HeaderName, mut take: impl FnMut(&[u8], Option<&[u8]>)) {
    for line in headers.get_all(field) {
        let mut rest = line.as_bytes();
        // Otherwise nothing is in quotes: what others do not take to be hidden there might forbid something.
        let are_sound = are_quotes_sound(rest);
        while !rest.is_empty() {
            let (element, after) = match are_sound {
                true => split(rest),
                false => split_plainly(rest),
            };
            rest = after;
            let (name, value) = name_and_value(element);
            if name.is_empty() {
                continue;
            }
            let quoted = value.and_then(|value| value.strip_prefix(b"\""));
            // Half of a quoted string is no value of anything, and what cannot be read is taken for the strictest.
            take(name, quoted.and_then(unquoted).as_deref().or(value));
        }
    }
}

fn name_and_value(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    let parts = element.splitn(2, |&byte| byte == b'=');
    let mut parts = parts.map(<[u8]>::trim_ascii);
    (parts.next().unwrap_or_default(), parts.next())
}

/// Whether all quotes stand about whole values, as they do in all that is legal.
fn are_quotes_sound(mut line: &[u8]) -> bool {
    while !line.is_empty() {
        let (element, rest) = split(line);
        line = rest;
        let (name, value) = name_and_value(element);
        let quoted = value.and_then(|value| value.strip_prefix(b"\""));
        let is_quoted = !name.contains(&b'"') && quoted.and_then(unquoted).is_some();
        if element.contains(&b'"') && !is_quoted {
            return false;
        }
    }
    true
}

/// To the next comma, and what follows it.
fn split_plainly(text: &[u8]) -> (&[u8], &[u8]) {
    let comma = text.iter().position(|&byte| byte == b',');
    match comma.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) {
        Some(parts) => parts,
        None => (text, &[]),
    }
}

/// To the next comma that is in no quotes, and what follows it.
pub(super) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return (&text[..at], text.get(at + 1..).unwrap_or_default()),
            _ => {}
        }
    }
    (text, &[])
}

/// Of a quoted string, behind its first quote. `None` where it does not end, or something follows.
fn unquoted(text: &[u8]) -> Option<SmallVec<[u8; 32]>> {
    let mut plain = SmallVec::new();
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return bytes.as_slice().is_empty().then_some(plain),
            b'\\' => plain.extend(bytes.next().copied()),
            _ => plain.push(byte),
        }
    }
    None
}

/// Of a field that is a dictionary of RFC 8941. `None` where it is not there, says nothing, or cannot be read: then it is as
/// if it were not there (RFC 9213 section 2.1).
fn targeted(headers: &HeaderMap, field: &HeaderName) -> Option<ResponseDirectives> {
    let lines = headers.get_all(field).iter().map(HeaderValue::to_str);
    let lines = lines.collect::<Result<Vec<_>, _>>().ok()?;
    let lines = lines.join(",");
    let members = dictionary(&lines, Twice::LastCounts).ok()?;
    if members.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives {
        is_targeted: true,
        ..ResponseDirectives::default()
    };
    for (name, member) in members {
        let value = match member {
            Member::Item(item) => Some(item.value),
            Member::List(_) => None,
        };
        let number = |limit: &mut Option<u64>| {
            *limit = match &value {
                Some(Bare::Integer(number)) => {
                    Some(u64::try_from(*number).unwrap_or(0).min(MOST_SECONDS))
                }
                _ => Some(0),
            }
        };
        let is_on = !matches!(value, Some(Bare::Boolean(false)));
        match name {
            "max-age" => number(&mut directives.max_age),
            "s-maxage" => number(&mut directives.s_maxage),
            "stale-while-revalidate" => number(&mut directives.stale_while_revalidate),
            "stale-if-error" => number(&mut directives.stale_if_error),
            "no-store" => directives.no_store |= is_on,
            "public" => directives.public |= is_on,
            "must-revalidate" => directives.must_revalidate |= is_on,
            "proxy-revalidate" => directives.proxy_revalidate |= is_on,
            "must-understand" => directives.must_understand |= is_on,
            "no-cache" | "private" if is_on => {
                let extent = match name {
                    "private" => &mut directives.private,
                    _ => &mut directives.no_cache,
                };
                match &value {
                    Some(Bare::String(text)) => extent.add(Some(text.as_bytes())),
                    _ => extent.add(None),
                }
            }
            _ => {}
        }
    }
    Some(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn seconds_are_digits() {
        let check = |text: &str, expected: Option<u64>| {
            let directives = ResponseDirectives::of(&headers(&[("cache-control", text)]), &[]);
            assert_eq!(directives.max_age, expected, "{text}");
        };
        check("", None);
        check("max-age=5", Some(5));
        check("MAX-AGE=5", Some(5));
        check("public,max-age=\"5\"", Some(5));
        check(" , max-age=5 ,,", Some(5));
        check("max-age=99999999999999999999", Some(MOST_SECONDS));
        // The strictest counts, and what is no number is over.
        check("max-age=5, max-age=3", Some(3));
        for text in [
            "max-age",
            "max-age=",
            "max-age=a",
            "max-age=-1",
            "max-age=1.5",
            "max-age='5'",
            "max-age=5s",
            "max-age=+5",
        ] {
            check(text, Some(0));
        }
        check("xmax-age=5", None);
        check("foo=\"a, max-age=5\"", None);
        check("foo=\"a, max-age=5", Some(5));
        check("foo=a\"b, max-age=5, c\"", Some(5));
        check("foo=\"a\"b, c=\", max-age=5\"", Some(0));
        check("foo=\"a\\\", max-age=5\"", None);
    }

    #[test]
    fn words_and_fields() {
        let of = |text: &str| ResponseDirectives::of(&headers(&[("cache-control", text)]), &[]);
        let all = of("No-Store, Public, must-revalidate, proxy-revalidate, must-understand");
        assert!(all.no_store && all.public && all.must_revalidate);
        assert!(all.proxy_revalidate && all.must_understand);
        assert_eq!(of("private").private, Extent::All);
        assert_eq!(of("private=\"\"").private, Extent::All);
        assert_eq!(of("no-cache=\"a b\"").no_cache, Extent::All);
        assert_eq!(
            of("no-cache=\"X-A, x-b\"").no_cache.fields(),
            ["x-a", "x-b"]
        );
        assert_eq!(of("no-cache=x-a, no-cache").no_cache, Extent::All);
        assert_eq!(of("private=\"set-cookie, x-a").private, Extent::All);
        assert_eq!(of("private=\"x-a\", foo=\"").private.fields(), ["x-a"]);
        let two = headers(&[
            ("cache-control", "no-store"),
            ("cache-control", "max-age=1"),
        ]);
        let two = ResponseDirectives::of(&two, &[]);
        assert!(two.no_store && two.max_age == Some(1));
    }

    #[test]
    fn targets_count_instead() {
        let target = [HeaderName::from_static("cdn-cache-control")];
        let of = |lines: &[(&'static str, &str)]| ResponseDirectives::of(&headers(lines), &target);
        let plain = ("cache-control", "max-age=1, no-store");
        let both = of(&[plain, ("cdn-cache-control", "max-age=9")]);
        assert!(both.is_targeted && both.max_age == Some(9) && !both.no_store);
        // What cannot be read, or is empty, is as if it were not there (RFC 9213 section 2.1).
        for text in [
            "",
            "max-age=9,",
            "Max-Age=9",
            "max-age='9'",
            "max-age=9;;",
            "\u{e4}",
        ] {
            let directives = of(&[plain, ("cdn-cache-control", text)]);
            assert!(
                !directives.is_targeted && directives.max_age == Some(1),
                "{text}"
            );
        }
        assert_eq!(
            of(&[("cdn-cache-control", "max-age=1, max-age=2")]).max_age,
            Some(2)
        );
        assert_eq!(
            of(&[("cdn-cache-control", "max-age=\"9\"")]).max_age,
            Some(0)
        );
        assert!(!of(&[("cdn-cache-control", "no-store=?0")]).no_store);
        assert!(of(&[("cdn-cache-control", "max-age=1;x;x, no-store")]).no_store);
        assert_eq!(of(&[("cdn-cache-control", "private")]).private, Extent::All);
    }

    #[test]
    fn what_requests_want() {
        let of = |lines: &[(&'static str, &str)]| RequestDirectives::of(&headers(lines));
        assert_eq!(of(&[]), RequestDirectives::default());
        assert!(of(&[("pragma", "no-cache")]).no_cache);
        assert!(!of(&[("pragma", "no-cache"), ("cache-control", "max-age=1")]).no_cache);
        let all = of(&[(
            "cache-control",
            "no-cache, no-store, only-if-cached, max-age=1, min-fresh=2, max-stale",
        )]);
        assert!(all.no_cache && all.no_store && all.only_if_cached);
        assert_eq!(
            (all.max_age, all.min_fresh, all.max_stale),
            (Some(1), Some(2), Some(MOST_SECONDS))
        );
        assert_eq!(
            of(&[("cache-control", "max-stale=5, max-stale")]).max_stale,
            Some(5)
        );
        assert_eq!(
            of(&[("cache-control", "min-fresh=x")]).min_fresh,
            Some(MOST_SECONDS)
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_breaks_it(bytes in proptest::collection::vec(0x20u8..=0xff, 0..80)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.append("cache-control", value.clone());
                headers.append("cdn-cache-control", value);
            }
            let target = [HeaderName::from_static("cdn-cache-control")];
            ResponseDirectives::of(&headers, &target);
            RequestDirectives::of(&headers);
        }
    }
}
