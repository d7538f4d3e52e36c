//! One check: what an endpoint is asked, and what it must say.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use pingora::connectors::TransportConnector;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Scheme};
use serde_json::Value;

use super::super::config::Config;
use super::super::endpoint::Endpoint;
use super::config::HealthConfig;
use super::grpc::{self, ServingStatus};
use super::status::StatusRange;

/// The most that is looked at of an answer.
const MOST: usize = 64 * 1024;

/// What opens connections, for all checks of the process: each loads the authorities of the system. Nothing is ever given
/// back to them, so there is no connection to use again.
static TRANSPORT: LazyLock<TransportConnector> = LazyLock::new(|| TransportConnector::new(None));
static CONNECTOR: LazyLock<Connector> = LazyLock::new(|| Connector::new(None));

/// What endpoints are asked.
#[derive(Debug)]
pub(super) struct Question {
    kind: Kind,
    port: Option<u16>,
    /// `None` where it is that of the endpoint's address.
    host: Option<Box<str>>,
    /// Whether checks are in clear text where requests are not.
    is_clear: bool,
}

#[derive(Debug)]
enum Kind {
    /// Whether a connection can be opened, TLS included.
    Tcp,
    Http(Box<Http>),
    /// What `grpc.health.v1` says; the message is made once.
    Grpc {
        headers: HeaderMap,
        message: Bytes,
    },
}

#[derive(Debug)]
struct Http {
    path: Uri,
    headers: HeaderMap,
    expected: Box<[StatusRange]>,
    contains: Option<Box<str>>,
    json: Box<[(Box<str>, Value)]>,
}

/// What is wrong with an endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum Symptom {
    #[error("{0}")]
    Unreachable(#[from] Box<pingora::Error>),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its answer does not contain {0:?}")]
    Lacks(Box<str>),
    #[error("its answer is no JSON")]
    NoJson,
    #[error("its answer does not have {1} at {0}")]
    Differs(Box<str>, Value),
    #[error("its answer is longer than 64 KiB")]
    TooLong,
    #[error("grpc.health.v1 answers with status {0} of gRPC")]
    Grpc(u8),
    #[error("grpc.health.v1 says {0:?}")]
    NotServing(ServingStatus),
    #[error("what it answers is not of grpc.health.v1")]
    Nonsense,
}

/// What has come back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Question {
    /// Of a configuration that has been checked.
    pub(super) fn new(health: &HealthConfig, config: &Config) -> Question {
        let sni = config.tls.as_ref().and_then(|tls| tls.sni.clone());
        let host = health.host.clone().map(|host| host.value.into_inner());
        let headers = headers(health);
        let kind = match (&health.http, &health.grpc) {
            (Some(path), _) => Kind::Http(Box::new(Http {
                path: path.as_str().parse().expect("checked when it was parsed"),
                headers,
                expected: health.expected.clone().into(),
                contains: health.body_contains.as_deref().map(Box::from),
                json: health
                    .body_json
                    .iter()
                    .map(|(pointer, value)| (pointer.as_str().into(), value.clone()))
                    .collect(),
            })),
            (None, Some(service)) => Kind::Grpc {
                headers,
                message: grpc::question(service),
            },
            (None, None) => Kind::Tcp,
        };
        Question {
            kind,
            port: health.port.map(|port| port.get()),
            host: host.or(sni),
            is_clear: health.tls == Some(false),
        }
    }

    /// Asks once, on a connection of its own: one that was kept says little about whether new ones are accepted.
    pub(super) async fn ask(&self, endpoint: &Endpoint, limit: Duration) -> Result<(), Symptom> {
        let peer = self.peer(endpoint, limit);
        let member = endpoint.member();
        let host = self.host.as_deref().unwrap_or(&member.host);
        match &self.kind {
            Kind::Tcp => {
                TRANSPORT.new_stream(&peer).await?;
                Ok(())
            }
            Kind::Http(http) => {
                let mut request = request(Method::GET, http.path.clone(), host);
                extend(&mut request, &http.headers);
                let answer = exchange(&peer, request, None).await?;
                http.judge(&answer)
            }
            Kind::Grpc { headers, message } => {
                let path = Uri::from_static(grpc::PATH);
                let mut request = request(Method::POST, path, host);
                for (name, value) in grpc::HEADERS {
                    insert(&mut request, name, HeaderValue::from_static(value));
                }
                extend(&mut request, headers);
                let answer = exchange(&peer, request, Some(message.clone())).await?;
                judge_call(&answer)
            }
        }
    }

    /// What requests go to, but for what is said of checks. So TLS is verified as it is for requests.
    fn peer(&self, endpoint: &Endpoint, limit: Duration) -> HttpPeer {
        let mut peer = endpoint.direct().clone();
        peer.options.connection_timeout = Some(limit);
        peer.options.total_connection_timeout = Some(limit);
        peer.options.read_timeout = Some(limit);
        peer.options.write_timeout = Some(limit);
        // A connection on which there may be a second stream is kept while the first is open.
        peer.options.max_h2_streams = 1;
        if matches!(self.kind, Kind::Grpc { .. }) {
            peer.options.alpn = ALPN::H2;
        }
        if let Some(port) = self.port {
            peer._address.set_port(port);
        }
        if self.is_clear {
            peer.scheme = Scheme::HTTP;
            peer.sni = String::new();
        }
        peer
    }
}

