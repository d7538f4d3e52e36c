//! What a client gets of its calls: one JSON document.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::aggregation::json;
use crate::response::{Code, Dialect, Reply};
use crate::text::is_engine_owned;

/// Within the document, so that whoever reads the whole has no trouble with one call.
const DEEPEST: usize = 64;

/// What one call has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The document as it grows.
pub(super) struct Document {
    text: String,
    most: usize,
    cookies: Vec<HeaderValue>,
}

impl Answer {
    /// What a client would have got for this failure.
    pub(super) fn failure(code: Code, request_id: &str) -> Answer {
        let mut reply = Reply::failure(code);
        reply.render(Dialect::Problem, request_id);
        Answer {
            status: reply.status,
            headers: reply.headers.into_iter().collect(),
            body: reply.body,
        }
    }
}

impl Document {
    /// Of at most so many bytes, failures apart.
    pub(super) fn new(most: usize) -> Document {
        Document {
            text: "{\"responses\":[".to_owned(),
            most,
            cookies: Vec::new(),
        }
    }

    /// Puts the answer of the next call behind those before it; the other where there is no room for it.
    ///
    /// Its cookies become those of the whole: a browser keeps them as it would have, and no script sees what it would not
    /// have seen.
    pub(super) fn push(&mut self, id: &str, path: &str, answer: &Answer, other: &Answer) {
        let (mut answer, mut text) = (answer, entry(id, answer));
        if self.text.len() + text.len() > self.most {
            (answer, text) = (other, entry(id, other));
        }
        if self.text.ends_with('}') {
            self.text.push(',');
        }
        self.text.push_str(&text);
        let cookies = answer.headers.get_all(SET_COOKIE).iter();
        self.cookies.extend(cookies.map(|it| placed(it, path)));
    }

    pub(super) fn finish(mut self) -> (String, Vec<HeaderValue>) {
        self.text.push_str("]}");
        (self.text, self.cookies)
    }
}

fn entry(id: &str, answer: &Answer) -> String {
    let id = Value::from(id);
    let status = answer.status.as_u16();
    let headers = Value::Object(fields(&answer.headers));
    let (body, encoding) = written(&answer.headers, &answer.body);
    format!("{{\"id\":{id},\"status\":{status},\"headers\":{headers},\"body\":{body}{encoding}}}")
}

/// Lines of the same name are joined (RFC 9110 section 5.3). Of the connection and the framing nothing is said.
fn fields(headers: &HeaderMap) -> Map<String, Value> {
    let is_told = |name: &&HeaderName| !is_engine_owned(name) && **name != SET_COOKIE;
    let names = headers.keys().filter(is_told);
    let fields = names.map(|name| {
        let lines = headers.get_all(name).iter();
        let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()));
        let joined = lines.collect::<Vec<_>>().join(", ");
        (name.as_str().to_owned(), Value::String(joined))
    });
    fields.collect()
}

/// A body as JSON, and what is said of how it is written, where that is not plain.
fn written(headers: &HeaderMap, body: &[u8]) -> (String, &'static str) {
    if body.is_empty() {
        return ("null".to_owned(), "");
    }
    if is_json(headers.get(CONTENT_TYPE))
        && let Ok(text) = json::check(body, DEEPEST)
    {
        return (text.to_owned(), "");
    }
    match std::str::from_utf8(body) {
        Ok(text) => (Value::from(text).to_string(), ""),
        Err(_) => {
            let text = format!("\"{}\"", STANDARD.encode(body));
            (text, ",\"encoding\":\"base64\"")
        }
    }
}

/// `application/json`, and what is made of it (RFC 6839 section 3.1).
pub(super) fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok());
    let essence = text.and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    })
}

/// A cookie without a path is for where it comes from (RFC 6265 section 5.1.4), which the batch is not.
fn placed(cookie: &HeaderValue, path: &str) -> HeaderValue {
    let bytes = cookie.as_bytes();
    let mut attributes = bytes.split(|byte| *byte == b';').skip(1);
    let is_path = |attribute: &[u8]| {
        let mut halves = attribute.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"path") && value.trim_ascii().starts_with(b"/")
    };
    if attributes.any(is_path) {
        return cookie.clone();
    }
    // What stands behind a semicolon would be an attribute of its own.
    let path = path.split(';').next().unwrap_or_default();
    let end = path.rfind('/').filter(|end| *end > 0);
    let place = end.and_then(|end| path.get(..end)).unwrap_or("/");
    let placed = [bytes, b"; Path=", place.as_bytes()].concat();
    // A path that a request had.
    HeaderValue::from_bytes(&placed).unwrap_or_else(|_| cookie.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_body(content_type: &str, body: &[u8], expected: (&str, &str)) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.try_into().unwrap());
        let (written, encoding) = written(&headers, body);
        assert_eq!((&*written, encoding), expected, "{content_type}");
    }

    #[test]
    fn bodies_are_written_as_what_they_are() {
        check_body(
            "application/json",
            b" {\"a\": 1e400}\n",
            ("{\"a\": 1e400}", ""),
        );
        check_body("application/problem+json; charset=utf-8", b"[]", ("[]", ""));
        check_body("application/json", b"{\"a\":", ("\"{\\\"a\\\":\"", ""));
        check_body("application/json", b"", ("null", ""));
        check_body("text/plain", b"1", ("\"1\"", ""));
        check_body("text/plain", b"a\r\n\"", ("\"a\\r\\n\\\"\"", ""));
        let base64 = ("\"/wA=\"", ",\"encoding\":\"base64\"");
        check_body("application/json", b"\xff\0", base64);
        let deep = "[".repeat(65) + &"]".repeat(65);
        check_body(
            "application/json",
            deep.as_bytes(),
            (&format!("\"{deep}\""), ""),
        );
    }

    #[test]
    fn cookies_are_for_where_they_come_from() {
        let check = |cookie: &'static str, path: &str, expected: &str| {
            let placed = placed(&HeaderValue::from_static(cookie), path);
            assert_eq!(placed, expected, "{cookie} {path}");
        };
        check("a=b", "/v1/orders/7", "a=b; Path=/v1/orders");
        check("a=b; HttpOnly", "/v1", "a=b; HttpOnly; Path=/");
        check("a=b; path=/x", "/v1/y", "a=b; path=/x");
        check("path=/x", "/", "path=/x; Path=/");
        check("a=b; Path", "/v1/y", "a=b; Path; Path=/v1");
    }
}
