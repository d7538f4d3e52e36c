//! Runs the calls of a batch: each is a whole exchange of the client's, as if it had come by itself.
//!
//! A call begins where a client's request does: it has the connection of the batch, and finds its route, proves who calls,
//! is counted, kept and recorded by itself. What it says beside its own headers is what the batch's client has shown. Calls
//! end with the reply: with the time of the whole, and where the client leaves.

mod answer;
mod list;

#[cfg(test)]
mod fuzz;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cache::Fills;
use super::collect::{Answered, Asked, Collecting};
use super::deadline::{Allowance, Deadline};
use super::early_body;
use super::exchange::Exchange;
use super::forwarding::{TRACEPARENT, handed_on};
use super::hearing::Hearing;
use super::own::{self, Taker, Unwanted};
use crate::actions::{Action, Batch};
use crate::facts::{Facts, RequestId, Scheme, host_header};
use crate::http1::Refusal;
use crate::listener::{Connection, connection_of};
use crate::response::{Code, Reply};
use crate::routing::Snapshot;
use answer::{Answer, Document, is_json};
use list::Call;

/// For the list to arrive. None is large.
const LIST_DEADLINE: Duration = Duration::from_secs(10);
/// Within this a call ends by itself once its time is over, or once it is told to: then it is recorded, and says why.
const GRACE: Duration = Duration::from_millis(100);

/// What an exchange has to do with a batch.
pub(super) enum Side {
    /// It is one: the headers that its calls have as well.
    Whole(HeaderMap),
    Call(CallOf),
}

/// What a call has of the batch.
pub(super) struct CallOf {
    connection: Arc<Connection>,
    asked: Arc<Asked>,
    request_id: Arc<OnceLock<RequestId>>,
    /// When the whole has to be at its end.
    ends: Instant,
}

impl Exchange {
    /// Whether it is a call of a batch.
    pub(super) fn is_call(&self) -> bool {
        self.call().is_some()
    }

    fn call(&self) -> Option<&CallOf> {
        match self.batch.as_deref() {
            Some(Side::Call(call)) => Some(call),
            _ => None,
        }
    }

    /// The connection of its client, on which it is counted from now on.
    pub(super) fn enter(&mut self, session: &Session) -> Option<Arc<Connection>> {
        if let Some(call) = self.call() {
            let connection = call.connection.clone();
            connection.call_began();
            return Some(connection);
        }
        let connection = session.digest().and_then(connection_of)?.clone();
        connection.exchange_began();
        Some(connection)
    }

    /// It is at its end, and so no longer counted.
    pub(super) fn leave(&mut self, connection: &Connection, now: Instant) {
        match self.call() {
            None => connection.exchange_ended(now),
            Some(call) => {
                call.asked.ends(self.outcome);
                connection.call_ended();
            }
        }
    }

    /// The rule that its client has broken, if that was in this request: of calls there are none.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let connection = self.connection.as_ref().filter(|_| !self.is_call());
        connection.and_then(|connection| connection.refusal())
    }

    /// How long it may take for the sake of the batch that it is a call of.
    pub(super) fn time_of_batch(&self) -> Option<Duration> {
        let ends = self.call()?.ends;
        Some(ends.saturating_duration_since(self.began))
    }

    /// Its ids and its route are known. Of a batch, what passes to its calls is put aside: soon the credentials are hidden
    /// from everybody.
    pub(super) fn note(&mut self, request: &RequestHeader, snapshot: &Snapshot) {
        if let Some(call) = self.call() {
            // It has one.
            let _ = call.request_id.set(self.facts.request_id.clone());
            return;
        }
        let Action::Batch(batch) = &*self.route.action else {
            return;
        };
        let is_read = |name: &HeaderName| snapshot.credential_headers.contains(name);
        let handed_on = handed_on(self, request);
        let passes =
            |name: &HeaderName| batch.passes(name, is_read) && !handed_on.contains_key(name);
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers.iter().filter(|(name, _)| passes(name)) {
            headers.append(name.clone(), value.clone());
        }
        if let Some(host) = host_header(request) {
            headers.insert(HOST, host);
        }
        headers.insert(TRACEPARENT, self.facts.trace.traceparent());
        for (name, value) in &handed_on {
            headers.append(name.clone(), value.clone());
        }
        self.batch = Some(Box::new(Side::Whole(headers)));
    }
}

