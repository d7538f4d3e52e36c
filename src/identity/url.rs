//! Addresses of other servers, as they are written.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

use crate::text::{Host, ParsedText, parsed_text, quoted};

/// Longer than any that is of use, and short enough for a request line and the log.
const LONGEST: usize = 2048;

/// Where a server of another party is: `https://id.example.com/jwks.json`. It is kept as it is written, since the
/// name of an issuer is compared byte for byte.
///
/// Name and password have no place in it: it is logged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    text: Box<str>,
    uri: Uri,
    host: Box<str>,
}

impl Url {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    pub fn is_https(&self) -> bool {
        is_https(&self.uri)
    }

    /// In lower case; IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        port_of(&self.uri)
    }

    /// Whether nobody outside of this machine is asked: `localhost`, or an address of the loopback interface.
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }

    /// Whether scheme, host and port are the same.
    pub fn is_same_origin(&self, other: &Url) -> bool {
        self.is_https() == other.is_https()
            && self.host == other.host
            && self.port() == other.port()
    }

    /// Whether a document of `issuer` may name it: it is https, or of the same server where the issuer is not https
    /// itself.
    pub fn may_be_named_by(&self, issuer: &Url) -> bool {
        self.is_https() || self.is_same_origin(issuer)
    }

    /// The same server with this path, which begins with `/`; `None` where it is no path.
    pub fn with_path(&self, path: &str) -> Option<Url> {
        let rest = self.text.find("://")? + "://".len();
        let end = self.text[rest..]
            .find(['/', '?'])
            .map_or(self.text.len(), |at| rest + at);
        format!("{}{path}", self.text.get(..end)?).parse().ok()
    }
}

pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}

pub(super) fn port_of(uri: &Uri) -> u16 {
    let usual = if is_https(uri) { 443 } else { 80 };
    uri.port_u16().unwrap_or(usual)
}

/// Of a host as URLs have it.
pub(super) fn is_local(host: &str) -> bool {
    let address = without_brackets(host).parse::<IpAddr>();
    address.map_or_else(
        |_| host.eq_ignore_ascii_case("localhost"),
        |address| address.is_loopback(),
    )
}

pub(super) fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Why a text is no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("must be a URL such as \"https://id.example.com/\", got {}", quoted(.got))]
    Malformed { got: Box<str> },
    #[error("must be without a name and a password, which are not for a URL")]
    Credentials,
    #[error("must be without a fragment, which no server gets to see; got {}", quoted(.got))]
    Fragment { got: Box<str> },
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Url, InvalidUrl> {
        let malformed = || match text.contains('@') {
            // There may be a password before it.
            true => InvalidUrl::Credentials,
            false => InvalidUrl::Malformed { got: text.into() },
        };
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let scheme = uri.scheme_str().unwrap_or_default();
        if !["http", "https"].contains(&scheme) || text.len() > LONGEST {
            return Err(malformed());
        }
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.as_str().contains('@') {
            return Err(InvalidUrl::Credentials);
        }
        // The parser leaves it out.
        if text.contains('#') {
            return Err(InvalidUrl::Fragment { got: text.into() });
        }
        let host: Host = authority.host().parse().map_err(|_| malformed())?;
        let is_port = |port: &str| port.parse().is_ok_and(|port: u16| port > 0);
        let rest = &authority.as_str()[authority.host().len()..];
        if !rest.is_empty() && !rest.strip_prefix(':').is_some_and(is_port) {
            return Err(malformed());
        }
        Ok(Url {
            text: text.into(),
            host: host.into_inner(),
            uri,
        })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ParsedText for Url {
    const EXPECTED: &'static str = "a URL such as \"https://id.example.com/\"";
}

parsed_text!(
    Url,
    "string",
    "^https?://",
    "The URL of another server: https, or http where it is on this machine."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_urls_are_urls() {
        let check = |text: &str, expected: Option<(&str, u16, bool)>| {
            let url = text.parse::<Url>();
            let seen = url.as_ref().ok();
            let seen = seen.map(|url| (url.host(), url.port(), url.is_local()));
            assert_eq!(seen, expected, "{text}: {url:?}");
            assert!(url.is_err() || url.is_ok_and(|url| url.as_str() == text));
        };
        check("https://id.example/", Some(("id.example", 443, false)));
        check("https://ID.example", Some(("id.example", 443, false)));
        check(
            "http://id.example:81/a?b=c",
            Some(("id.example", 81, false)),
        );
        check("http://localhost:81", Some(("localhost", 81, true)));
        check("http://127.0.0.2/", Some(("127.0.0.2", 80, true)));
        check("https://[::1]:8443/", Some(("[::1]", 8443, true)));
        check(
            "https://localhost.example/",
            Some(("localhost.example", 443, false)),
        );
        check(
            "https://127.0.0.1.example/",
            Some(("127.0.0.1.example", 443, false)),
        );
        for wrong in [
            "",
            "/jwks",
            "id.example",
            "id.example:443",
            "ftp://id.example/",
            "file:///etc/passwd",
            "unix:/run/a",
            "https://",
            "https:///jwks",
            "https://a b/",
            "https://id.example/a b",
            "https://*.example/",
            "https://user:password@id.example/",
            "https://user@id.example/",
            "https://id.example/#part",
            "https://id.example:0/",
            "https://id.example:x/",
            "https://id.example:70000/",
            "https://id.example:/",
            "https://[::1/",
        ] {
            check(wrong, None);
        }
        check(&format!("https://a/{}", "x".repeat(LONGEST)), None);
    }

    #[test]
    fn a_password_is_not_repeated() {
        for host in ["id.example", "id example", "id.example:x", ""] {
            let error = format!("https://user:hunter2@{host}/").parse::<Url>();
            assert_eq!(error, Err(InvalidUrl::Credentials), "{host}");
        }
    }

    #[test]
    fn another_path_of_the_same_server() {
        let check = |text: &str, expected: &str| {
            let other = text.parse::<Url>().unwrap().with_path("/jwks").unwrap();
            assert_eq!(other.as_str(), expected);
        };
        check("https://id.example", "https://id.example/jwks");
        check("https://id.example:81/a/b?c", "https://id.example:81/jwks");
        check("https://id.example?c=/d", "https://id.example/jwks");
    }

    #[test]
    fn origins() {
        let check = |one: &str, other: &str, expected: bool| {
            let url = |text: &str| text.parse::<Url>().unwrap();
            assert_eq!(
                url(one).is_same_origin(&url(other)),
                expected,
                "{one} {other}"
            );
        };
        check("https://a/b", "https://A:443/c", true);
        check("http://a/", "https://a/", false);
        check("https://a/", "https://a:444/", false);
        check("https://a/", "https://b/", false);
    }
}
