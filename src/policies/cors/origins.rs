//! Origins: as they are written in a configuration, and the set that requests are held against.

use std::borrow::Cow;
use std::str::FromStr;

use ahash::AHashSet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::strangers::{is_registry, stranger};
use crate::text::{
    HostPattern, Invalid, RegexPattern, Shorthand, Span, Spanned, Subject, quoted, shorthand,
    shorthand_schema,
};

/// Origins that are allowed.
#[derive(Clone, Debug, PartialEq)]
pub enum OriginPattern {
    /// `"*"`
    Any,
    /// One origin as browsers write it, in lower case and without the scheme's own port; or `"null"`.
    Exact(Box<str>),
    /// Every host below one: `https://` and `.example.com:8443`.
    Below {
        scheme: Box<str>,
        suffix: Box<str>,
    },
    Regex(Spanned<String>),
}

/// Origins by a regular expression.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OriginRegex")]
pub struct OriginRegex {
    /// Must match the whole origin, in any case of its letters. It never matches `null`.
    regex: Spanned<String>,
}

/// Why a text is no origin.
#[derive(Debug, thiserror::Error)]
pub enum InvalidOrigin {
    #[error("must be an origin such as \"https://app.example.com\", got {}", quoted(.0))]
    Malformed(Box<str>),
    #[error("must be an origin with its scheme, got {}\nwrite \"https://{got}\"", quoted(.got))]
    NoScheme { got: Box<str> },
    #[error("must be an origin, which has no path, got {}\nwrite {:?}", quoted(.got), .bare)]
    Path { got: Box<str>, bare: Box<str> },
    #[error("must be an origin with a port from 1 to 65535, got {}", quoted(.0))]
    Port(Box<str>),
    #[error("{0}")]
    Host(#[from] Invalid),
}

impl FromStr for OriginPattern {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<OriginPattern, InvalidOrigin> {
        let malformed = || InvalidOrigin::Malformed(text.into());
        match text {
            "*" => return Ok(OriginPattern::Any),
            "null" => return Ok(OriginPattern::Exact(text.into())),
            _ => {}
        }
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(match text.parse::<HostPattern>() {
                Ok(_) => InvalidOrigin::NoScheme { got: text.into() },
                Err(_) => malformed(),
            });
        };
        if let Some(at) = authority.find(['/', '?', '#']) {
            let (got, bare) = (text.into(), text[..scheme.len() + 3 + at].into());
            return Err(InvalidOrigin::Path { got, bare });
        }
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match &*scheme {
            "http" => 80,
            "https" => 443,
            _ if is_scheme(&scheme) && is_opaque_host(authority) => {
                return Ok(OriginPattern::Exact(text.to_ascii_lowercase().into()));
            }
            _ => return Err(malformed()),
        };
        let (host, port) = split_port(authority);
        // `u16` would take "+80".
        let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port.map(|port| port.parse::<u16>().ok().filter(|_| is_number(port))) {
            None => String::new(),
            Some(None | Some(0)) => return Err(InvalidOrigin::Port(text.into())),
            Some(Some(port)) if port == default_port => String::new(),
            Some(Some(port)) => format!(":{port}"),
        };
        Ok(match host.parse::<HostPattern>()? {
            HostPattern::Exact(host) => {
                OriginPattern::Exact(format!("{scheme}://{host}{port}").into())
            }
            HostPattern::Suffix(suffix) => OriginPattern::Below {
                scheme: format!("{scheme}://").into(),
                suffix: format!(".{suffix}{port}").into(),
            },
        })
    }
}

/// RFC 3986 section 3.1, in lower case.
fn is_scheme(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_allowed)
}

/// What stands for a host where the scheme is an application's: `chrome-extension://…`, `capacitor://localhost`.
fn is_opaque_host(text: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// The colons of an IPv6 address stand in brackets and are none of a port.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

impl From<OriginRegex> for OriginPattern {
    fn from(OriginRegex { regex }: OriginRegex) -> OriginPattern {
        OriginPattern::Regex(regex)
    }
}

impl Shorthand for OriginPattern {
    type Long = OriginRegex;
    const EXPECTED: &'static str = "an origin such as \"https://app.example.com\", all below one, \"https://*.example.com\", or a table such as { regex = \"https://pr-[0-9]+\\\\.example\\\\.com\" }";
}

impl<'de> Deserialize<'de> for OriginPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for OriginPattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Origin".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        shorthand_schema::<Self>(generator)
    }
}

