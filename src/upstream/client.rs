//! Requests that the gateway sends an upstream by itself: whole, with a deadline, and an answer of limited size.
//!
//! They go the way that requests of clients go: endpoints are balanced and health is known, what becomes of a try is
//! learned, and connections of HTTP/1.1 are those that the endpoint keeps anyway. They are tried once.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, ErrorType};

use super::Upstream;
use super::attempt::{Attempt, Failure, Replay, Upload, Verdict};
use super::outcome::grpc_status;
use crate::response::Code;

/// Opens and keeps connections of HTTP/2; those of HTTP/1.1 are the endpoints'. One for the process: who uses it is
/// told apart by the endpoint and its TLS.
static CONNECTOR: LazyLock<Connector> = LazyLock::new(|| Connector::new(None));

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What came back.
#[derive(Clone, Debug)]
pub struct Heard {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `None` where it is larger than was wanted.
    pub body: Option<Bytes>,
}

impl Upstream {
    /// Sends a request whose header is `head` and takes in what comes back, within this time. Of a larger body than
    /// `largest` nothing is kept, and the rest is not waited for.
    ///
    /// That the time has run out is no failure of the endpoint's: it may have been short, and clients get that endpoint, too.
    /// How long it may be silent is said by the upstream's own timeouts.
    pub async fn send(
        self: &Arc<Self>,
        head: Parts,
        body: Bytes,
        within: Duration,
        largest: usize,
    ) -> Result<Heard, Code> {
        let began = Instant::now();
        let mut attempt = Attempt::new(self.clone(), began, Some(within), None);
        let sending = exchange(&mut attempt, head, body, largest);
        match tokio::time::timeout(within, sending).await {
            Ok(heard) => heard,
            Err(_) => Err(failed(
                &mut attempt,
                &Error::new(ErrorType::ReadTimedout),
                false,
            )),
        }
    }
}

/// What an exchange has failed for. Whoever is to know of that is told.
fn failed(attempt: &mut Attempt, error: &Error, was_pooled: bool) -> Code {
    let verdict = attempt.failed_in_exchange(&Failure {
        error,
        raised: None,
        was_pooled,
        replay: Replay::Never,
    });
    match verdict {
        Verdict::GiveUp(code) => code,
        Verdict::Retry => Code::Internal,
    }
}

async fn exchange(
    attempt: &mut Attempt,
    head: Parts,
    body: Bytes,
    largest: usize,
) -> Result<Heard, Code> {
    let upload = match body.is_empty() {
        true => Upload::Nothing,
        false => Upload::Body,
    };
    let peer = attempt.pick(upload)?;
    let connected = CONNECTOR.get_http_session(&*peer).await;
    let (mut session, was_pooled) = connected.map_err(|mut error| {
        error.as_up();
        attempt.failed_to_connect(&error, Replay::Never);
        attempt.code(&error)
    })?;
    attempt.connected();
    let is_h2 = session.as_http2().is_some();
    let head = prepare(head, body.len(), is_h2, peer.is_tls());
    let head = head.ok_or(Code::BadRequest)?;
    let talked = talk(&mut session, attempt, head, body, largest).await;
    let heard = talked.map_err(|mut error| {
        error.as_up();
        failed(attempt, &error, was_pooled)
    })?;
    if heard.body.is_some() {
        attempt.finished();
        let idle = peer.options.idle_timeout;
        CONNECTOR.release_http_session(session, &*peer, idle).await;
    } else {
        session.shutdown().await;
    }
    Ok(heard)
}

async fn talk(
    session: &mut HttpSession,
    attempt: &mut Attempt,
    head: RequestHeader,
    body: Bytes,
    largest: usize,
) -> pingora::Result<Heard> {
    // Connections of HTTP/1.1 are watched; on HTTP/2 it is for us to keep the upstream's time.
    let timeouts = attempt.upstream().timeouts();
    let (first_byte, idle) = (timeouts.first_byte.as_std(), timeouts.idle.as_std());
    if session.as_http2().is_some() {
        session.set_read_timeout(Some(first_byte));
    }
    session.write_request_header(Box::new(head)).await?;
    if !body.is_empty() {
        session.write_request_body(body, false).await?;
    }
    session.finish_request_body().await?;
    attempt.sent(Instant::now());
    let (status, headers) = loop {
        session.read_response_header().await?;
        if let Some(header) = session.response_header()
            && !header.status.is_informational()
        {
            break (header.status, header.headers.clone());
        }
    };
    let now = Instant::now();
    attempt.answered(now, status, grpc_status(&headers));
    attempt.moved(now);
    if session.as_http2().is_some() {
        session.set_read_timeout(Some(idle));
    }
    let mut body = BytesMut::new();
    while let Some(part) = session.read_response_body().await? {
        attempt.moved(Instant::now());
        if body.len() + part.len() > largest {
            return Ok(Heard {
                status,
                headers,
                body: None,
            });
        }
        body.extend_from_slice(&part);
    }
    Ok(Heard {
        status,
        headers,
        body: Some(body.freeze()),
    })
}

/// The header as it goes out: what concerned another connection is gone, and the length and the host are said as this
/// protocol says them. `None` where there is no host, or what is left is no request.
fn prepare(mut head: Parts, length: usize, is_h2: bool, is_tls: bool) -> Option<RequestHeader> {
    let wants_trailers = head.headers.get(TE).is_some_and(|te| te == "trailers");
    let of_the_connection = [
        CONNECTION,
        CONTENT_LENGTH,
        EXPECT,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in of_the_connection {
        head.headers.remove(name);
    }
    if length > 0 {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    let host = match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok()?,
        None => head.headers.get(HOST)?.clone(),
    };
    let mut parts = http::uri::Parts::default();
    let target = head.uri.path_and_query().cloned();
    parts.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
    if is_h2 {
        head.headers.remove(HOST);
        if wants_trailers {
            head.headers
                .insert(TE, HeaderValue::from_static("trailers"));
        }
        parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
        parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        head.version = Version::HTTP_2;
    } else {
        head.headers.insert(HOST, host);
        head.version = Version::HTTP_11;
    }
    head.uri = Uri::from_parts(parts).ok()?;
    Some(head.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_header_is_made_for_the_protocol() {
        let stale = [
            ("host", "shop.test"),
            ("connection", "close, x-a"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("x-a", "1"),
        ];
        let out = prepare(head("/a?b=1", &stale), 5, false, false).unwrap();
        assert_eq!(out.uri, "/a?b=1");
        assert_eq!(out.headers["host"], "shop.test");
        assert_eq!(out.headers["content-length"], "5");
        assert_eq!(out.headers.len(), 3, "{:?}", out.headers);
        let out = prepare(head("/a?b=1", &stale), 0, true, true).unwrap();
        assert_eq!(out.uri, "https://shop.test/a?b=1");
        assert_eq!(out.version, Version::HTTP_2);
        assert_eq!(out.headers.len(), 2, "{:?}", out.headers);
        let out = prepare(head("http://shop.test/", &[]), 0, false, false).unwrap();
        assert_eq!(out.headers["host"], "shop.test");
        assert!(prepare(head("/", &[]), 0, true, false).is_none());
    }
}
