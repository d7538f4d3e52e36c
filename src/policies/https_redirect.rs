//! `https_redirect`: sends who comes by `http` to the same address by `https`.
//!
//! ```toml
//! [listeners.plain]
//! bind = "0.0.0.0:8080"
//! policies.https_redirect = { except = ["/.well-known/acme-challenge/"] }
//!
//! [listeners.public]
//! bind = "0.0.0.0:8443"
//! tls = { certificates = [{ self_signed = ["localhost"] }] }
//! ```
//!
//! What counts is how the client speaks: to the listener or, where one of its `trusted_proxies` says so by
//! `X-Forwarded-Proto`, to that. Of a list there (`https, http`) the last counts, so that a proxy behind another must
//! replace it, or pass it on, and not append to it. Host, path and query stay, the port becomes `port`. Requests that
//! no route matches are sent on as well. The redirect goes only to the host that was asked for, and that has to be
//! one: a request with a malformed host gets 400 `bad_request`, and so does one of HTTP/1.0 without any.
//!
//! Paths in `except` are compared with the path in its normal form, segment by segment and without the parameters
//! behind a `;`, just as those of routes are: `/ok` holds `/ok;a=b/c`, and not `/okay`.
//!
//! Browsers follow no redirect of a preflight: pages that call an API must use its `https` address from the start.

use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode, Uri};
use pingora::http::RequestHeader;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{BuildScope, Flow, Hooks, OnRequest};
use crate::facts::{Scheme, View, host};
use crate::response::{Code, RedirectStatus, Reply};
use crate::text::{
    Backslashes, EncodedSlashes, InvalidUtf8, ParsedText, PathRefusal, PathRules, normalise_path,
    parsed_text, quoted,
};

const HTTPS: NonZeroU16 = NonZeroU16::new(443).expect("it is not zero");

/// Sends who comes by `http` to the same address by `https`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// 301, 302, 303, 307 or 308. Default 308: permanent, and the method stays.
    pub status: RedirectStatus,
    /// The port that clients reach `https` at. Default: 443.
    pub port: Option<NonZeroU16>,
    /// Paths that are served by `http` as well, each with everything below it. Default: none; clients of ACME need
    /// `/.well-known/acme-challenge/`.
    pub except: Vec<ExemptPath>,
}

/// A path with everything below it, without the slash at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemptPath(Box<str>);

/// Why a text is no path that a request's could equal.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPath {
    #[error("must be a path such as \"/.well-known/acme-challenge/\", got {}", quoted(.0))]
    Malformed(Box<str>),
    #[error("must be a path without parameters, which are never compared, got {}\nleave out `;` and what follows it in the segment", quoted(.0))]
    Parameters(Box<str>),
    #[error("must be a path in its normal form, or no request's could equal it, got {}\nwrite {:?}", quoted(.got), .normal)]
    NotNormal { got: Box<str>, normal: Box<str> },
    #[error("must be a path that a request may have, got {}: {refusal}", quoted(.got))]
    Refused { got: Box<str>, refusal: PathRefusal },
}

/// Whatever a listener may let in.
const LENIENT: PathRules = PathRules {
    encoded_slashes: EncodedSlashes::Keep,
    backslashes: Backslashes::Keep,
    merge_slashes: true,
    invalid_utf8: InvalidUtf8::Keep,
};

impl FromStr for ExemptPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<ExemptPath, InvalidPath> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#*{}\\".contains(&byte);
        let is_good = path.starts_with('/') && path.bytes().all(is_plain);
        let got = || text.into();
        if !is_good {
            return Err(InvalidPath::Malformed(got()));
        }
        if path.contains(';') {
            return Err(InvalidPath::Parameters(got()));
        }
        match normalise_path(text, &LENIENT) {
            Ok(None) => Ok(ExemptPath(path.into())),
            Ok(Some(normal)) => {
                let (got, normal) = (got(), normal.into());
                Err(InvalidPath::NotNormal { got, normal })
            }
            Err(refusal) => Err(InvalidPath::Refused {
                got: got(),
                refusal,
            }),
        }
    }
}

impl ParsedText for ExemptPath {
    const EXPECTED: &'static str = "a path such as \"/.well-known/acme-challenge/\"";
}