/// A compiled set of origins, of which one costs a hash and the others a look at each pattern.
#[derive(Debug, Default)]
pub(super) struct Origins {
    exact: AHashSet<Box<str>>,
    below: Box<[Below]>,
    regexes: Box<[RegexPattern]>,
}

#[derive(Debug)]
struct Below {
    scheme: Box<str>,
    suffix: Box<str>,
}

impl Origins {
    /// What cannot be compiled is left out, after diagnostics; so is `"*"`, which is the caller's. A pattern that
    /// strangers match is an error with credentials, and else a warning.
    pub(super) fn build(
        patterns: &[Spanned<OriginPattern>],
        has_credentials: bool,
        subject: &mut Subject<'_>,
    ) -> Origins {
        let mut exact = AHashSet::new();
        let (mut below, mut regexes) = (Vec::new(), Vec::new());
        for (index, pattern) in patterns.iter().enumerate() {
            match &pattern.value {
                OriginPattern::Any => {}
                OriginPattern::Exact(origin) => {
                    exact.insert(origin.clone());
                }
                OriginPattern::Below { scheme, suffix } => {
                    if is_below_registry(suffix) {
                        let what = "is everybody's who registers a name there";
                        let mut subject = subject.index(index);
                        tell(&mut subject, pattern.span, has_credentials, what);
                    }
                    below.push(Below {
                        scheme: scheme.clone(),
                        suffix: suffix.clone(),
                    });
                }
                OriginPattern::Regex(source) => {
                    let mut subject = subject.index(index);
                    let mut subject = subject.key("regex");
                    let Some(regex) = build_regex(source, &mut subject) else {
                        continue;
                    };
                    let is_match = |origin: &str| regex.is_match(origin.as_bytes());
                    if let Some(stranger) = stranger(source, is_match) {
                        let what = format!("is matched by strangers, such as {stranger:?}");
                        tell(&mut subject, source.span, has_credentials, &what);
                    }
                    regexes.push(regex);
                }
            }
        }
        Origins {
            exact,
            below: below.into(),
            regexes: regexes.into(),
        }
    }

    /// Browsers write origins in lower case; what is written otherwise means the same.
    pub(super) fn contain(&self, origin: &str) -> bool {
        let origin = match origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(origin.to_ascii_lowercase()),
            false => Cow::Borrowed(origin),
        };
        let is_null = origin == "null";
        self.exact.contains(&*origin)
            || !is_null && self.below.iter().any(|below| below.matches(&origin))
            || !is_null && self.is_like(&origin)
    }

    fn is_like(&self, origin: &str) -> bool {
        self.regexes
            .iter()
            .any(|regex| regex.is_match(origin.as_bytes()))
    }
}

/// `.co.uk:8443`
fn is_below_registry(suffix: &str) -> bool {
    let host = suffix.split(':').next().unwrap_or_default();
    is_registry(host.trim_start_matches('.'))
}

fn tell(subject: &mut Subject<'_>, span: Span, has_credentials: bool, what: &str) {
    if has_credentials {
        let what = format!("{what}, which credentials = true must not be for");
        subject.error(span, what)
    } else {
        subject.warning(span, what)
    }
    .help(
        "name the host that is meant, in a regex with \\\\. for each dot and for the one before it",
    );
}

/// Origins are compared in lower case, so that an expression with capitals would never match.
fn build_regex(source: &Spanned<String>, subject: &mut Subject<'_>) -> Option<RegexPattern> {
    // Alone first, for the places in its errors.
    RegexPattern::build(source, subject)?;
    match RegexPattern::new(&format!("(?i:{})", source.value)) {
        Ok(regex) => Some(regex),
        Err(error) => {
            subject.error(source.span, error);
            None
        }
    }
}

impl Below {
    /// What is between scheme and suffix must be labels: the suffix alone would let anything stand before it.
    fn matches(&self, origin: &str) -> bool {
        let front = origin
            .strip_prefix(&*self.scheme)
            .and_then(|rest| rest.strip_suffix(&*self.suffix));
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_allowed);
        front.is_some_and(|front| front.split('.').all(is_label))
    }
}

