//! Verifying the signature of one request (RFC 9421 section 3.2).

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderMap, HeaderName};

use super::component::{Component, Form, Message, Wrong, joined, signature_base};
use super::digest::{CONTENT_DIGEST, Digests, announces_body, is_verified};
use super::key::Key;
use super::replay::Mark;
use crate::text::structured::{Bare, Dictionary, InnerList, Member, Twice, dictionary};

pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// More than one signature is for others than the gateway, and each costs time.
const MOST_SIGNATURES: usize = 8;

/// What a signature must be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub required: Box<[Component]>,
    pub is_digest_required: bool,
    pub tag: Option<Box<str>>,
    /// For how many seconds from `created` on it is good.
    pub max_age: i64,
    /// By how many seconds the clocks may differ.
    pub skew: i64,
}

impl Rules {
    /// For how long a signature can be shown: from when its signer's clock is ahead as far as it may be, up to the end
    /// of the last second.
    pub fn longest(&self) -> Duration {
        Duration::from_secs((self.max_age + 2 * self.skew + 1).unsigned_abs())
    }
}

/// A signature that is good, as long as it is shown for the first time.
#[derive(Debug)]
pub struct Verified<'k, K> {
    pub key: &'k K,
    pub mark: Mark,
}

/// What `created`, `keyid` and the others say (section 2.3).
#[derive(Debug, Default)]
struct Parameters<'a> {
    created: Option<i64>,
    expires: Option<i64>,
    nonce: Option<&'a str>,
    algorithm: Option<&'a str>,
    key: Option<&'a str>,
    tag: Option<&'a str>,
}

/// Verifies the one signature that is made with a key that `find` knows. `None` is a request without signatures.
/// `now` is in Unix seconds.
pub fn verify<'k, K: AsRef<Key>>(
    message: &Message<'_>,
    rules: &Rules,
    now: i64,
    find: impl Fn(&str) -> Option<&'k K>,
) -> Result<Option<Verified<'k, K>>, Wrong> {
    let headers = message.headers;
    if !headers.contains_key(SIGNATURE) && !headers.contains_key(SIGNATURE_INPUT) {
        return Ok(None);
    }
    let inputs = joined(headers, &SIGNATURE_INPUT)?;
    let values = joined(headers, &SIGNATURE)?;
    let inputs = dictionary(&inputs, Twice::Refused)
        .map_err(|wrong| format!("signature-input: {}", wrong.0))?;
    let values =
        dictionary(&values, Twice::Refused).map_err(|wrong| format!("signature: {}", wrong.0))?;
    let ours = choose(&inputs, &values, rules, find)?;
    if let Some(named) = ours.parameters.algorithm
        && named != ours.key.as_ref().algorithm()
    {
        return Err(format!("the key is not one of {named:?}"));
    }
    check_times(&ours.parameters, rules, now)?;
    let (base, covered) = signature_base(message, ours.input)?;
    check_coverage(&covered, rules, headers)?;
    if !ours.key.as_ref().verifies(base.as_bytes(), ours.signature) {
        return Err("the signature is not that of this request".into());
    }
    Ok(Some(Verified {
        key: ours.key,
        mark: mark(&ours.parameters, &base),
    }))
}

/// A signature with a key of ours.
struct Ours<'a, 'k, K> {
    input: &'a InnerList<'a>,
    signature: &'a [u8],
    parameters: Parameters<'a>,
    key: &'k K,
}

