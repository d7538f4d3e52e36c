//! A URL as people write it for `northgate explain`.

use std::str::FromStr;

/// The parts of a URL, or of a path alone. They stay as they were written: a client may send what no URL library
/// would, and the question is what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: Option<String>,
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No client sends it.
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, host, target) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let host = rest.split(['/', '?']).next().unwrap_or_default();
                let target = rest.get(host.len()..).unwrap_or_default();
                (Some(scheme), Some(host), target)
            }
            _ if text.starts_with('/') || text == "*" => (None, None, text),
            _ => return Err("write it as `https://host/path`, or `/path`"),
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(Address {
            scheme: scheme.map(str::to_ascii_lowercase),
            host: host.map(Into::into),
            path: if path.is_empty() { "/" } else { path }.into(),
            query: query.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_fall_into_their_parts() {
        let check = |text: &str, expected: (&str, &str, &str, Option<&str>)| {
            let Address {
                scheme,
                host,
                path,
                query,
            } = text.parse().unwrap();
            let (scheme, host) = (scheme.unwrap_or_default(), host.unwrap_or_default());
            let parts = (&*scheme, &*host, &*path, query.as_deref());
            assert_eq!(parts, expected, "{text}");
        };
        check("/a/../b?c?d", ("", "", "/a/../b", Some("c?d")));
        check("HTTPS://a.b:1/c#d", ("https", "a.b:1", "/c", None));
        check("http://a?b", ("http", "a", "/", Some("b")));
        check("/a://b", ("", "", "/a://b", None));
        check("*", ("", "", "*", None));
        for bad in ["", "a", "a/b", "?a", "#a"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