#[cfg(test)]
mod tests {
    use crate::text::{Diagnostics, Sources};

    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        let check = |text: &str, expected: Option<&str>| {
            let read = match text.parse::<OriginPattern>() {
                Ok(OriginPattern::Exact(origin)) => Some(origin.into_string()),
                Ok(OriginPattern::Below { scheme, suffix }) => Some(format!("{scheme}*{suffix}")),
                Ok(OriginPattern::Any) => Some("any".into()),
                Ok(OriginPattern::Regex(_)) | Err(_) => None,
            };
            assert_eq!(read.as_deref(), expected, "{text}");
        };
        check("https://App.Example.com", Some("https://app.example.com"));
        check(
            "https://app.example.com:443",
            Some("https://app.example.com"),
        );
        check("http://app.example.com:80", Some("http://app.example.com"));
        check(
            "http://app.example.com:443",
            Some("http://app.example.com:443"),
        );
        check("http://localhost:03000", Some("http://localhost:3000"));
        check(
            "http://[2001:DB8:0::1]:3000",
            Some("http://[2001:db8::1]:3000"),
        );
        check("http://[::1]", Some("http://[::1]"));
        check(
            "https://*.example.com:8443",
            Some("https://*.example.com:8443"),
        );
        check("capacitor://localhost", Some("capacitor://localhost"));
        check(
            "chrome-extension://abcdef",
            Some("chrome-extension://abcdef"),
        );
        check("null", Some("null"));
        check("*", Some("any"));
        for bad in [
            "",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com?x",
            "https://a@b",
            "https://a b",
            "https://*",
            "https://a.*.com",
            "https://*.example.com:*",
            "https://a:0",
            "https://a:70000",
            "https://a:+80",
            "https://a:",
            "://a",
            "1x://a",
            "x://*.a",
            "NULL",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn sets_of_origins() {
        let check = |patterns: &[&str], regex: Option<&str>, origin: &str, expected: bool| {
            let mut diagnostics = Diagnostics::new();
            let span = Span::start_of(Sources::new().add("t", ""));
            let mut written: Vec<Spanned<OriginPattern>> = patterns
                .iter()
                .map(|text| Spanned::new(text.parse().expect("an origin"), span))
                .collect();
            written.extend(regex.map(|source| {
                let source = Spanned::new(source.to_owned(), span);
                Spanned::new(OriginPattern::Regex(source), span)
            }));
            let mut subject = Subject::new(&mut diagnostics, "origins");
            let origins = Origins::build(&written, false, &mut subject);
            assert!(!diagnostics.has_errors());
            assert_eq!(
                origins.contain(origin),
                expected,
                "{patterns:?} {regex:?}: {origin}"
            );
        };
        let one = ["https://app.example.com", "http://localhost:3000"];
        check(&one, None, "https://app.example.com", true);
        check(&one, None, "https://APP.example.com", true);
        check(&one, None, "http://app.example.com", false);
        check(&one, None, "https://app.example.com:8443", false);
        check(&one, None, "https://app.example.com.evil.test", false);
        check(&one, None, "http://localhost:3000", true);
        check(&one, None, "http://localhost", false);
        check(&one, None, "null", false);
        check(&one, None, "", false);
        let below = ["https://*.example.com"];
        check(&below, None, "https://a.example.com", true);
        check(&below, None, "https://b.a.Example.com", true);
        for stranger in [
            "https://example.com",
            "https://evilexample.com",
            "https://.example.com",
            "https://a..example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil.test",
            "https://evil.test/.example.com",
            "https://evil.test#.example.com",
            "https://user@a.example.com",
            "https://evil.test:1.example.com",
            "https://evil.test\u{2044}.example.com",
        ] {
            check(&below, None, stranger, false);
        }
        check(
            &["https://*.a.test:8443"],
            None,
            "https://x.a.test:8443",
            true,
        );
        check(&["https://*.a.test:8443"], None, "https://x.a.test", false);
        let regex = Some(r"https://pr-[0-9]+\.example\.com");
        check(&[], regex, "https://pr-7.example.com", true);
        check(&[], regex, "https://PR-7.example.com", true);
        let capital = Some("https://App[.]example[.]com");
        check(&[], capital, "https://app.example.com", true);
        check(&[], capital, "https://App.example.com", true);
        check(&[], regex, "https://pr-7.example.com.evil.test", false);
        check(&[], regex, "xhttps://pr-7.example.com", false);
        check(&[], Some("a|https://b"), "https://ba", false);
        check(&[], Some(".*"), "null", false);
        check(&["null"], None, "null", true);
    }
}
