//! Who is counted: `by = ["consumer", "header:x-tenant"]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderName;
use http::header::COOKIE;

use crate::facts::{Variables, View};
use crate::identity::Identity;
use crate::limits::{Key, KeyHasher};
use crate::text::{ParsedText, Spanned, Subject, parsed_text, quoted};

/// One thing that tells callers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The consumer; a caller that is none, by its provider and subject; a stranger, by its address.
    Consumer,
    /// What was shown to prove who calls; without a name for it as [`By::Consumer`].
    Credential,
    /// The client's address, of IPv6 the first 64 bits.
    Client,
    Claim(Box<str>),
    Header(HeaderName),
    Cookie(Box<str>),
    /// A parameter of the route's path.
    Path(Box<str>),
}

/// What nobody is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be consumer, credential, client, claim:NAME, header:NAME, cookie:NAME or path:NAME, got {}", quoted(.0))]
pub struct Unknown(Box<str>);

impl FromStr for By {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<By, Unknown> {
        let wrong = || Unknown(text.into());
        let named = text.split_once(':').filter(|(_, name)| !name.is_empty());
        match (text, named) {
            ("consumer", _) => Ok(By::Consumer),
            ("credential", _) => Ok(By::Credential),
            ("client", _) => Ok(By::Client),
            (_, Some(("claim", name))) => Ok(By::Claim(name.into())),
            (_, Some(("header", name))) => name.parse().map(By::Header).map_err(|_| wrong()),
            (_, Some(("cookie", name))) => Ok(By::Cookie(name.into())),
            (_, Some(("path", name))) => Ok(By::Path(name.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Consumer => f.write_str("consumer"),
            By::Credential => f.write_str("credential"),
            By::Client => f.write_str("client"),
            By::Claim(name) => write!(f, "claim:{name}"),
            By::Header(name) => write!(f, "header:{name}"),
            By::Cookie(name) => write!(f, "cookie:{name}"),
            By::Path(name) => write!(f, "path:{name}"),
        }
    }
}

impl ParsedText for By {
    const EXPECTED: &'static str = "what is counted by, such as \"consumer\"";
}

parsed_text!(
    By,
    "string",
    r"^(consumer|credential|client|(claim|header|cookie|path):.+)$",
    "What tells callers apart: \"consumer\", \"credential\", \"client\" (the address), \"claim:NAME\", \"header:NAME\", \"cookie:NAME\" or \"path:NAME\"."
);

/// Who is counted, compiled. What a request lacks is a value as well: all that lack it are counted together.
#[derive(Clone, Debug)]
pub struct Counted {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug)]
enum Part {
    Consumer,
    Credential,
    Client,
    Claim(Box<str>),
    Header(HeaderName),
    Cookie(Box<str>),
    Path(usize),
}

impl Counted {
    /// `None` after diagnostics.
    pub fn build(
        by: &[Spanned<By>],
        variables: Variables<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Counted> {
        let before = subject.error_count();
        let mut parts = Vec::with_capacity(by.len());
        for (index, one) in by.iter().enumerate() {
            parts.push(match &one.value {
                By::Consumer => Part::Consumer,
                By::Credential => Part::Credential,
                By::Client => Part::Client,
                By::Claim(name) => Part::Claim(name.clone()),
                By::Header(name) => Part::Header(name.clone()),
                By::Cookie(name) => Part::Cookie(name.clone()),
                By::Path(name) => match parameter(name, variables) {
                    Ok(place) => Part::Path(place),
                    Err(problem) => {
                        subject.index(index).error(one.span, problem);
                        continue;
                    }
                },
            });
        }
        (subject.error_count() == before).then(|| Counted {
            parts: parts.into(),
        })
    }

    /// Costs a hash of the values, and no allocation but for a claim that is no string.
    pub fn key(&self, view: View<'_>) -> Key {
        let mut key = Key::hasher();
        for part in &self.parts {
            part.add(&mut key, view);
        }
        key.finish()
    }
}

impl Part {
    fn add(&self, key: &mut KeyHasher, view: View<'_>) {
        let identity = view.facts.identity.as_deref();
        match self {
            Part::Consumer => add_caller(key, identity, view.facts.client),
            Part::Credential => match identity.and_then(|it| Some((it, it.credential.as_deref()?)))
            {
                Some((identity, credential)) => {
                    key.part(b"credential");
                    key.part(identity.provider.as_bytes());
                    key.part(credential.as_bytes());
                }
                None => add_caller(key, identity, view.facts.client),
            },
            Part::Client => add_client(key, view.facts.client),
            Part::Claim(name) => match identity.and_then(|it| it.text(name)) {
                Some(value) => key.part(value.as_bytes()),
                None => key.absent(),
            },
            Part::Header(name) => match view.request.headers.get(name) {
                Some(value) => key.part(value.as_bytes()),
                None => key.absent(),
            },
            Part::Cookie(name) => match cookie(view, name) {
                Some(value) => key.part(value),
                None => key.absent(),
            },
            Part::Path(place) => {
                let range = view.facts.captures.get(*place);
                let range = range.map(|(start, end)| *start as usize..*end as usize);
                match range.and_then(|range| view.request.uri.path().get(range)) {
                    Some(value) => key.part(value.as_bytes()),
                    None => key.absent(),
                }
            }
        }
    }
}

fn add_caller(key: &mut KeyHasher, identity: Option<&Identity>, client: IpAddr) {
    match identity {
        Some(identity) => match &identity.consumer {
            Some(consumer) => {
                key.part(b"consumer");
                key.part(consumer.name.as_bytes());
            }
            None => {
                key.part(b"subject");
                key.part(identity.provider.as_bytes());
                key.part(identity.subject.as_bytes());
            }
        },
        None => add_client(key, client),
    }
}

/// Of IPv6 the first 64 bits: what a subscriber is given (RFC 6177) is at least as much, and all of it is one caller.
fn add_client(key: &mut KeyHasher, client: IpAddr) {
    key.part(b"client");
    match client.to_canonical() {
        IpAddr::V4(address) => key.part(&address.octets()),
        IpAddr::V6(address) => key.part(&address.octets()[..8]),
    }
}

/// The value of the first cookie of this name.
fn cookie<'r>(view: View<'r>, name: &str) -> Option<&'r [u8]> {
    let values = view.request.headers.get_all(COOKIE).iter();
    let mut pairs = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    pairs.find_map(|pair| {
        pair.trim_ascii()
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")
    })
}

/// Which of the captures a parameter of the path is.
fn parameter(name: &str, variables: Variables<'_>) -> Result<usize, String> {
    match variables {
        Variables::Shared => Err(format!(
            "can count by path:{name} only where the route is known, not in a policy that routes inherit"
        )),
        Variables::Route(names) | Variables::Target(names) => {
            let place = names.iter().position(|it| **it == *name);
            place.ok_or_else(|| {
                format!(
                    "needs a parameter {name:?} in the route's path, which has none of that name"
                )
            })
        }
    }
}
