//! What of a request tells one caller, or one thing that is asked for, from another.

use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::View;
use crate::identity::{Identity, text_of};
use crate::limits::KeyParts;

/// One part of a key, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// Who calls: the consumer; a caller that is none, by its provider and subject; a stranger, by its address.
    Caller,
    /// What was shown to prove who calls; without a name for it as [`KeyPart::Caller`].
    Credential,
    /// The client's address, of IPv6 the first 64 bits.
    Client,
    /// The plan that who calls has by name; who has none, or is a stranger, has nothing of it, whatever the default plan.
    Plan,
    Claim(Box<str>),
    Header(HeaderName),
    Cookie(Box<str>),
    /// Which of the route's captures.
    Path(usize),
}

impl KeyPart {
    /// Adds what the request has of it; false where it has nothing, which is another part than an empty one. Costs no
    /// allocation but for a claim that is no text.
    pub fn add(&self, key: &mut impl KeyParts, view: View<'_>) -> bool {
        let identity = view.facts.identity.as_deref();
        match self {
            KeyPart::Caller => add_caller(key, identity, view.facts.client),
            KeyPart::Credential => {
                match identity.and_then(|it| Some((it, it.credential.as_deref()?))) {
                    Some((identity, credential)) => {
                        key.part(b"credential");
                        key.part(identity.provider.as_bytes());
                        key.part(credential.as_bytes());
                    }
                    None => add_caller(key, identity, view.facts.client),
                }
            }
            KeyPart::Client => add_client(key, view.facts.client),
            KeyPart::Plan => match identity.and_then(|it| it.plan.as_deref()) {
                Some(plan) => key.part(plan.as_bytes()),
                None => {
                    key.absent();
                    return false;
                }
            },
            KeyPart::Claim(name) => return add_claim(key, identity, name),
            KeyPart::Header(name) => {
                let lines = view.request.headers.get_all(name).iter();
                return add_all(key, lines.map(HeaderValue::as_bytes));
            }
            KeyPart::Cookie(name) => return add_all(key, cookies(view, name)),
            KeyPart::Path(place) => {
                let range = view.facts.captures.get(*place);
                let range = range.map(|(start, end)| *start as usize..*end as usize);
                match range.and_then(|range| view.request.uri.path().get(range)) {
                    Some(value) => key.part(value.as_bytes()),
                    None => {
                        key.absent();
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// The values of the cookies of this name.
pub fn cookies<'r>(view: View<'r>, name: &str) -> impl Iterator<Item = &'r [u8]> {
    let values = view.request.headers.get_all(COOKIE).iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

fn add_caller(key: &mut impl KeyParts, identity: Option<&Identity>, client: IpAddr) {
    match identity {
        Some(identity) => add_identity(key, identity),
        None => add_client(key, client),
    }
}

fn add_identity(key: &mut impl KeyParts, identity: &Identity) {
    match &identity.consumer {
        Some(consumer) => {
            key.part(b"consumer");
            key.part(consumer.name.as_bytes());
        }
        None => {
            key.part(b"subject");
            key.part(identity.provider.as_bytes());
            key.part(identity.subject.as_bytes());
        }
    }
}

fn add_claim(key: &mut impl KeyParts, identity: Option<&Identity>, name: &str) -> bool {
    let claim = identity.and_then(|identity| identity.claim(name));
    if let Some(Value::String(text)) = claim {
        key.part(text.as_bytes());
        return true;
    }
    let text = claim.and_then(text_of);
    match &text {
        Some(text) => key.part(text.as_bytes()),
        None => key.absent(),
    }
    text.is_some()
}

/// Of IPv6 the first 64 bits: what a subscriber is given (RFC 6177) is at least as much, and all of it is one caller.
fn add_client(key: &mut impl KeyParts, client: IpAddr) {
    key.part(b"client");
    match client.to_canonical() {
        IpAddr::V4(address) => key.part(&address.octets()),
        IpAddr::V6(address) => key.part(&address.octets()[..8]),
    }
}

/// All of the values: which of several an upstream takes is not known, and one before it must not make another caller.
fn add_all<'v>(key: &mut impl KeyParts, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
    match values.next() {
        None => {
            key.absent();
            false
        }
        Some(first) => {
            key.part(first);
            values.for_each(|value| key.part(value));
            true
        }
    }
}
