//! A reply: a response made by the gateway itself.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Code;

/// Most problem documents are no longer than this, in bytes.
const PROBLEM: usize = 320;

/// The form in which a caller reads failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 9457 `application/problem+json`.
    Problem,
    /// Trailers-only gRPC: HTTP 200 with `grpc-status` and `grpc-message`.
    Grpc,
}

impl Dialect {
    /// A caller that sends `application/grpc…` reads gRPC statuses, everybody else reads problem documents.
    pub fn of(content_type: Option<&HeaderValue>) -> Dialect {
        match content_type {
            Some(value) if value.as_bytes().starts_with(b"application/grpc") => Dialect::Grpc,
            _ => Dialect::Problem,
        }
    }
}

/// A response made by the gateway: an action's content or the report of a failure.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// The failure that this reply reports, if it reports one.
    pub code: Option<Code>,
    /// Whether the client's connection is to be closed after it (HTTP/1.1 only; a refused request may have
    /// left unread bytes behind it).
    pub close: bool,
    /// Why, for the log alone.
    pub cause: Option<Cow<'static, str>>,
    detail: Option<Cow<'static, str>>,
    /// Further members of the problem document (RFC 9457 section 3.2).
    members: Option<Box<Map<String, Value>>>,
}

impl Reply {
    /// A reply with content; `headers` are written as they are.
    pub fn content(
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Reply {
        Reply {
            status,
            headers,
            body,
            code: None,
            close: false,
            cause: None,
            detail: None,
            members: None,
        }
    }

    /// The report of a failure; the body is rendered when the reply is written, in the caller's dialect.
    pub fn failure(code: Code) -> Reply {
        Reply {
            status: code.status(),
            headers: Vec::new(),
            body: Bytes::new(),
            code: Some(code),
            close: false,
            cause: None,
            detail: None,
            members: None,
        }
    }

    /// What the log says of it, and the client is not told.
    pub fn cause(mut self, cause: impl Into<Cow<'static, str>>) -> Reply {
        self.cause = Some(cause.into());
        self
    }

    /// A sentence for the client about this very failure. It must hold no cause, address or stack.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Reply {
        self.detail = Some(detail.into());
        self
    }

    /// A further member of the problem document (RFC 9457 section 3.2), which the problem's type defines.
    pub fn member(mut self, name: &'static str, value: Value) -> Reply {
        let members = self.members.get_or_insert_default();
        members.insert(name.to_owned(), value);
        self
    }

    /// Closes the client's connection after the reply.
    pub fn closing(mut self) -> Reply {
        self.close = true;
        self
    }

    /// 405 with its `Allow` header (RFC 9110 section 15.5.6 requires it).
    pub fn method_not_allowed(allow: &str) -> Reply {
        let mut reply = Reply::failure(Code::MethodNotAllowed);
        if let Ok(value) = HeaderValue::from_str(allow) {
            reply.headers.push((ALLOW, value));
        }
        reply
    }

    /// The problem document, written as it stands: a flood is refused by these, and looking at each character of what is known
    /// to need no escape would cost as much as the limit that refuses.
    fn problem(&self, code: Code, request_id: &str) -> Vec<u8> {
        let mut body = Vec::with_capacity(PROBLEM);
        let mut status = itoa::Buffer::new();
        for text in [
            "{\"type\":\"",
            code.problem_type(),
            "\",\"title\":\"",
            code.title(),
            "\",\"status\":",
            status.format(self.status.as_u16()),
            ",\"code\":\"",
            code.slug(),
            "\"",
        ] {
            body.extend_from_slice(text.as_bytes());
        }
        add(&mut body, "request_id", request_id);
        if let Some(detail) = &self.detail {
            add(&mut body, "detail", detail);
        }
        for (name, value) in self.members.as_deref().into_iter().flatten() {
            add(&mut body, name, value);
        }
        body.push(b'}');
        body
    }

    /// Turns a failure into what goes on the wire: status, headers and body in the caller's dialect. A reply
    /// with content stays as it is.
    pub fn render(&mut self, dialect: Dialect, request_id: &str) {
        let Some(code) = self.code else { return };
        self.headers
            .push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        match dialect {
            Dialect::Problem => {
                self.headers.push((
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/problem+json"),
                ));
                self.body = self.problem(code, request_id).into();
            }
            Dialect::Grpc => {
                self.status = StatusCode::OK;
                self.headers
                    .push((CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
                self.headers.push((
                    HeaderName::from_static("grpc-status"),
                    HeaderValue::from(u16::from(code.grpc_status())),
                ));
                let message = grpc_message(self.detail.as_deref().unwrap_or(code.title()));
                self.headers
                    .push((HeaderName::from_static("grpc-message"), message));
                self.body = Bytes::new();
            }
        }
    }
}

/// Adds a member behind others.
fn add<V: Serialize + ?Sized>(body: &mut Vec<u8>, name: &str, value: &V) {
    body.push(b',');
    // Text and numbers can always be written.
    let _ = serde_json::to_writer(&mut *body, name);
    body.push(b':');
    let _ = serde_json::to_writer(&mut *body, value);
}

/// Percent-encodes a message as the gRPC specification of `grpc-message` asks: printable ASCII but `%` stays.
fn grpc_message(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(encoded).expect("printable ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_problem_document() {
        let mut reply = Reply::failure(Code::RouteNotFound).detail("nothing here");
        reply.render(Dialect::Problem, "abc");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["type"], "urn:northgate:error:route_not_found");
        assert_eq!(body["status"], 404);
        assert_eq!(body["detail"], "nothing here");
        assert_eq!(body["request_id"], "abc");
    }

    /// Of each failure what is written without a look at its characters, and with whatever else there is.
    #[test]
    fn every_problem_document_is_read_back() {
        for code in Code::ALL {
            for text in ["plain", "\"quoted\" \\ \u{1} \u{e9}"] {
                let reply = Reply::failure(*code).detail(text);
                let mut reply = reply.member("more", serde_json::json!([text]));
                reply.render(Dialect::Problem, text);
                let body: Value = serde_json::from_slice(&reply.body).unwrap();
                let expected = serde_json::json!({
                    "type": code.problem_type(), "title": code.title(), "status": code.status().as_u16(),
                    "code": code.slug(), "request_id": text, "detail": text, "more": [text],
                });
                assert_eq!(body, expected, "{code:?}");
            }
        }
    }

    #[test]
    fn a_grpc_caller_gets_a_status() {
        let mut reply = Reply::failure(Code::UpstreamTimeout).detail("50% \u{e9}");
        reply.render(Dialect::Grpc, "abc");
        assert_eq!(reply.status, 200);
        let header = |name: &str| {
            reply
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.to_str().unwrap())
        };
        assert_eq!(header("grpc-status"), Some("4"));
        assert_eq!(header("grpc-message"), Some("50%25 %C3%A9"));
        assert!(reply.body.is_empty());
    }
}
