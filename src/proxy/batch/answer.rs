//! What a client gets of its calls: one JSON document.

use std::io::{self, Write};

use base64::display::Base64Display;
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
    text: Vec<u8>,
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
            text: b"{\"responses\":[".to_vec(),
            most,
            cookies: Vec::new(),
        }
    }

    /// Puts the answer of the next call behind those before it; the other where there is no room for it. No more is written than
    /// there is room for: in JSON a body can become six times as long.
    ///
    /// Its cookies become those of the whole: a browser keeps them as it would have, and no script sees what it would not
    /// have seen.
    pub(super) fn push(&mut self, id: &str, path: &str, answer: &Answer, other: &Answer) {
        let before = self.text.len();
        let most = self.most;
        let answer = match self.write((id, answer), most) {
            Ok(()) => answer,
            Err(_) => {
                self.text.truncate(before);
                // Memory has no end that could be met here.
                let _ = self.write((id, other), usize::MAX);
                other
            }
        };
        let cookies = answer.headers.get_all(SET_COOKIE).iter();
        self.cookies.extend(cookies.map(|it| placed(it, path)));
    }

    fn write(&mut self, (id, answer): (&str, &Answer), most: usize) -> io::Result<()> {
        let separator = match self.text.ends_with(b"}") {
            true => ",",
            false => "",
        };
        let mut out = Bounded {
            text: &mut self.text,
            most,
        };
        write!(out, "{separator}{{\"id\":")?;
        serde_json::to_writer(&mut out, id)?;
        write!(out, ",\"status\":{},\"headers\":", answer.status.as_u16())?;
        serde_json::to_writer(&mut out, &fields(&answer.headers))?;
        out.write_all(b",\"body\":")?;
        write_body(&mut out, &answer.headers, &answer.body)?;
        out.write_all(b"}")
    }

    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<HeaderValue>) {
        self.text.extend_from_slice(b"]}");
        (self.text, self.cookies)
    }
}

/// Grows up to so many bytes, and fails then.
struct Bounded<'t> {
    text: &'t mut Vec<u8>,
    most: usize,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len().saturating_add(bytes.len()) > self.most {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
fn write_body(out: &mut impl Write, headers: &HeaderMap, body: &[u8]) -> io::Result<()> {
    if body.is_empty() {
        return out.write_all(b"null");
    }
    if is_json(headers.get(CONTENT_TYPE))
        && let Ok(text) = json::check(body, DEEPEST)
    {
        return out.write_all(text.as_bytes());
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(serde_json::to_writer(out, text)?),
        Err(_) => {
            let encoded = Base64Display::new(body, &STANDARD);
            write!(out, "\"{encoded}\",\"encoding\":\"base64\"")
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
        let mut out = Vec::new();
        write_body(&mut out, &headers, body).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert_eq!(written, [expected.0, expected.1].concat(), "{content_type}");
    }

    /// What does not fit is not written first to be measured then.
    #[test]
    fn no_more_is_written_than_there_is_room_for() {
        let answer = |body: Vec<u8>| Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.into(),
        };
        let small = || answer(b"x".to_vec());
        // Each in JSON: as it is, six times as long, and four thirds.
        for (body, length) in [
            (vec![b'a'; 600], 602),
            (vec![0; 600], 3602),
            (vec![255; 600], 822),
        ] {
            let whole = "{\"responses\":[".len()
                + "{\"id\":\"a\",\"status\":200,\"headers\":{},\"body\":}".len();
            for most in [whole + length - 1, whole + length] {
                let mut document = Document::new(most);
                document.push("a", "/", &answer(body.clone()), &small());
                document.push("b", "/", &answer(body.clone()), &small());
                assert!(document.text.capacity() < 2 * (most + 128), "{most}");
                let (text, _) = document.finish();
                let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
                let fits = most == whole + length;
                assert_eq!(json["responses"][0]["body"] != "x", fits, "{most}");
                assert_eq!(json["responses"][1]["body"], "x");
                assert_eq!(json["responses"].as_array().map(Vec::len), Some(2));
            }
        }
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
