//! What the server says of a token (RFC 7662 section 2.2).

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::identity::json::parse_object;

/// What must be true of a token beyond that it is active.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub issuer: Option<Box<str>>,
    /// One of these has to be among the token's; none is required where there are none.
    pub audiences: Box<[Box<str>]>,
}

/// A token of which the server says that it is good, or why it is not to be believed.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Active {
        claims: Map<String, Value>,
        /// Unix seconds.
        expires: Option<u64>,
    },
    Refused(Cow<'static, str>),
}

/// Reads an answer. An error is one that says nothing of the token: then the server is as good as down.
pub fn read(
    answer: &Response<impl AsRef<[u8]>>,
    expected: &Expected,
    now: u64,
) -> Result<Said, String> {
    if answer.status() != StatusCode::OK {
        return Err(format!("it answered {}", answer.status()));
    }
    let kind = answer.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| is_json(kind.as_bytes())) {
        return Err("it answered something else than application/json".into());
    }
    let mut claims = parse_object(answer.body().as_ref()).map_err(|error| error.to_string())?;
    match claims.remove("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return refused("the server says that it is not active"),
        _ => return Err("its answer does not say whether the token is active".into()),
    }
    let expires = time(&claims, "exp")?;
    if expires.is_some_and(|expires| expires <= now) {
        return refused("it has expired");
    }
    if time(&claims, "nbf")?.is_some_and(|begins| begins > now) {
        return refused("it is not good yet");
    }
    if let Some(issuer) = &expected.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return refused("`iss` is not the issuer that is expected");
    }
    if !expected.audiences.is_empty() && !is_for(&claims, &expected.audiences) {
        return refused("`aud` names nobody that is expected");
    }
    if claims.contains_key("cnf") {
        // RFC 9449 section 7, RFC 8705 section 3: it is good only for the one who has the key.
        return refused("it is bound to a key, and that is not verified here");
    }
    Ok(Said::Active { claims, expires })
}

fn refused(cause: &'static str) -> Result<Said, String> {
    Ok(Said::Refused(cause.into()))
}

fn is_json(kind: &[u8]) -> bool {
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
}

/// A time that is not one cannot be kept, and must not be taken for none.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let seconds = number.as_u64().or_else(|| {
                let seconds = number.as_f64()?;
                (0.0..9e15).contains(&seconds).then_some(seconds as u64)
            });
            let seconds =
                seconds.ok_or_else(|| format!("its answer has an impossible `{name}`"))?;
            Ok(Some(seconds))
        }
        Some(_) => Err(format!("its answer has a `{name}` that is no number")),
    }
}

fn is_for(claims: &Map<String, Value>, audiences: &[Box<str>]) -> bool {
    let is_one = |one: &Value| {
        let one = one.as_str();
        one.is_some_and(|one| audiences.iter().any(|it| **it == *one))
    };
    match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_one),
        Some(one) => is_one(one),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Result<Said, String> {
        let answer = Response::builder().header(CONTENT_TYPE, "application/json; charset=utf-8");
        let answer = answer.body(body.as_bytes().to_vec()).expect("an answer");
        let expected = Expected {
            issuer: Some("https://id.test".into()),
            audiences: ["shop".into(), "desk".into()].into(),
        };
        read(&answer, &expected, 1000)
    }

    #[test]
    fn active_is_who_is_said_to_be_and_fits() {
        let check = |more: &str, expected: Option<u64>| {
            let body = format!(r#"{{"active":true,"iss":"https://id.test",{more}}}"#);
            match said(&body) {
                Ok(Said::Active { claims, expires }) => {
                    assert_eq!(expires, expected);
                    assert!(!claims.contains_key("active"));
                }
                other => panic!("{body}: {other:?}"),
            }
        };
        check(r#""aud":"shop","sub":"a""#, None);
        check(r#""aud":["x","desk"],"exp":1001"#, Some(1001));
        check(r#""aud":"shop","exp":1001.7,"nbf":1000"#, Some(1001));
    }

    #[test]
    fn all_else_is_refused() {
        let good = r#""active":true,"iss":"https://id.test","aud":"shop""#;
        for body in [
            r#"{"active":false}"#.to_owned(),
            format!(r#"{{{good},"exp":1000}}"#),
            format!(r#"{{{good},"exp":0}}"#),
            format!(r#"{{{good},"nbf":1001}}"#),
            format!(r#"{{{good},"cnf":{{"jkt":"x"}}}}"#),
            r#"{"active":true,"aud":"shop"}"#.to_owned(),
            r#"{"active":true,"iss":"https://id.test/","aud":"shop"}"#.to_owned(),
            r#"{"active":true,"iss":"https://id.test"}"#.to_owned(),
            r#"{"active":true,"iss":"https://id.test","aud":["x"]}"#.to_owned(),
            r#"{"active":true,"iss":"https://id.test","aud":{"shop":1}}"#.to_owned(),
        ] {
            assert!(matches!(said(&body), Ok(Said::Refused(_))), "{body}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_answer() {
        for body in [
            "",
            "true",
            "{}",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":true,"active":true}"#,
            r#"{"active":true,"exp":"2000"}"#,
            r#"{"active":true,"exp":-1}"#,
            r#"{"active":true,"nbf":[]}"#,
            r#"{"active":true} x"#,
        ] {
            assert!(said(body).is_err(), "{body}");
        }
        let read = |status: u16, kind: Option<&str>| {
            let mut answer = Response::builder().status(status);
            if let Some(kind) = kind {
                answer = answer.header(CONTENT_TYPE, kind);
            }
            let answer = answer.body(br#"{"active":true}"#).expect("an answer");
            super::read(&answer, &Expected::default(), 0).is_ok()
        };
        assert!(read(200, Some("application/json")));
        assert!(read(200, Some("Application/JSON;charset=x")));
        assert!(!read(200, Some("text/html")));
        assert!(!read(200, Some("application/jsonx")));
        assert!(!read(200, None));
        for status in [201, 204, 302, 400, 401, 403, 404, 429, 500, 503] {
            assert!(!read(status, Some("application/json")), "{status}");
        }
    }
}
