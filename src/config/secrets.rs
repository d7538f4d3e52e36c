//! Keeping secrets out of what is shown of a configuration.
//!
//! Nothing says of a value that it is a secret, so these are hidden:
//!
//! - every literal value under a key with [`SECRET_WORDS`] in it, such as `clientSecret`, `x-apitoken` or `auth`;
//! - every literal value of a header that is set or added, but for [`HARMLESS_HEADERS`] and for what is made of
//!   placeholders alone;
//! - name and password of a URL, and the values of its query and fragment.
//!
//! What says where a secret is, such as `{ file = "…" }`, is shown. So are other values, whatever they are: what a
//! header or a parameter of a query has to be to match, the path of a URL and the body of a response, unless a key
//! sounds like a secret.

use serde_json::Value;

/// What is shown instead.
const MASK: &str = "***";

/// What keys have in them under which people write what nobody else may read: names of headers, of query parameters
/// and of options. Where a word is too many, a value is hidden that could have been shown.
const SECRET_WORDS: [&str; 14] = [
    "assertion",
    "auth",
    "bearer",
    "cookie",
    "credential",
    "jwt",
    "key",
    "passphrase",
    "passw",
    "psk",
    "secret",
    "session",
    "signature",
    "token",
];

/// As whole words alone: `signal`, `bypass`.
const WHOLE_WORDS: [&str; 4] = ["pass", "private", "pwd", "sig"];

/// Keys that only sound like it.
const INNOCENT: [&str; 3] = ["authorities", "authority", "client_auth"];

/// Kinds of authenticators and their policies, below `identity` and `policies`: names, which only sound like it, too.
const KINDS: [&str; 2] = ["api_key", "jwt"];

/// Headers that say nothing in confidence.
const HARMLESS_HEADERS: [&str; 36] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-security-policy",
    "content-type",
    "expires",
    "host",
    "link",
    "location",
    "permissions-policy",
    "pragma",
    "referrer-policy",
    "retry-after",
    "server",
    "strict-transport-security",
    "user-agent",
    "vary",
    "via",
    "x-content-type-options",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-frame-options",
    "x-robots-tag",
];

/// The ways of saying where a secret is; that is no secret itself.
const REFERENCES: [&str; 3] = ["file", "env", "credential"];

/// What stands at a place of a configuration.
#[derive(Clone, Copy)]
enum Within {
    Options,
    /// `identity` or `policies`: options by the names of kinds.
    Kinds,
    /// `request_headers` or `response_headers`.
    Edits,
    /// `respond`.
    Response,
    /// Names of headers, and their values.
    Headers,
    /// The value of a header.
    Header,
    Secret,
}

impl Within {
    fn below(self, key: &str) -> Within {
        let is_kind = matches!(self, Within::Kinds) && KINDS.contains(&key);
        if is_secret(key) && !is_kind {
            return Within::Secret;
        }
        match (self, key) {
            (Within::Secret, _) => Within::Secret,
            (Within::Headers, name) if !is_harmless(name) => Within::Header,
            (Within::Edits, "set" | "add") | (Within::Response, "headers") => Within::Headers,
            (Within::Options, "identity" | "policies") => Within::Kinds,
            (Within::Options | Within::Kinds, "request_headers" | "response_headers") => {
                Within::Edits
            }
            (Within::Options, "respond") => Within::Response,
            (Within::Header, _) => Within::Header,
            _ => Within::Options,
        }
    }
}

/// The value under these keys, without what may be a secret.
pub(super) fn mask(path: &[&str], value: &Value) -> Value {
    let within = path
        .iter()
        .fold(Within::Options, |within, key| within.below(key));
    masked(value, within)
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let mut words = key.split(|c: char| !c.is_ascii_alphanumeric());
    !INNOCENT.contains(&&*key)
        && (SECRET_WORDS.iter().any(|secret| key.contains(secret))
            || words.any(|word| WHOLE_WORDS.contains(&word)))
}

fn is_harmless(header: &str) -> bool {
    let mut harmless = HARMLESS_HEADERS.iter();
    harmless.any(|name| header.eq_ignore_ascii_case(name))
}

/// The depth of the tree is bounded by `text`.
fn masked(value: &Value, within: Within) -> Value {
    match (value, within) {
        (Value::Object(entries), Within::Secret) if is_reference(value) => {
            Value::Object(entries.clone())
        }
        (Value::Object(entries), _) => entries
            .iter()
            .map(|(key, value)| (key.clone(), masked(value, within.below(key))))
            .collect(),
        (Value::Array(elements), _) => elements
            .iter()
            .map(|element| masked(element, within))
            .collect(),
        (Value::String(text), Within::Header) if is_computed(text) => value.clone(),
        (Value::String(_) | Value::Number(_), Within::Header | Within::Secret) => MASK.into(),
        (Value::String(text), _) => without_query(&without_password(text)).into(),
        (other, _) => other.clone(),
    }
}

fn is_reference(value: &Value) -> bool {
    let entries = value.as_object().filter(|entries| entries.len() == 1);
    let key = entries.and_then(|entries| entries.keys().next());
    key.is_some_and(|key| REFERENCES.contains(&key.as_str()))
}