parsed_text!(
    ExemptPath,
    "string",
    "^/",
    "A path; everything below it is meant as well."
);

impl ExemptPath {
    /// Parameters, from the first `;` of a segment on, decide nothing, as with routes.
    fn holds(&self, path: &str) -> bool {
        let name = |segment| str::split_once(segment, ';').map_or(segment, |(name, _)| name);
        let mut given = path.split('/').map(name);
        self.0.split('/').all(|wanted| given.next() == Some(wanted))
    }
}

/// Redirects.
#[derive(Debug)]
pub struct Policy {
    status: StatusCode,
    /// `:8443`, or nothing for the port that needs no mention.
    port: Box<str>,
    except: Box<[ExemptPath]>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "https_redirect";
    type Config = Config;

    fn build(config: &Config, _: &mut BuildScope<'_>) -> Option<Policy> {
        Some(Policy {
            status: config.status.code(),
            port: match config.port {
                None | Some(HTTPS) => "".into(),
                Some(port) => format!(":{port}").into(),
            },
            except: config.except.clone().into(),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_request(self.clone());
    }
}

impl OnRequest for Policy {
    fn on_request(&self, view: View<'_>) -> Flow {
        let path = view.request.uri.path();
        let is_exempt = || self.except.iter().any(|exempt| exempt.holds(path));
        if view.facts.scheme == Scheme::Https || is_exempt() {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(match self.location(view.request) {
            Some(location) => Reply::content(self.status, vec![(LOCATION, location)], Bytes::new()),
            None => Reply::failure(Code::BadRequest),
        })
    }
}

impl Policy {
    fn location(&self, request: &RequestHeader) -> Option<HeaderValue> {
        let host = without_port(host(request)?)?;
        let target = target(&request.uri);
        let location = ["https://", host, &self.port, target].concat();
        HeaderValue::try_from(location).ok()
    }
}

/// The path and the query; `/` for the `*` of `OPTIONS`, which is no place to go to.
fn target(uri: &Uri) -> &str {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if target.starts_with('/') { target } else { "/" }
}

/// The host of an authority, if it is one: a browser must not read anything else into the location.
fn without_port(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_host = match host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_allowed),
    };
    let is_good = is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    is_good.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_is_a_host() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(without_port(text), expected, "{text}");
        check("shop.example", Some("shop.example"));
        check("shop.example:8080", Some("shop.example"));
        check("shop.example:", Some("shop.example"));
        check("192.0.2.1:80", Some("192.0.2.1"));
        check("[2001:db8::1]:8080", Some("[2001:db8::1]"));
        check("[2001:db8::1]", Some("[2001:db8::1]"));
        for bad in [
            "",
            ":80",
            "[::1",
            "[x]",
            "[]",
            "[::1]x",
            "a:b",
            "a:123456",
            "a:80:90",
            "user@a",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a b",
            "2001:db8::1",
            "ä.example",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn exempt_paths_are_whole_segments() {
        let check = |exempt: &str, path: &str, expected: bool| {
            let exempt: ExemptPath = exempt.parse().expect("a path");
            assert_eq!(exempt.holds(path), expected, "{path}");
        };
        for exempt in ["/a/b", "/a/b/"] {
            check(exempt, "/a/b", true);
            check(exempt, "/a/b/", true);
            check(exempt, "/a/b/c", true);
            check(exempt, "/a/bc", false);
            check(exempt, "/a", false);
            check(exempt, "/A/b", false);
            check(exempt, "/a;x=y/b;z/c", true);
            check(exempt, "/a;x/bc", false);
            check(exempt, "/a;/b", true);
            check(exempt, "/;/a/b", false);
            check(exempt, "*", false);
        }
        check("/caf%C3%A9", "/caf%C3%A9/x", true);
        for bad in [
            "", "/", "a", "/a?b", "/a/*", "/{x}", "/a b", "/a/../b", "/a/.", "//d", "/d//", "/x;y",
            "/c%61", "/c%c3%a9", "/%", "/%00",
        ] {
            assert!(bad.parse::<ExemptPath>().is_err(), "{bad}");
        }
    }
}