/// Takes in what one call answers, as long as there is room for it.
struct Taking {
    collecting: Collecting,
    asked: Arc<Asked>,
    /// Bytes that there are left for all calls.
    room: Arc<AtomicUsize>,
    /// What of it this one has.
    taken: usize,
    is_whole: bool,
    left: watch::Receiver<bool>,
}

/// What has broken off is no answer, and leaves its room to others.
impl Drop for Taking {
    fn drop(&mut self) {
        if !self.is_whole {
            self.room.fetch_add(self.taken, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Taker for Taking {
    fn begin(&mut self, status: StatusCode, headers: HeaderMap) {
        self.collecting.begin(status, headers);
    }

    async fn push(&mut self, part: Bytes) -> Result<(), Unwanted> {
        let order = Ordering::Relaxed;
        let taken = |room: usize| room.checked_sub(part.len());
        if self.room.fetch_update(order, order, taken).is_err() {
            self.asked.overflows();
            return Err(Unwanted);
        }
        self.taken += part.len();
        self.collecting.push(part).await
    }

    fn finish(&mut self) {
        self.is_whole = true;
        self.collecting.finish();
    }

    async fn left(&mut self) {
        // Whoever would have said so is gone as well.
        let _ = self.left.wait_for(|has_left| *has_left).await;
    }
}

/// What all calls of a batch share.
struct Run<'a> {
    batch: &'a Batch,
    exchange: &'a Exchange,
    passed: &'a HeaderMap,
    ends: Instant,
    room: Arc<AtomicUsize>,
    leave: watch::Sender<bool>,
    under_way: JoinSet<(usize, Answered)>,
}

/// A call that was begun, or not yet.
struct Begun {
    call: Call,
    request_id: Arc<OnceLock<RequestId>>,
    answered: Option<Answered>,
}

/// Reads the list, has the engine serve all calls, and gives what they have answered.
pub(super) async fn reply(
    session: &mut Session,
    exchange: &mut Exchange,
    batch: &Batch,
    fills: &Fills,
) -> Reply {
    if exchange.is_call() {
        return Reply::failure(Code::BatchNested);
    }
    if session.req_header().method != Method::POST {
        return Reply::method_not_allowed("POST");
    }
    if !is_json(session.req_header().headers.get(CONTENT_TYPE)) {
        // With any other type a page of another site could send one without asking, cookies and all.
        return Reply::failure(Code::BatchInvalid).detail("the list is not application/json");
    }
    let body = match list(session, exchange, batch).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let calls = match list::read(&body, batch) {
        Ok(calls) => calls,
        Err(detail) => return Reply::failure(Code::BatchInvalid).detail(detail),
    };
    drop(body);
    let Some(Side::Whole(passed)) = exchange.batch.as_deref() else {
        return Reply::failure(Code::Internal);
    };
    let begun = |call| Begun {
        call,
        request_id: Arc::default(),
        answered: None,
    };
    let mut calls: Vec<Begun> = calls.into_iter().map(begun).collect();
    let mut run = Run {
        batch,
        exchange,
        passed,
        ends: Instant::now() + batch.timeout,
        room: Arc::new(AtomicUsize::new(batch.response_bytes)),
        leave: watch::Sender::new(false),
        under_way: JoinSet::new(),
    };
    let has_left = run.run(session, &mut calls, fills).await;
    match has_left {
        true => Reply::failure(Code::ClientClosed),
        false => run.answer(&calls),
    }
}

/// The list as it has come, or the reply where it has not.
async fn list(session: &mut Session, exchange: &Exchange, batch: &Batch) -> Result<Bytes, Reply> {
    let too_large = || Reply::failure(Code::PayloadTooLarge).closing();
    if let Some(body) = &exchange.facts.body {
        let fits = body.len() <= batch.request_bytes;
        return fits.then(|| body.clone()).ok_or_else(too_large);
    }
    let Allowance { time, code } =
        Deadline::of(exchange, session.req_header()).within(LIST_DEADLINE);
    let allowance = Allowance { time, code };
    let read = early_body::read(session, batch.request_bytes, allowance).await;
    read.unwrap_or_else(|_| Err(Reply::failure(Code::ClientClosed).closing()))
}

impl Run<'_> {
    /// Until all have ended, the time is over, or the client has left, which is said.
    async fn run(&mut self, session: &mut Session, calls: &mut [Begun], fills: &Fills) -> bool {
        let end = tokio::time::sleep_until((self.ends + GRACE).into());
        tokio::pin!(end);
        let mut waiting: VecDeque<usize> = (0..calls.len()).collect();
        let mut hearing = Hearing::new();
        let mut has_left = false;
        loop {
            while self.under_way.len() < self.batch.at_once
                && Instant::now() < self.ends
                && let Some(index) = waiting.pop_front()
                && let Some(begun) = calls.get(index)
            {
                self.begin(index, begun, fills);
            }
            if self.under_way.is_empty() {
                return false;
            }
            tokio::select! {
                biased;
                Some(ended) = self.under_way.join_next() => take(calls, ended.ok()),
                () = &mut end => break,
                _ = hearing.left(session) => {
                    has_left = true;
                    break;
                }
            }
        }
        // What ends in time by being told to is recorded as any other; the rest is dropped.
        self.leave.send_replace(true);
        let ending = async {
            while let Some(ended) = self.under_way.join_next().await {
                take(calls, ended.ok());
            }
        };
        let _ = tokio::time::timeout(GRACE, ending).await;
        has_left
    }

    /// Has the engine serve a call.
    fn begin(&mut self, index: usize, begun: &Begun, fills: &Fills) {
        let asked: Arc<Asked> = Arc::default();
        let Some(connection) = self.exchange.connection.clone() else {
            return;
        };
        let facts = Facts::new(connection.peer_ip(), Scheme::Http);
        let mut own = Exchange::on(self.exchange.route.clone(), facts);
        own.access_log = self.exchange.access_log.clone();
        own.batch = Some(Box::new(Side::Call(CallOf {
            connection,
            asked: asked.clone(),
            request_id: begun.request_id.clone(),
            ends: self.ends,
        })));
        let taking = Taking {
            collecting: Collecting::new(asked.clone(), self.batch.call_bytes),
            asked: asked.clone(),
            room: self.room.clone(),
            taken: 0,
            is_whole: false,
            left: self.leave.subscribe(),
        };
        let request = self.request(&begun.call);
        let session = own::session((request, Bytes::new()), Box::new(own), Box::new(taking));
        let served = fills.serve(session);
        self.under_way.spawn(async move {
            if let Some(served) = served {
                served.await;
            }
            (index, asked.answered())
        });
    }

    /// As the engine has it.
    fn request(&self, call: &Call) -> RequestHeader {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.method = Method::GET;
        parts.uri = call.target.clone().into();
        parts.headers = self.passed.clone();
        for (name, value) in &call.headers {
            parts.headers.insert(name.clone(), value.clone());
        }
        // Without a host it can only be of the version of the batch.
        parts.version = match parts.headers.contains_key(HOST) {
            true => Version::HTTP_11,
            false => Version::HTTP_10,
        };
        parts.into()
    }

    fn answer(&self, calls: &[Begun]) -> Reply {
        let of_batch = self.exchange.facts.request_id.as_str();
        let mut document = Document::new(self.batch.response_bytes);
        for begun in calls {
            let Call { id, target, .. } = &begun.call;
            let request_id = begun.request_id.get().map_or(of_batch, RequestId::as_str);
            let failure = |code| Answer::failure(code, request_id);
            let answer = match &begun.answered {
                Some(Answered::Whole {
                    status,
                    headers,
                    body,
                }) => Answer {
                    status: *status,
                    headers: headers.clone(),
                    body: body.clone(),
                },
                Some(Answered::TooLarge) => failure(Code::CallTooLarge),
                Some(Answered::Not(Some(Code::ClientClosed))) | None => {
                    failure(Code::ExchangeTimeout)
                }
                Some(Answered::Not(Some(code))) => failure(*code),
                Some(Answered::Not(None)) => failure(Code::UpstreamReset),
            };
            let path = target.path();
            document.push(id, path, &answer, &failure(Code::CallTooLarge));
        }
        let (text, cookies) = document.finish();
        let json = HeaderValue::from_static("application/json");
        let mut headers = vec![
            (CONTENT_TYPE, json),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        headers.extend(cookies.into_iter().map(|cookie| (SET_COOKIE, cookie)));
        Reply::content(StatusCode::OK, headers, text.into())
    }
}

/// A task of ours that has panicked was told; its call has no end, and is late.
fn take(calls: &mut [Begun], ended: Option<(usize, Answered)>) {
    if let Some((index, answered)) = ended
        && let Some(begun) = calls.get_mut(index)
    {
        begun.answered = Some(answered);
    }
}
