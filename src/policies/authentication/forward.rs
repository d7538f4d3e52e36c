//! What upstreams are told of who calls, in headers.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::is_read;
use crate::identity::{Directory, Identity, TAKES_CREDENTIALS, TAKES_NO_CREDENTIALS};
use crate::text::{ENGINE_OWNED, Headers, Spanned, Subject, is_engine_owned};

/// What is longer is not sent: servers refuse requests for less.
const LONGEST: usize = 8 * 1024;

/// Headers and what each of them says.
pub(in crate::policies) struct Forward {
    headers: Box<[(HeaderName, Box<str>)]>,
}

impl Forward {
    /// `None` after diagnostics.
    pub(super) fn build(
        config: &Headers<Spanned<String>>,
        identity: &Directory,
        subject: &mut Subject<'_>,
    ) -> Option<Forward> {
        let before = subject.error_count();
        let mut headers = Vec::with_capacity(config.len());
        for (name, what) in config.iter() {
            let mut subject = subject.key(name.as_str());
            if is_engine_owned(name) {
                subject.error(name.span, ENGINE_OWNED);
            } else if is_of_the_gateway(name) {
                let what = "is a header that the gateway writes itself";
                subject.error(name.span, what);
            } else if is_read(name, identity) {
                let problem = subject.error(name.span, TAKES_CREDENTIALS);
                problem.help(TAKES_NO_CREDENTIALS);
            }
            if what.is_empty() {
                let problem = subject.error(what.span, "is empty");
                problem.help("write the name of a field or of a claim, such as \"subject\"");
            }
            headers.push(((***name).clone(), what.as_str().into()));
        }
        (subject.error_count() == before).then_some(Forward {
            headers: headers.into(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = HeaderName> {
        self.headers.iter().map(|(name, _)| name.clone())
    }

    /// Nothing that a client has sent by these names is there any more.
    pub(super) fn write(&self, identity: &Identity, headers: &mut HeaderMap) {
        for (name, what) in &self.headers {
            match value(identity, what) {
                Some(value) => headers.insert(name.clone(), value),
                None => headers.remove(name),
            };
        }
    }
}

fn is_of_the_gateway(name: &HeaderName) -> bool {
    let name = name.as_str();
    let known = ["forwarded", "x-request-id", "traceparent", "tracestate"];
    name.starts_with("x-forwarded-") || known.contains(&name)
}

/// A field or a claim as the value of a header; `None` where it has none.
pub(in crate::policies) fn value(identity: &Identity, what: &str) -> Option<HeaderValue> {
    let mut out = BytesMut::with_capacity(64);
    match (what, what.strip_prefix("claims.").unwrap_or(what)) {
        ("scopes", _) => list(identity.scopes.iter().map(|it| Some(&**it)), &mut out),
        ("roles", _) => list(identity.roles.iter().map(|it| Some(&**it)), &mut out),
        ("groups", _) => list(identity.groups.iter().map(|it| Some(&**it)), &mut out),
        (_, claim) => match identity.claim(claim).filter(|_| !is_field(what)) {
            Some(Value::Array(values)) => list(values.iter().map(Value::as_str), &mut out),
            _ => {
                encode(&identity.text(what)?, false, &mut out);
                Some(())
            }
        },
    }?;
    if out.is_empty() || out.len() > LONGEST {
        return None;
    }
    // Visible ASCII and spaces between it.
    HeaderValue::from_maybe_shared(out.freeze()).ok()
}

/// What is no claim whatever claims there are.
fn is_field(what: &str) -> bool {
    let fields = [
        "subject",
        "consumer",
        "credential",
        "authenticator",
        "provider",
        "plan",
    ];
    fields.contains(&what)
}

/// Elements with spaces between them. `None` where one is no text.
fn list<'v>(elements: impl Iterator<Item = Option<&'v str>>, out: &mut BytesMut) -> Option<()> {
    for element in elements {
        if !out.is_empty() {
            out.extend_from_slice(b" ");
        }
        encode(element?, true, out);
    }
    Some(())
}

/// Percent-encodes what could mean something else in a header, or in a list of several, so that nobody can put
/// anything there by what is written in a claim.
fn encode(text: &str, is_element: bool, out: &mut BytesMut) {
    let last = text.len().saturating_sub(1);
    for (index, byte) in text.bytes().enumerate() {
        let is_inner_space = byte == b' ' && !is_element && index != 0 && index != last;
        if (byte.is_ascii_graphic() && byte != b'%') || is_inner_space {
            out.extend_from_slice(&[byte]);
        } else {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded() {
        let claims = serde_json::json!({
            "name": "Zoë Ümläut", "spaced": " a  b ", "lines": "a\r\nx-admin: 1", "half": "50%",
            "level": 7, "admin": true, "list": ["a b", "c"], "numbers": [1, 2], "deep": { "er": ["x"] },
            "object": {}, "none": null, "empty": "", "nothing": [], "long": "x".repeat(9000),
            "subject": "claimed", "roles": ["claimed"],
        });
        let words = |words: &[&str]| words.iter().map(|word| Box::from(*word)).collect();
        let identity = Identity {
            subject: "u1".into(),
            scopes: words(&["r", "w x"]),
            roles: words(&["p"]),
            claims: claims.as_object().unwrap().clone(),
            ..Identity::default()
        };
        let check = |what: &str, expected: Option<&str>| {
            let value = value(&identity, what);
            let value = value.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(value, expected, "{what}");
        };
        check("subject", Some("u1"));
        check("claims.subject", Some("claimed"));
        check("scopes", Some("r w%20x"));
        check("roles", Some("p"));
        check("claims.roles", Some("claimed"));
        check("groups", None);
        check("name", Some("Zo%C3%AB %C3%9Cml%C3%A4ut"));
        check("spaced", Some("%20a  b%20"));
        check("lines", Some("a%0D%0Ax-admin: 1"));
        check("half", Some("50%25"));
        check("level", Some("7"));
        check("admin", Some("true"));
        check("list", Some("a%20b c"));
        check("numbers", None);
        check("deep.er", Some("x"));
        check("object", None);
        check("none", None);
        check("empty", None);
        check("nothing", None);
        check("long", None);
        check("absent", None);
        check("plan", None);
    }
}
