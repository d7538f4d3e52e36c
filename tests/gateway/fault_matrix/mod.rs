//! Every fault that an endpoint can have, met by every kind of request, over both protocols: what the client gets, and what
//! each endpoint has received of it.
//!
//! There are two endpoints, a faulty one and a good one, and a policy that tries everything again that it may. What is
//! expected is stated here, a table for each fault.

mod black_hole;
mod connect_refused;
mod faulty;
mod garbage;
mod half_close;
mod reset_before_header;
mod reset_in_body;
mod retry_after;
mod server_error;
mod slow_body;
mod slow_first_byte;

use std::any::Any;
use std::fmt::Display;

use bytes::Bytes;
use serde_json::Value;

use crate::harness::*;
use faulty::{Act, Asked, Faulty};

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$faulty", "$good"]
    protocol = "$protocol"
    timeouts = { connect = "400ms", first_byte = "20s", per_try = "1s", idle = "1s" }
    retry = { attempts = 2, on = ["connect", "reset", "refused_stream", "timeout", "5xx", "grpc:unavailable"], backoff = { base = "1ms", max = "1ms" } }

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

const LARGE: usize = 1 << 20;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Get,
    Post,
    /// With an idempotency key.
    KeyedPost,
    /// Idempotent, with a body that is longer than what is kept of it.
    LargePut,
    /// A unary call of gRPC.
    Unary,
    /// A call of gRPC in which the client goes on sending while the upstream answers.
    Stream,
}

const CALLS: [Call; 6] = [
    Call::Get,
    Call::Post,
    Call::KeyedPost,
    Call::LargePut,
    Call::Unary,
    Call::Stream,
];

/// What comes of a request that has met the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The good endpoint answers it, which is the second that it was sent to.
    Again,
    /// The gateway says what has failed, and it was sent once.
    Failed(&'static str),
    /// The client gets the response of the faulty endpoint, and it was sent once.
    Passed(u16),
    /// The response breaks off, and it was sent once.
    Broken(&'static str),
}

use Outcome::{Again, Broken, Failed, Passed};

/// How much of a request an endpoint with this fault receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    /// As much as there is before it has to answer.
    All,
}

/// Holds what is expected of one fault, in the order of [`CALLS`], for HTTP/1.1 and for HTTP/2.
struct Expected {
    http1: [Outcome; 6],
    h2: [Outcome; 6],
    reads: Reads,
}

impl Expected {
    /// The same over both.
    fn of_both(outcomes: [Outcome; 6]) -> Expected {
        Expected {
            http1: outcomes,
            h2: outcomes,
            reads: Reads::All,
        }
    }
}

/// Something that a request can meet.
trait Fault: Display {
    /// Requests that it has received, where it receives any.
    fn asked(&self) -> Vec<Asked>;
    /// The client has been sent the header of its response.
    fn has_begun(&self) {}
}

impl Fault for Faulty {
    fn asked(&self) -> Vec<Asked> {
        Faulty::asked(self)
    }

    fn has_begun(&self) {
        // Or the next one would go on before its time.
        if !Faulty::asked(self).is_empty() {
            Faulty::go_on(self);
        }
    }
}

