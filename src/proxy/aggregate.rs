//! Asks for the parts of an aggregation, and answers with what is put together of them.
//!
//! Each part is an exchange of the gateway's own on a route of its own, so that balancing, tries, breakers, limits of upstreams
//! and the cache are those of any other. Parts end with the reply: with the budget of the whole, with a required part that has
//! failed, and where the client leaves, those that are under way are dropped and their connections closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use serde_json::Value;
use tokio::task::JoinSet;

use super::beside::beside;
use super::cache::{self, Answer, Fills};
use super::collect::{Answered, Asked, Collecting};
use super::exchange::Exchange;
use super::fallback::Degraded;
use super::forwarding::handed_on;
use super::hearing::Hearing;
use super::own;
use super::part_spans::{PartSpans, Rest};
use crate::actions::Aggregate;
use crate::aggregation::{
    Assembled, DEGRADED_HEADER, Ended, Outcome, Outgoing, Plan, Reason, Run, Stream,
};
use crate::cache::Rules;
use crate::cache::rfc::{is_not_modified, strip_for_304};
use crate::facts::{View, draw_span, host_header};
use crate::response::{Code, Reply};
use crate::routing::Route;

/// For the filter of the whole, at least: of itself it takes a tenth of a second or so.
const FOR_FILTER: Duration = Duration::from_millis(500);
/// Within this the engine ends a part by its own deadline, which says more of why.
const GRACE: Duration = Duration::from_millis(20);

/// Those that are asked for.
struct UnderWay {
    plan: Arc<Plan>,
    tasks: JoinSet<Part>,
    of_client: Option<Arc<OfClient>>,
    /// What all of them say as the client does.
    handed_on: HeaderMap,
    spans: PartSpans,
}

/// A part that has ended.
struct Part {
    index: usize,
    outcome: Outcome,
    took: Duration,
}

/// What is of the client's in the requests of parts: what policies do to them, and which endpoints they are for.
pub(super) struct OfClient {
    pub(super) request: RequestHeader,
    /// A digest of the headers that policies write, empty where they write none.
    pub(super) written: Box<str>,
}

impl OfClient {
    /// `None` where nothing of it is asked for.
    fn new(
        exchange: &Exchange,
        request: &RequestHeader,
        aggregate: &Aggregate,
    ) -> Option<Arc<OfClient>> {
        let is_told = exchange.route.pipeline.changes_upstream_requests();
        (is_told || aggregate.is_directed()).then(|| {
            Arc::new(OfClient {
                request: request.clone(),
                written: match is_told {
                    true => written(exchange, request),
                    false => Box::default(),
                },
            })
        })
    }
}

/// A digest of the headers that policies write.
fn written(exchange: &Exchange, request: &RequestHeader) -> Box<str> {
    let mut headers = HeaderMap::new();
    let pipeline = &exchange.route.pipeline;
    pipeline.upstream_request(&mut headers, exchange.view(request));
    let mut lines = Vec::new();
    for (name, value) in &headers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.push(b':');
        lines.extend_from_slice(value.as_bytes());
        // No value has one.
        lines.push(b'\n');
    }
    let digest = digest(&SHA256, &lines);
    STANDARD_NO_PAD.encode(digest.as_ref()).into()
}

/// What it means how asking for a part has ended.
fn ended(asked: &Asked) -> Ended {
    match asked.answered() {
        Answered::TooLarge => Ended::Failed(Reason::TooLarge),
        Answered::Whole {
            status,
            headers,
            body,
        } => Ended::Complete {
            status,
            headers,
            body,
        },
        Answered::Not(Some(Code::UpstreamTimeout | Code::ExchangeTimeout)) => {
            Ended::Failed(Reason::Timeout)
        }
        Answered::Not(Some(code)) => Ended::Failed(Reason::Failure(code)),
        Answered::Not(None) => Ended::Failed(Reason::CutOff),
    }
}

impl Exchange {
    /// Whether it is one of the gateway's own, which has no client.
    pub(super) fn is_own(&self) -> bool {
        self.filler.is_some() || self.part.is_some()
    }

    /// How the answer of a part is kept; `None` for exchanges of anything else.
    pub(super) fn rules_of_part(&self) -> Option<Arc<Rules>> {
        self.part.as_ref()?;
        self.route.pipeline.cache().cloned()
    }

    /// It has the client's request id, so that what upstreams log is found by it, and is a span of its own beneath this one.
    fn for_part(
        &self,
        route: &Arc<Route>,
        asked: Arc<Asked>,
        of_client: &Option<Arc<OfClient>>,
    ) -> Exchange {
        let mut exchange = Exchange::on(route.clone(), self.facts.again());
        exchange.facts.trace = self.facts.trace.child(draw_span());
        exchange.connection = self.connection.clone();
        exchange.part = Some(asked);
        exchange.of_client = of_client.clone();
        exchange
    }
}