impl Http {
    fn judge(&self, answer: &Answer) -> Result<(), Symptom> {
        let is_expected = |status: &StatusRange| status.contains(answer.status);
        if !self.expected.iter().any(is_expected) {
            return Err(Symptom::Status(answer.status));
        }
        if let Some(wanted) = &self.contains
            && !contains(&answer.body, wanted.as_bytes())
        {
            return Err(Symptom::Lacks(wanted.clone()));
        }
        if self.json.is_empty() {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| Symptom::NoJson)?;
        let differs = |(pointer, value): &&(Box<str>, Value)| body.pointer(pointer) != Some(value);
        match self.json.iter().find(differs) {
            Some((pointer, value)) => Err(Symptom::Differs(pointer.clone(), value.clone())),
            None => Ok(()),
        }
    }
}

fn judge_call(answer: &Answer) -> Result<(), Symptom> {
    if answer.status != StatusCode::OK {
        return Err(Symptom::Status(answer.status));
    }
    let trailers = answer.trailers.as_ref().unwrap_or(&answer.headers);
    match super::super::outcome::grpc_status(trailers) {
        Some(0) => {}
        Some(status) => return Err(Symptom::Grpc(status)),
        None => return Err(Symptom::Nonsense),
    }
    match grpc::answer(&answer.body).ok_or(Symptom::Nonsense)? {
        ServingStatus::Serving => Ok(()),
        other => Err(Symptom::NotServing(other)),
    }
}

async fn exchange(
    peer: &HttpPeer,
    request: RequestHeader,
    body: Option<Bytes>,
) -> Result<Answer, Symptom> {
    let (mut session, _) = CONNECTOR.get_http_session(peer).await?;
    session.set_write_timeout(peer.options.write_timeout);
    session.set_read_timeout(peer.options.read_timeout);
    session.write_request_header(Box::new(request)).await?;
    match body {
        Some(body) => session.write_request_body(body, true).await?,
        None => session.finish_request_body().await?,
    }
    session.read_response_header().await?;
    let (status, headers) = match session.response_header() {
        Some(header) => (header.status, header.headers.clone()),
        None => return Err(Symptom::Nonsense),
    };
    let mut read = Vec::new();
    while let Some(part) = session.read_response_body().await? {
        if read.len() + part.len() > MOST {
            return Err(Symptom::TooLong);
        }
        read.extend_from_slice(&part);
    }
    let trailers = match &mut session {
        HttpSession::H2(session) => session.read_trailers().await?,
        _ => None,
    };
    Ok(Answer {
        status,
        headers,
        body: read,
        trailers,
    })
}

fn request(method: Method, path: Uri, host: &str) -> RequestHeader {
    let mut request = http::Request::new(()).into_parts().0;
    request.method = method;
    request.uri = path;
    let mut request = RequestHeader::from(request);
    if let Ok(host) = HeaderValue::from_str(host) {
        insert(&mut request, HOST, host);
    }
    let agent = HeaderValue::from_static("northgate-health");
    insert(&mut request, USER_AGENT, agent);
    request
}

fn extend(request: &mut RequestHeader, headers: &HeaderMap) {
    for (name, value) in headers {
        insert(request, name.clone(), value.clone());
    }
}

fn insert(request: &mut RequestHeader, name: HeaderName, value: HeaderValue) {
    // A name and a value that are ones already are always accepted.
    let _ = request.insert_header(name, value);
}

fn headers(health: &HealthConfig) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in health.headers.iter() {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name.value.clone().into_inner(), value);
        }
    }
    headers
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
            trailers: None,
        }
    }

    #[test]
    fn an_answer_has_all_that_is_expected() {
        let http = Http {
            path: Uri::from_static("/"),
            headers: HeaderMap::new(),
            expected: ["200-299", "404"].map(|it| it.parse().unwrap()).into(),
            contains: Some("UP".into()),
            json: Box::new([("/status".into(), json!("UP")), ("/n/0".into(), json!(1))]),
        };
        let check = |status: u16, body: &str, expected: Option<&str>| {
            let judged = http.judge(&answer(status, body));
            assert_eq!(
                judged.err().map(|it| it.to_string()).as_deref(),
                expected,
                "{status} {body}"
            );
        };
        check(200, r#"{"status": "UP", "n": [1]}"#, None);
        check(404, r#"{"status": "UP", "n": [1, 2]}"#, None);
        check(500, "", Some("it answers 500 Internal Server Error"));
        check(200, "down", Some("its answer does not contain \"UP\""));
        check(200, "UP", Some("its answer is no JSON"));
        check(
            200,
            r#"{"status": "UP?", "n": [1]}"#,
            Some("its answer does not have \"UP\" at /status"),
        );
        check(
            200,
            r#"{"status": "UP", "n": 1}"#,
            Some("its answer does not have 1 at /n/0"),
        );
    }
}
