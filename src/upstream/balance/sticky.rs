//! Sticky sessions: a cookie that says which endpoint serves its client, to this gateway and to nobody else.
//!
//! The value of the cookie is a MAC of the endpoint's address under the upstream's key, which is worked out when the
//! endpoint is there, and not for a request. So a cookie is good exactly where it is the MAC of an endpoint that
//! is available: one that was made up names none, and nobody can read an address out of it. Clients can tell that two of
//! them have the same endpoint, and no more.

use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Duration, Secret, Span, Spanned, Subject};

/// Sessions that stay with an endpoint: the first response of one sets a cookie, and requests with that cookie go to the
/// endpoint of the first. Where it is gone or not healthy, `balance` chooses another, and the response sets a new cookie; so
/// does one that another endpoint gave when the request was tried again. A session stays whatever its endpoint's priority,
/// zone and load are, and a client that has collected the cookies can choose among the endpoints. The cookie is set on
/// whatever is answered: of what shared caches may store, they may store it too.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cookie's name. Default: `northgate-sticky-` and the name of the upstream.
    pub cookie: Option<Spanned<String>>,
    /// What cookies are signed with, 32 bytes or more: the same on all gateways that have the same clients. Default: drawn
    /// when the process starts, so that after a restart, or on another gateway, sessions go to another endpoint and get a
    /// new cookie. Another key moves all sessions once.
    pub key: Option<Spanned<Secret>>,
    /// For which paths browsers send it. Default `"/"`.
    pub path: Option<Spanned<String>>,
    /// How long browsers keep it from its first response on, whether the session is used or not. Default: until they are closed.
    pub max_age: Option<Duration>,
    /// Whether browsers send it with requests that other sites cause. Default `"lax"`.
    #[serde(default)]
    pub same_site: SameSite,
    /// Whether browsers send it over TLS alone. Default: for clients that came over TLS, and always with `same_site = "none"`.
    pub secure: Option<Spanned<bool>>,
    /// Whether it is hidden from scripts. Default `true`.
    #[serde(default = "yes")]
    pub http_only: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    Strict,
    #[default]
    Lax,
    /// With all of them. Browsers take that only with `Secure`.
    None,
}

/// What tells an endpoint in a cookie.
pub(in crate::upstream) type Tag = [u8; TAG];

/// 128 bits: nobody guesses one.
const TAG: usize = 16;
const SHORTEST_KEY: usize = 32;
/// So that the key is of no use for anything else.
const PURPOSE: &[u8] = b"northgate sticky session v1\0";

/// The key of this process: it outlives reloads.
static OWN_KEY: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

/// How the sessions of an upstream are marked.
#[derive(Debug)]
pub struct Sticky {
    name: Box<str>,
    key: hmac::Key,
    upstream: Box<str>,
    attributes: Box<str>,
    secure: Option<bool>,
}

/// What an endpoint's sessions have.
#[derive(Debug)]
pub(in crate::upstream) struct Mark {
    pub tag: Tag,
    /// `Set-Cookie` for clients in clear text and over TLS.
    pub lines: [HeaderValue; 2],
}