/// Asks for all parts, and gives what is made of them; or writes it as they come.
pub(super) async fn answer(
    session: &mut Session,
    exchange: &mut Exchange,
    aggregate: &Aggregate,
    fills: &Fills,
) -> Result<Answer> {
    let plan = aggregate.plan();
    let budget = tokio::time::sleep(plan.timeout);
    tokio::pin!(budget);
    let mut run = Run::new(plan.clone());
    let mut under_way = UnderWay {
        plan: plan.clone(),
        tasks: JoinSet::new(),
        of_client: OfClient::new(exchange, session.req_header(), aggregate),
        handed_on: handed_on(exchange, session.req_header()),
        spans: PartSpans::new(exchange.began, plan.parts().len()),
    };
    let is_told = exchange.route.pipeline.changes_upstream_requests();
    if is_told && exchange.facts.identity.is_some() {
        run.is_for_caller();
    }
    let mut rest = Rest::Cancelled;
    let first = run.start(exchange.view(session.req_header()));
    ask(first, session, exchange, &mut under_way, fills);
    // What the client still sends is none of the parts' business.
    let mut hearing = Hearing::new();
    let mut out = None;
    while !run.is_over() && !run.has_failed() {
        if let Err(error) = send(session, exchange, &mut run, &mut out).await {
            exchange.parts = Some(under_way.spans.tell(&run, &exchange.route, rest));
            return Err(error);
        }
        let ended = tokio::select! {
            biased;
            () = &mut budget => {
                rest = Rest::Budget;
                break;
            }
            Some(ended) = under_way.tasks.join_next() => ended,
            error = hearing.left(session) => {
                exchange.parts = Some(under_way.spans.tell(&run, &exchange.route, rest));
                return match out {
                    // Where it has broken a rule of the protocol, that is what is said of it.
                    None if exchange.refusal().is_none() => {
                        Ok(Answer::Reply(Reply::failure(Code::ClientClosed)))
                    }
                    _ => Err(error.into_down()),
                };
            }
        };
        // A task of ours that has panicked was told; the part has no end, and the budget ends it.
        let Ok(Part {
            index,
            outcome,
            took,
        }) = ended
        else {
            continue;
        };
        let next = run.end(index, outcome, exchange.view(session.req_header()));
        under_way.spans.end(index, took);
        ask(next, session, exchange, &mut under_way, fills);
    }
    under_way.tasks.abort_all();
    exchange.parts = Some(under_way.spans.tell(&run, &exchange.route, rest));
    if let Some(out) = out {
        let (last, degraded) = run.close(out);
        if let Some(reason) = degraded.and_then(|it| HeaderValue::try_from(it).ok()) {
            exchange.degraded = Some(Box::new(Degraded::told(reason, "aggregate".into())));
        }
        cache::send(session, exchange, Some(last.into()), true).await?;
        return Ok(Answer::Written);
    }
    run.give_up();
    let assembled = match plan.filter() {
        None => Some(run.finish(exchange.view(session.req_header()))),
        Some(_) => {
            let (facts, request) = (exchange.facts.again(), session.req_header().clone());
            let filtering = beside(move || {
                run.finish(View {
                    facts: &facts,
                    request: &request,
                })
            });
            // Where parts have taken all of the time there is some left for this.
            let ends = budget
                .deadline()
                .max(tokio::time::Instant::now() + FOR_FILTER);
            let filtered = tokio::time::timeout_at(ends, filtering).await;
            filtered.unwrap_or(Some(Assembled::Refused {
                status: StatusCode::GATEWAY_TIMEOUT,
                part: None,
                reason: Reason::Budget,
            }))
        }
    };
    let Some(assembled) = assembled else {
        return Ok(Answer::Reply(Reply::failure(Code::Internal)));
    };
    let reply = reply(assembled, plan, exchange, session.req_header());
    Ok(Answer::Reply(reply))
}

/// Writes what there is of an answer that goes out as its parts come; its header first, once that can be.
async fn send(
    session: &mut Session,
    exchange: &mut Exchange,
    run: &mut Run,
    out: &mut Option<Stream>,
) -> Result<()> {
    if out.is_none() && session.req_header().method == Method::GET {
        *out = run.stream();
        if out.is_some() {
            let mut head = http::Response::new(()).into_parts().0;
            let json = HeaderValue::from_static("application/json");
            head.headers.insert(CONTENT_TYPE, json);
            let no_store = HeaderValue::from_static("no-store");
            head.headers.insert(CACHE_CONTROL, no_store);
            cache::open(session, exchange, head, None).await?;
        }
    }
    let Some(out) = out else { return Ok(()) };
    let bytes = run.send(out);
    match bytes.is_empty() {
        true => Ok(()),
        false => cache::send(session, exchange, Some(bytes.into()), false).await,
    }
}

