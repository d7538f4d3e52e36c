//! Keeping secrets out of what is shown of a configuration.

use serde_json::Value;

/// What is shown instead.
const MASK: &str = "***";

/// Parts of keys under which people write what nobody else may read: names of headers, of query parameters and of
/// options. Where a word is too many, a value is hidden that could have been shown.
const SECRET_WORDS: [&str; 13] = [
    "assertion",
    "authorization",
    "cookie",
    "credential",
    "key",
    "pass",
    "private",
    "pwd",
    "secret",
    "session",
    "sig",
    "signature",
    "token",
];

/// The ways of saying where a secret is; that is no secret itself.
const REFERENCES: [&str; 3] = ["file", "env", "credential"];

/// The value under these keys, without what may be a secret: literal values under a key that sounds like one, and
/// passwords in URLs.
pub(super) fn mask(path: &[&str], value: &Value) -> Value {
    masked(value, path.iter().any(|key| is_secret(key)))
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // Words, so that `keepalive` and `keys_of` do not have one: `api_key`, `x-api-key`.
    let mut words = key.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| {
        let singular = word.strip_suffix('s').unwrap_or(word);
        SECRET_WORDS
            .iter()
            .any(|secret| [word, singular].contains(secret))
            || ["apikey", "password", "passwd", "passphrase"].contains(&singular)
    })
}

/// The depth of the tree is bounded by `text`.
fn masked(value: &Value, is_hidden: bool) -> Value {
    match value {
        Value::Object(entries) if is_hidden && is_reference(value) => {
            Value::Object(entries.clone())
        }
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), masked(value, is_hidden || is_secret(key))))
            .collect(),
        Value::Array(elements) => elements
            .iter()
            .map(|element| masked(element, is_hidden))
            .collect(),
        Value::String(_) | Value::Number(_) if is_hidden => MASK.into(),
        Value::String(text) => without_password(text).into(),
        other => other.clone(),
    }
}

fn is_reference(value: &Value) -> bool {
    let entries = value.as_object().filter(|entries| entries.len() == 1);
    let key = entries.and_then(|entries| entries.keys().next());
    key.is_some_and(|key| REFERENCES.contains(&key.as_str()))
}

/// `https://name:password@host` without name and password.
fn without_password(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://{MASK}@{host}{path}"))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked() {
        let check = |path: &str, value: Value, expected: Value| {
            let path: Vec<&str> = path.split(' ').collect();
            assert_eq!(mask(&path, &value), expected, "{path:?}");
        };
        for path in [
            "token",
            "set Authorization",
            "headers x-api-key",
            "api_keys",
            "query access_token",
            "PASSWORD",
            "match headers cookie exact",
            "set-cookie",
            "db_passwd",
            "x-session-id",
            "x-amz-signature",
        ] {
            check(path, json!("abc"), json!("***"));
            check(path, json!([1, "b", true]), json!(["***", "***", true]));
            check(path, json!({ "exact": "b" }), json!({ "exact": "***" }));
            check(path, json!({ "file": "b.pem" }), json!({ "file": "b.pem" }));
        }
        for path in [
            "timeouts keepalive",
            "match path",
            "monkey",
            "bind",
            "signal",
        ] {
            check(path, json!("abc"), json!("abc"));
        }
        check(
            "tls",
            json!({ "cert": "a", "key": { "file": "k" }, "pass": "x" }),
            json!({ "cert": "a", "key": { "file": "k" }, "pass": "***" }),
        );
        check(
            "to",
            json!("https://me:pw@example.com/a@b"),
            json!("https://***@example.com/a@b"),
        );
        check(
            "to",
            json!("https://example.com/a@b"),
            json!("https://example.com/a@b"),
        );
    }
}