/// Whether there is nothing but placeholders such as `{path.id}`, and what stands between them.
fn is_computed(text: &str) -> bool {
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return false;
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if literal.contains(char::is_alphanumeric) || !name.chars().all(is_name) {
            return false;
        }
        rest = after;
    }
    !rest.contains(char::is_alphanumeric)
}

/// Each `https://name:password@host` without name and password.
fn without_password(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let ends = |c: char| "/?#".contains(c) || c.is_whitespace();
        let (authority, path) = after.split_at(after.find(ends).unwrap_or(after.len()));
        shown.extend([before, "://"]);
        match authority.rsplit_once('@') {
            Some((_, host)) => shown.extend([MASK, "@", host]),
            None => shown.push_str(authority),
        }
        rest = path;
    }
    shown + rest
}

/// `/path?name=value#name=value` without the values that are not computed.
fn without_query(text: &str) -> String {
    let (path, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let mut shown = path.to_owned();
    let delimits = |c: char| "?&;#".contains(c) || c.is_whitespace();
    for part in query.split_inclusive(delimits) {
        let (pair, end) = part.split_at(part.find(delimits).unwrap_or(part.len()));
        match pair.split_once('=') {
            Some((name, value)) if !is_computed(value) => shown.extend([name, "=", MASK]),
            _ => shown.push_str(pair),
        }
        shown.push_str(end);
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, value: Value, expected: Value) {
        let path: Vec<&str> = path.split(' ').collect();
        assert_eq!(mask(&path, &value), expected, "{path:?}");
    }

    #[test]
    fn what_is_under_a_key_that_sounds_secret() {
        for path in [
            "token",
            "set Authorization",
            "headers x-api-key",
            "headers X-Auth",
            "api_keys",
            "passwords",
            "consumers acme api_keys",
            "consumers acme passwords",
            "identity jwt main keys inline",
            "identity jwt main secret",
            "jwt policies",
            "set api_key",
            "query access_token",
            "PASSWORD",
            "match headers cookie exact",
            "set-cookie",
            "db_passwd",
            "db-pass",
            "x-session-id",
            "x-amz-signature",
            "sig",
            "auth",
            "jwt",
            "bearer",
            "psk",
            "clientSecret",
            "accessToken",
            "x-apitoken",
            "sharedkey",
            "client_auth_token",
            "key file",
        ] {
            check(path, json!("abc"), json!("***"));
            check(path, json!([1, "b", true]), json!(["***", "***", true]));
            check(path, json!({ "exact": "b" }), json!({ "exact": "***" }));
            check(path, json!({ "file": "b.pem" }), json!({ "file": "b.pem" }));
        }
        for path in [
            "timeouts keepalive",
            "match path",
            "bind",
            "signal",
            "bypass",
            "tls client_auth ca",
            "match authority",
        ] {
            check(path, json!("abc"), json!("abc"));
        }
        check(
            "tls",
            json!({ "cert": "a", "key": { "file": "k" }, "pass": "x" }),
            json!({ "cert": "a", "key": { "file": "k" }, "pass": "***" }),
        );
    }

    #[test]
    fn kinds_of_authenticators_are_no_secrets() {
        for path in [
            "identity jwt main issuer",
            "identity api_key main header",
            "policies jwt providers",
            "routes shop policies api_key anonymous",
        ] {
            check(path, json!("abc"), json!("abc"));
        }
    }

    #[test]
    fn values_of_headers() {
        for path in [
            "policies request_headers set x-a",
            "policies response_headers add x-a",
            "policies request_headers set file",
            "respond headers x-a",
        ] {
            for secret in ["abc", "abc {path.id}", "{path.id} abc", "{{abc}}", "{abc"] {
                check(path, json!(secret), json!("***"));
            }
            for computed in ["{path.id}", "{client.ip}, {request.id}", ""] {
                check(path, json!(computed), json!(computed));
            }
        }
        check(
            "policies",
            json!({ "request_headers": {
                "set": { "file": "abc", "Cache-Control": "no-store", "x-token": "{path.id}" },
                "remove": ["x-internal-*"],
            }}),
            json!({ "request_headers": {
                "set": { "file": "***", "Cache-Control": "no-store", "x-token": "***" },
                "remove": ["x-internal-*"],
            }}),
        );
        check("match headers x-a", json!("abc"), json!("abc"));
    }

    #[test]
    fn what_is_secret_in_urls() {
        for (text, expected) in [
            (
                "https://me:pw@example.com/a@b",
                "https://***@example.com/a@b",
            ),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("http://a, redis://:p@b:1", "http://a, redis://***@b:1"),
            (
                "https://u:p@host/?token=a==&b&c=#id=d e=f",
                "https://***@host/?token=***&b&c=#id=*** e=***",
            ),
            ("/to?code=abc&id={path.id}", "/to?code=***&id={path.id}"),
            ("/to?{request.query}", "/to?{request.query}"),
            ("a=b", "a=b"),
        ] {
            check("to", json!(text), json!(expected));
        }
    }
}