/// Has the engine ask for these parts.
fn ask(
    parts: Vec<(usize, Outgoing)>,
    session: &Session,
    exchange: &Exchange,
    under_way: &mut UnderWay,
    fills: &Fills,
) {
    for (index, outgoing) in parts {
        let began = Instant::now();
        let asked: Arc<Asked> = Arc::default();
        let served = exchange.route.parts.get(index).and_then(|route| {
            let own = Box::new(exchange.for_part(route, asked.clone(), &under_way.of_client));
            under_way.spans.start(index, own.facts.trace);
            let collecting = Box::new(Collecting::new(asked.clone(), route.largest_part));
            let host = host_header(session.req_header());
            let request = request(outgoing, route, (host, &under_way.handed_on));
            let served = fills.serve(own::session(request, own, collecting))?;
            Some((served, route.timeout))
        });
        let Some((served, timeout)) = served else {
            let failed = Part {
                index,
                outcome: Outcome::Failed(Reason::Failure(Code::Internal)),
                took: began.elapsed(),
            };
            under_way.tasks.spawn(async { failed });
            continue;
        };
        let plan = under_way.plan.clone();
        under_way.tasks.spawn(async move {
            let is_in_time = match timeout {
                Some(timeout) => tokio::time::timeout(timeout + GRACE, served).await.is_ok(),
                None => {
                    served.await;
                    true
                }
            };
            let took = began.elapsed();
            let ended = match is_in_time {
                true => ended(&asked),
                false => Ended::Failed(Reason::Timeout),
            };
            Part {
                index,
                outcome: read(plan, index, ended).await,
                took,
            }
        });
    }
}

/// What it comes to that a part has ended so. A filter is no longer waited for than whoever waits for this.
async fn read(plan: Arc<Plan>, part: usize, ended: Ended) -> Outcome {
    let compiled = plan.parts().get(part);
    match compiled.is_some_and(|part| part.shape().is_slow()) {
        false => plan.read(part, ended),
        true => {
            let read = beside(move || plan.read(part, ended)).await;
            read.unwrap_or(Outcome::Failed(Reason::Failure(Code::Internal)))
        }
    }
}

/// As the engine has it. The headers that the part names itself win over those that are handed on.
fn request(
    outgoing: Outgoing,
    route: &Route,
    (host, handed_on): (Option<HeaderValue>, &HeaderMap),
) -> (RequestHeader, Bytes) {
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = outgoing.method;
    parts.version = Version::HTTP_11;
    parts.uri = outgoing.target.into();
    parts.headers = handed_on.clone();
    parts.headers.extend(outgoing.headers);
    // Who calls is what policies say, also where that is nobody.
    for name in route.pipeline.reserved() {
        parts.headers.remove(name);
    }
    if let Some(host) = host
        && !parts.headers.contains_key(HOST)
    {
        parts.headers.insert(HOST, host);
    }
    if !outgoing.body.is_empty() {
        parts
            .headers
            .insert(CONTENT_LENGTH, outgoing.body.len().into());
    }
    (parts.into(), outgoing.body)
}

fn reply(
    assembled: Assembled,
    plan: &Plan,
    exchange: &mut Exchange,
    request: &RequestHeader,
) -> Reply {
    let whole = match assembled {
        Assembled::Whole(whole) => whole,
        Assembled::Refused {
            status,
            part,
            reason,
        } => {
            let code = match status {
                StatusCode::GATEWAY_TIMEOUT => Code::PartTimeout,
                _ => Code::PartFailed,
            };
            let slug = reason.slug(plan);
            let reply = Reply::failure(code).member("reason", Value::String(slug.clone()));
            let name = part.and_then(|part| plan.parts().get(part));
            let Some(name) = name.map(|part| part.name()) else {
                return reply.cause(slug);
            };
            let detail = format!("the part {name:?} has no answer");
            let reply = reply.member("part", Value::String(name.to_owned()));
            return reply.detail(detail).cause(format!("{name}: {slug}"));
        }
    };
    let mut headers: HeaderMap = whole.headers.into_iter().collect();
    if let Some(reason) = headers.remove(DEGRADED_HEADER) {
        // It is told with everything else that is said of a response that is not as it should be.
        let degraded = Degraded::told(reason, "aggregate".into());
        exchange.degraded = Some(Box::new(degraded));
    }
    let is_read = [Method::GET, Method::HEAD].contains(&request.method);
    let content = |status, headers: HeaderMap, body| {
        let headers = headers.into_iter();
        let headers = headers.filter_map(|(name, value)| Some((name?, value)));
        Reply::content(status, headers.collect(), body)
    };
    if is_read && is_not_modified(&request.headers, StatusCode::OK, &headers) {
        strip_for_304(&mut headers);
        return content(StatusCode::NOT_MODIFIED, headers, Bytes::new());
    }
    content(StatusCode::OK, headers, whole.body)
}