/// Of several signatures there must be exactly one that is meant for this gateway: with the tag that is asked for,
/// and with a key that is known.
fn choose<'a, 'k, K>(
    inputs: &'a Dictionary<'a>,
    values: &'a Dictionary<'a>,
    rules: &Rules,
    find: impl Fn(&str) -> Option<&'k K>,
) -> Result<Ours<'a, 'k, K>, Wrong> {
    if inputs.len() != values.len() || inputs.len() > MOST_SIGNATURES {
        return Err("the signatures do not fit their inputs, or are too many".into());
    }
    let mut chosen = None;
    for (label, input) in inputs {
        let value = values.iter().find(|(other, _)| other == label);
        let (_, value) = value.ok_or_else(|| format!("there is no signature {label:?}"))?;
        let (Member::List(input), Member::Item(value)) = (input, value) else {
            return Err(format!("{label:?} is no signature"));
        };
        let (Bare::Bytes(signature), []) = (&value.value, &value.parameters[..]) else {
            return Err(format!("the signature {label:?} is not bytes alone"));
        };
        let parameters = Parameters::of(input)?;
        if rules.tag.is_some() && rules.tag.as_deref() != parameters.tag {
            continue;
        }
        let Some(key) = parameters.key.and_then(&find) else {
            continue;
        };
        let ours = Ours {
            input,
            signature,
            parameters,
            key,
        };
        if chosen.replace(ours).is_some() {
            return Err("more than one signature is with a key that is known".into());
        }
    }
    chosen.ok_or_else(|| "no signature is with a key that is known, and the right tag".into())
}

impl<'a> Parameters<'a> {
    fn of(input: &'a InnerList<'a>) -> Result<Parameters<'a>, Wrong> {
        let mut all = Parameters::default();
        for (name, value) in &input.parameters {
            match (*name, value) {
                ("created", Bare::Integer(seconds)) => all.created = Some(*seconds),
                ("expires", Bare::Integer(seconds)) => all.expires = Some(*seconds),
                ("nonce", Bare::String(text)) => all.nonce = Some(text),
                ("alg", Bare::String(text)) => all.algorithm = Some(text),
                ("keyid", Bare::String(text)) => all.key = Some(text),
                ("tag", Bare::String(text)) => all.tag = Some(text),
                _ => return Err(format!("the parameter `{name}` is not known, or malformed")),
            }
        }
        Ok(all)
    }
}

fn check_times(parameters: &Parameters<'_>, rules: &Rules, now: i64) -> Result<(), Wrong> {
    let created = parameters
        .created
        .ok_or("it does not say when it was created")?;
    if created > now + rules.skew {
        return Err(format!("it was created {} s from now", created - now));
    }
    let mut expires = created + rules.max_age + rules.skew;
    if let Some(said) = parameters.expires {
        expires = expires.min(said.saturating_add(rules.skew));
    }
    match now > expires {
        true => Err(format!(
            "it has expired; it was created {} s ago",
            now - created
        )),
        false => Ok(()),
    }
}

fn check_coverage(covered: &[Component], rules: &Rules, headers: &HeaderMap) -> Result<(), Wrong> {
    let is_covered = |required: &Component| covered.iter().any(|it| it.covers(required));
    if let Some(missing) = rules.required.iter().find(|it| !is_covered(it)) {
        return Err(format!("it does not cover {}", missing.name()));
    }
    // A digest that nobody has signed says nothing of a body that somebody has changed.
    let is_needed = announces_body(headers) || headers.contains_key(CONTENT_DIGEST);
    if !rules.is_digest_required || !is_needed {
        return Ok(());
    }
    if !covered.iter().any(covers_digest) {
        return Err("it does not cover the digest of the body".into());
    }
    match Digests::of(headers)? {
        Some(_) => Ok(()),
        None => Err("the digest of the body is of no kind that is verified".into()),
    }
}

fn covers_digest(component: &Component) -> bool {
    match component {
        Component::Field(name, Form::Key(key)) => *name == CONTENT_DIGEST && is_verified(key),
        Component::Field(name, _) => *name == CONTENT_DIGEST,
        _ => false,
    }
}

/// What must not be shown twice: the nonce of a key, or where there is none the signed request itself. Not the bytes
/// of the signature: whoever has one of ECDSA can make another of it that is good.
fn mark(parameters: &Parameters<'_>, base: &str) -> Mark {
    let key = parameters.key.unwrap_or_default();
    let mut context = Context::new(&SHA256);
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key.as_bytes());
    match parameters.nonce {
        Some(nonce) => {
            context.update(b"n");
            context.update(nonce.as_bytes());
        }
        None => {
            context.update(b"b");
            context.update(base.as_bytes());
        }
    }
    let hash = context.finish();
    let mut mark = Mark::default();
    for (to, from) in mark.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    mark
}

#[cfg(test)]
mod tests;