/// Takes each kind of request through a fault, over each protocol.
async fn check<F: Fault>(expected: Expected, fault: impl Fn(Protocol) -> F) {
    let mut wrong = Vec::new();
    for (protocol, outcomes) in [
        (Protocol::Http1, expected.http1),
        (Protocol::H2, expected.h2),
    ] {
        for (call, outcome) in CALLS.into_iter().zip(outcomes) {
            let faulty = fault(protocol);
            let got = cell(protocol, call, &faulty).await;
            if let Err(difference) = got.compare(outcome, expected.reads) {
                wrong.push(format!("{call:?} over {protocol}: {difference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What was seen of one request that has met the fault.
struct Met {
    call: Call,
    status: u16,
    body: Result<Bytes, String>,
    grpc: Option<String>,
    line: Value,
    by_faulty: Vec<Asked>,
    by_good: Vec<Asked>,
}

async fn cell(protocol: Protocol, call: Call, faulty: &impl Fault) -> Met {
    let good = faulty::start(protocol, |_| Act::Echo);
    let gateway = Gateway::draft(SHOP)
        .with("faulty", faulty)
        .with("good", &good)
        .with("protocol", protocol)
        .start()
        .await;
    // The endpoints take turns, and the good one may be the first.
    for turn in 0..2 {
        let met = ask(&gateway, call, turn, faulty).await;
        let by_good = good.asked();
        let is_by_good = met.line["attempts"] == 1 && met.line["endpoint"] == good.to_string();
        if !is_by_good {
            return Met {
                by_faulty: faulty.asked(),
                by_good: by_good[turn..].to_vec(),
                ..met
            };
        }
        assert_eq!((met.status, by_good.len()), (200, 1), "{call:?} {protocol}");
        assert_eq!(by_good[0], call.expected(), "{call:?} {protocol}");
    }
    panic!("{call:?} over {protocol} was not sent to the faulty endpoint");
}

/// Sends one request and takes in what comes of it.
async fn ask(gateway: &Gateway, call: Call, turn: usize, faulty: &impl Fault) -> Met {
    let path = format!("{}{turn}", call.path());
    let (client, request, chunks) = call.request(gateway, &path).await;
    let mut incoming = client.open(request).await;
    faulty.has_begun();
    drop(chunks);
    let mut body = Vec::new();
    let body = loop {
        match within("the body", incoming.try_chunk()).await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break Ok(Bytes::from(body)),
            Err(error) => break Err(error),
        }
    };
    let in_header = incoming.header("grpc-status").map(str::to_owned);
    let in_trailers = || {
        let status = incoming.trailers.get("grpc-status")?;
        Some(status.to_str().expect("a number").to_owned())
    };
    let line = gateway.log_where("its end", |line| line["path"] == *path);
    Met {
        call,
        status: incoming.status,
        body,
        grpc: in_header.or_else(in_trailers),
        line: line.await,
        by_faulty: Vec::new(),
        by_good: Vec::new(),
    }
}

impl Call {
    fn is_grpc(self) -> bool {
        matches!(self, Call::Unary | Call::Stream)
    }

    fn path(self) -> &'static str {
        match self {
            Call::Stream => "/stream",
            _ => "/whole",
        }
    }

    /// A client, what it sends, and what keeps it sending.
    async fn request(self, gateway: &Gateway, path: &str) -> (Client, Ask, Option<Box<dyn Any>>) {
        let grpc = |method: &str| {
            let request = request(method, path).header("content-type", "application/grpc");
            request.header("te", "trailers")
        };
        let Asked { body, .. } = self.expected();
        let (client, ask) = match self {
            Call::Get => (gateway.http1(), get(path)),
            Call::Post => (gateway.http1(), post(path, body)),
            Call::KeyedPost => {
                let keyed = post(path, body).header("idempotency-key", "\"one\"");
                (gateway.http1(), keyed)
            }
            Call::LargePut => (gateway.http1(), request("PUT", path).body(full(body))),
            Call::Unary => (gateway.http2(), grpc("POST").body(full(body))),
            Call::Stream => {
                let (chunks, sent) = channel();
                chunks.send(body).await;
                return (
                    gateway.http2(),
                    grpc("POST").body(sent),
                    Some(Box::new(chunks)),
                );
            }
        };
        (client, ask, None)
    }

    /// The request as an endpoint that receives all of it does.
    fn expected(self) -> Asked {
        let (method, body) = match self {
            Call::Get => ("GET", Bytes::new()),
            Call::Post | Call::KeyedPost => ("POST", Bytes::from_static(b"an order")),
            Call::LargePut => ("PUT", (0..LARGE).map(|n| (n % 251) as u8).collect()),
            Call::Unary | Call::Stream => ("POST", Bytes::from_static(b"\0\0\0\0\x02hi")),
        };
        Asked {
            method: method.to_owned(),
            body,
        }
    }
}

impl Met {
    fn compare(&self, expected: Outcome, reads: Reads) -> Result<(), String> {
        let again = usize::from(expected == Again);
        let whole = self.call.expected();
        let tells = |what: &str| Err(format!("{what}; {}", self.describe()));
        let by_faulty = match reads {
            Reads::Nothing => 0,
            Reads::All => 1,
        };
        if self.by_faulty.len() != by_faulty || self.by_good.len() != again {
            return tells("an endpoint was asked too often or not at all");
        }
        let mut received = self.by_faulty.iter().chain(&self.by_good);
        if !received.all(|asked| *asked == whole) {
            return tells("an endpoint has received something else than was sent");
        }
        if self.line["attempts"] != 1 + again {
            return tells("it was tried too often or not often enough");
        }
        let code = self.line["code"].as_str();
        let is_met = match expected {
            Again => {
                let grpc_ok = !self.call.is_grpc() || self.grpc.as_deref() != Some("14");
                self.status == 200
                    && self.body.as_ref() == Ok(&whole.body)
                    && code.is_none()
                    && grpc_ok
            }
            // A caller of gRPC is told by a status of gRPC, which is a success of HTTP.
            Failed(wanted) if self.call.is_grpc() => {
                self.status == 200 && code == Some(wanted) && self.grpc.is_some()
            }
            Failed(wanted) => self.status >= 500 && code == Some(wanted),
            Passed(status) => self.status == status && self.body.is_ok() && code.is_none(),
            Broken(wanted) => {
                let is_whole = self.body.is_ok() && (!self.call.is_grpc() || self.grpc.is_some());
                self.status == 200 && !is_whole && code == Some(wanted)
            }
        };
        match is_met {
            true => Ok(()),
            false => tells(&format!("{expected:?} was expected")),
        }
    }

    fn describe(&self) -> String {
        let body = self.body.as_ref().map(Bytes::len);
        let lengths = |asked: &[Asked]| -> Vec<usize> {
            asked.iter().map(|asked| asked.body.len()).collect()
        };
        format!(
            "status {}, body {body:?}, grpc {:?}, received {:?} and {:?}, {}",
            self.status,
            self.grpc,
            lengths(&self.by_faulty),
            lengths(&self.by_good),
            self.line
        )
    }
}