impl Sticky {
    /// `None` after diagnostics.
    pub(super) fn build(
        upstream: &str,
        config: &Spanned<Config>,
        base: &Path,
        subject: &mut Subject<'_>,
    ) -> Option<Sticky> {
        let errors = subject.error_count();
        let name = match &config.cookie {
            None => format!("northgate-sticky-{upstream}"),
            Some(name) => name.value.clone(),
        };
        let span = config.cookie.as_ref().map_or(config.span, |it| it.span);
        check_name(&name, span, &mut subject.key("cookie"));
        let path = config.path.as_ref().map_or("/", |path| path.value.as_str());
        if let Some(written) = &config.path
            && !is_path(path)
        {
            let what = format!("must be a path such as \"/shop\", got {path:?}");
            subject.key("path").error(written.span, what);
        }
        let is_none = config.same_site == SameSite::None;
        let secure = config.secure.as_ref().map(|secure| secure.value);
        if let Some(written) = &config.secure
            && is_none
            && !written.value
        {
            let what = "browsers take no cookie with SameSite=None that is not secure";
            let problem = subject.key("secure");
            let mut problem = problem;
            problem.error(written.span, what).help("remove it");
        }
        let key = match &config.key {
            None => hmac::Key::new(hmac::HMAC_SHA256, &*OWN_KEY),
            Some(secret) => key(secret, base, &mut subject.key("key"))?,
        };
        let mut attributes = format!("; Path={path}");
        if let Some(age) = config.max_age {
            attributes += &format!("; Max-Age={}", age.as_std().as_secs().max(1));
        }
        if config.http_only {
            attributes += "; HttpOnly";
        }
        attributes += match config.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        };
        (subject.error_count() == errors).then(|| Sticky {
            name: name.into(),
            key,
            upstream: upstream.into(),
            attributes: attributes.into(),
            secure: if is_none { Some(true) } else { secure },
        })
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the sessions of the endpoint at this address have.
    pub(in crate::upstream) fn mark(&self, address: &str) -> Option<Mark> {
        let mut mac = hmac::Context::with_key(&self.key);
        mac.update(PURPOSE);
        mac.update(self.upstream.as_bytes());
        mac.update(b"\0");
        mac.update(address.as_bytes());
        let mac = mac.sign();
        let tag: Tag = mac.as_ref().get(..TAG)?.try_into().ok()?;
        let line = |over_tls: bool| {
            let secure = if self.secure.unwrap_or(over_tls) {
                "; Secure"
            } else {
                ""
            };
            let value = URL_SAFE_NO_PAD.encode(tag);
            let text = format!("{}={value}{}{secure}", self.name, self.attributes);
            HeaderValue::try_from(text).ok()
        };
        let lines = [line(false)?, line(true)?];
        Some(Mark { tag, lines })
    }
}

/// What a cookie says; `None` where that is nothing that could be right.
pub(in crate::upstream) fn tag_of(value: &[u8]) -> Option<Tag> {
    let mut tag = [0; TAG];
    let length = URL_SAFE_NO_PAD.decode_slice(value, &mut tag).ok()?;
    (length == TAG).then_some(tag)
}

fn key(secret: &Spanned<Secret>, base: &Path, subject: &mut Subject<'_>) -> Option<hmac::Key> {
    let value = match secret.read(base) {
        Ok(value) => value,
        Err(error) => {
            subject.error(secret.span, error);
            return None;
        }
    };
    let length = value.expose().len();
    if length < SHORTEST_KEY {
        let what = format!("must have {SHORTEST_KEY} bytes or more, got {length}");
        let problem = subject.error(secret.span, what);
        problem.help("make one with: openssl rand -base64 32");
        return None;
    }
    Some(hmac::Key::new(hmac::HMAC_SHA256, value.expose()))
}

/// A cookie's name is a token (RFC 6265 section 4.1.1), as names of headers are.
fn check_name(name: &str, span: Span, subject: &mut Subject<'_>) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(is_token) {
        let what = format!("must be a name for a cookie, such as \"shop-session\", got {name:?}");
        subject.error(span, what);
    }
}

/// RFC 6265 section 4.1.1, without what separates lists.
fn is_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b';' && byte != b',';
    path.starts_with('/') && path.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(upstream: &str, key: &[u8]) -> Sticky {
        Sticky {
            name: "s".into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            upstream: upstream.into(),
            attributes: "; Path=/".into(),
            secure: None,
        }
    }

    fn value(mark: &Mark) -> String {
        let line = mark.lines[0].to_str().unwrap();
        let (_, rest) = line.split_once("s=").unwrap();
        rest.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn cookies_are_of_one_endpoint_one_upstream_and_one_key() {
        let shop = sticky("shop", b"key");
        let mark = shop.mark("10.0.0.1:80").unwrap();
        assert_eq!(tag_of(value(&mark).as_bytes()), Some(mark.tag));
        assert_eq!(shop.mark("10.0.0.1:80").unwrap().tag, mark.tag);
        for other in [
            shop.mark("10.0.0.2:80"),
            sticky("other", b"key").mark("10.0.0.1:80"),
            sticky("shop", b"another").mark("10.0.0.1:80"),
        ] {
            assert_ne!(other.unwrap().tag, mark.tag);
        }
        assert!(mark.lines[1].to_str().unwrap().ends_with("; Secure"));
        assert!(!mark.lines[0].to_str().unwrap().contains("Secure"));
    }

    #[test]
    fn what_is_no_cookie_of_ours() {
        for value in [
            "",
            "AAAA",
            "10.0.0.1:80",
            "====",
            &"A".repeat(23),
            &"A".repeat(500),
        ] {
            assert_eq!(tag_of(value.as_bytes()), None, "{value}");
        }
    }
}
