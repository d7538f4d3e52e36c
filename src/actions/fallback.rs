//! `fallback`: what answers where a route's upstream cannot.
//!
//! A chain of steps. The first that is for the failure, and can be taken, answers; where that fails in its turn, the
//! next one does. An upstream can be taken only by a request that may be sent again, by the rules of retries: one that
//! has not been sent at all, that its upstream has certainly not looked at, or that does no more the second time than
//! it did the first; and as long as there is time left of the route's `timeout`. A reply can always be taken, until
//! the response has begun.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::upstream_name::some_upstream;
use super::{Respond, RespondConfig};
use crate::facts::{JsonTemplate, Variables, View};
use crate::response::{Code, Reply};
use crate::text::{
    Bounded, Headers, Name, ParsedText, Several, Span, Spanned, Subject, parsed_text, quoted,
};
use crate::upstream::Upstream;

/// One step: either `upstream`, or a reply of the gateway's own, as in
/// `{ status = 503, json = { degraded = true, request = "{request.id}" } }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Asks this upstream instead. The route's `rewrite` and policies hold for it as well, and its own `max_in_flight`.
    #[serde(default, deserialize_with = "some_upstream")]
    pub upstream: Option<Spanned<Name>>,
    /// Of a reply: 200 to 599. Default 503. Callers of gRPC get the status of the failure instead of a reply.
    pub status: Option<Bounded<200, 599>>,
    /// Any value, sent as `application/json`. Its strings may name facts of the request, such as `{request.id}`; one
    /// that is absent makes `null` of its string. A brace itself is written twice.
    pub json: Option<serde_json::Value>,
    /// Text, sent as `text/plain; charset=utf-8` where `headers` names no other type.
    pub body: Option<String>,
    /// Without `cache-control` among them, a reply says `no-store`.
    #[serde(default)]
    pub headers: Headers<Spanned<String>>,
    /// What it is for: `"connect"` (no connection could be made), `"reset"` (the upstream broke off), `"timeout"`,
    /// `"protocol"` (what came is no HTTP, or larger than it may be), `"unavailable"` (there is no endpoint that may be
    /// asked: none is healthy, or a circuit is open), `"busy"` (there is no place under `max_in_flight`; where that is
    /// the route's own, for replies alone), and statuses of responses from `"400"` to `"599"`. Default: all of the words,
    /// and `"502"`, `"503"` and `"504"`.
    pub on: Option<Spanned<Vec<Spanned<Condition>>>>,
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Connect,
    Reset,
    Timeout,
    Protocol,
    Unavailable,
    Busy,
    Status(StatusCode),
}

const WORDS: [(&str, Condition); 6] = [
    ("connect", Condition::Connect),
    ("reset", Condition::Reset),
    ("timeout", Condition::Timeout),
    ("protocol", Condition::Protocol),
    ("unavailable", Condition::Unavailable),
    ("busy", Condition::Busy),
];

const USUAL: [Condition; 3] = [
    Condition::Status(StatusCode::BAD_GATEWAY),
    Condition::Status(StatusCode::SERVICE_UNAVAILABLE),
    Condition::Status(StatusCode::GATEWAY_TIMEOUT),
];

/// What is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be connect, reset, timeout, protocol, unavailable, busy or a status from 400 to 599, got {}", quoted(.0))]
pub struct Unknown(Box<str>);

impl FromStr for Condition {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Condition, Unknown> {
        if let Some((_, condition)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*condition);
        }
        let status = text.parse().ok().filter(|_| text.len() == 3);
        let status = status.filter(|status: &StatusCode| status.as_u16() >= 400);
        let status = status.filter(|status| status.as_u16() < 600);
        status
            .map(Condition::Status)
            .ok_or_else(|| Unknown(text.into()))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, WORDS.iter().find(|(_, it)| it == self)) {
            (_, Some((word, _))) => f.write_str(word),
            (Condition::Status(status), None) => f.write_str(status.as_str()),
            (_, None) => Err(fmt::Error),
        }
    }
}

impl ParsedText for Condition {
    const EXPECTED: &'static str = "what the step is for, such as \"connect\" or \"503\"";

    fn from_number(number: i64) -> Option<Result<Self, Unknown>> {
        Some(number.to_string().parse())
    }
}

parsed_text!(
    Condition,
    ["string", "integer"],
    "^(connect|reset|timeout|protocol|unavailable|busy|[45][0-9][0-9])$",
    "What a step of a fallback is for: \"connect\", \"reset\", \"timeout\", \"protocol\", \"unavailable\", \"busy\", or a status such as \"503\"."
);

/// Why an upstream's part of an exchange did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Failure(Code),
    /// It answered, with this.
    Status(StatusCode),
}

impl Why {
    /// What steps call it. `None` where it is not the upstream's failure, and nothing else should answer.
    fn condition(self) -> Option<Condition> {
        match self {
            Why::Status(status) => Some(Condition::Status(status)),
            Why::Failure(code) => match code {
                Code::UpstreamConnectFailed | Code::UpstreamConnectTimeout => {
                    Some(Condition::Connect)
                }
                Code::UpstreamReset => Some(Condition::Reset),
                Code::UpstreamTimeout => Some(Condition::Timeout),
                Code::UpstreamProtocol | Code::UpstreamResponseTooLarge => {
                    Some(Condition::Protocol)
                }
                Code::UpstreamUnhealthy | Code::CircuitOpen => Some(Condition::Unavailable),
                Code::UpstreamBusy | Code::RouteBusy => Some(Condition::Busy),
                _ => None,
            },
        }
    }

    /// Whether another upstream may be asked: not past the route's own limit, which holds for whatever upstream.
    fn leads_elsewhere(self) -> bool {
        self != Why::Failure(Code::RouteBusy)
    }

    /// For people and metrics: a slug of the error index, or `status_503`.
    pub fn reason(self) -> String {
        match self {
            Why::Failure(code) => code.slug().to_owned(),
            Why::Status(status) => format!("status_{}", status.as_u16()),
        }
    }
}

/// The steps of a route, in order.
#[derive(Debug, Default)]
pub struct Fallback(Box<[Step]>);

/// One step.
#[derive(Debug)]
pub struct Step {
    on: Box<[Condition]>,
    pub answer: Answer,
}

/// What a step answers with.
#[derive(Debug)]
pub enum Answer {
    Upstream(Arc<Upstream>),
    Reply(FixedReply),
}

/// A reply of the gateway's own.
#[derive(Debug)]
pub struct FixedReply {
    respond: Respond,
    json: Option<JsonTemplate>,
}

impl Fallback {
    /// Compiles the steps; `find` resolves an upstream's name, and is `None` after a diagnostic.
    pub fn build(
        config: &Several<Config>,
        parameters: &[Box<str>],
        mut find: impl FnMut(&Spanned<Name>, &mut Subject<'_>) -> Option<Arc<Upstream>>,
        subject: &mut Subject<'_>,
    ) -> Option<Fallback> {
        let mut steps = Vec::with_capacity(config.len());
        let is_one = config.len() == 1;
        for (index, step) in config.iter().enumerate() {
            let built = match is_one {
                true => Step::build(step, parameters, &mut find, subject),
                false => Step::build(step, parameters, &mut find, &mut subject.index(index)),
            };
            steps.push(built);
        }
        let steps: Option<Box<[Step]>> = steps.into_iter().collect();
        steps.map(Fallback)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn step(&self, index: usize) -> Option<&Step> {
        self.0.get(index)
    }

    /// For people: each step, and what it is for.
    pub fn describe(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|step| {
            let on: Vec<String> = step.on.iter().map(Condition::to_string).collect();
            format!("{} for {}", step.describe(), on.join(", "))
        })
    }

    /// The upstreams among the steps.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.0.iter().filter_map(|step| match &step.answer {
            Answer::Upstream(upstream) => Some(upstream),
            Answer::Reply(_) => None,
        })
    }

    /// The first step, from the one at `from` on, that is for this; of upstreams only where the request can be sent to
    /// one.
    pub fn next(&self, from: usize, why: Why, can_be_sent: bool) -> Option<usize> {
        let condition = why.condition()?;
        let can_be_sent = can_be_sent && why.leads_elsewhere();
        let mut steps = self.0.iter().enumerate().skip(from);
        let step = steps.find(|(_, step)| {
            let is_possible = can_be_sent || matches!(step.answer, Answer::Reply(_));
            is_possible && step.on.contains(&condition)
        });
        step.map(|(index, _)| index)
    }
}

impl Step {
    fn build(
        config: &Spanned<Config>,
        parameters: &[Box<str>],
        find: &mut impl FnMut(&Spanned<Name>, &mut Subject<'_>) -> Option<Arc<Upstream>>,
        subject: &mut Subject<'_>,
    ) -> Option<Step> {
        let on = conditions(config, subject);
        let answer = match &config.upstream {
            Some(named) => {
                let has_reply = config.status.is_some()
                    || config.json.is_some()
                    || config.body.is_some()
                    || !config.headers.is_empty();
                if has_reply {
                    let what = "has both an upstream and a reply of the gateway's own";
                    let problem = subject.error(config.span, what);
                    problem.help("write them as two steps: fallback = [{ upstream = \"…\" }, { status = 503 }]");
                    return None;
                }
                Answer::Upstream(find(named, &mut subject.key("upstream"))?)
            }
            None => Answer::Reply(FixedReply::build(config, parameters, subject)?),
        };
        Some(Step { on: on?, answer })
    }

    /// For metrics, logs and people: `upstream NAME` or `reply STATUS`.
    pub fn describe(&self) -> String {
        match &self.answer {
            Answer::Upstream(upstream) => format!("upstream {}", upstream.name()),
            Answer::Reply(reply) => format!("reply {}", reply.respond.status()),
        }
    }
}

fn conditions(config: &Config, subject: &mut Subject<'_>) -> Option<Box<[Condition]>> {
    let Some(on) = &config.on else {
        let words = WORDS.iter().map(|(_, condition)| *condition);
        return Some(words.chain(USUAL).collect());
    };
    if on.is_empty() {
        let mut subject = subject.key("on");
        let problem = subject.error(on.span, "is empty: the step is for nothing");
        problem.help("remove it for the usual failures, or write on = [\"connect\", \"503\"]");
        return None;
    }
    Some(on.iter().map(|condition| condition.value).collect())
}

impl FixedReply {
    fn build(
        config: &Spanned<Config>,
        parameters: &[Box<str>],
        subject: &mut Subject<'_>,
    ) -> Option<FixedReply> {
        let span: Span = config.span;
        let respond = RespondConfig {
            status: config.status.or(Bounded::new(503)),
            json: config.json.clone(),
            body: config.body.clone(),
            headers: config.headers.clone(),
        };
        let mut respond = Respond::build(&respond, span, subject)?;
        if !respond.has_header(&CACHE_CONTROL) {
            respond.push_header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let json = match &config.json {
            None => None,
            Some(json) => match JsonTemplate::compile(json, Variables::Route(parameters)) {
                Ok(template) => Some(template),
                Err(error) => {
                    let mut subject = subject.key("json");
                    subject.error(span, error.problem).help = error.help.map(Into::into);
                    return None;
                }
            },
        };
        Some(FixedReply { respond, json })
    }

    pub fn reply(&self, view: View<'_>) -> Reply {
        let mut reply = self.respond.reply();
        if let Some(json) = &self.json {
            reply.body = json.render(view);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_words_and_statuses() {
        let check = |text: &str, expected: Option<Condition>| {
            let read = text.parse::<Condition>().ok();
            assert_eq!(read, expected, "{text}");
            if let Some(condition) = read {
                assert_eq!(condition.to_string(), text);
            }
        };
        check("connect", Some(Condition::Connect));
        check("busy", Some(Condition::Busy));
        check(
            "503",
            Some(Condition::Status(StatusCode::SERVICE_UNAVAILABLE)),
        );
        check(
            "499",
            Some(Condition::Status(StatusCode::from_u16(499).unwrap())),
        );
        for wrong in ["", "200", "399", "600", "5xx", "0503", "Connect", "+50"] {
            check(wrong, None);
        }
    }

    #[test]
    fn failures_of_clients_and_of_the_gateway_are_never_covered_up() {
        for &code in Code::ALL {
            let is_covered = Why::Failure(code).condition().is_some();
            let is_of_upstream = code.slug().starts_with("upstream_")
                || matches!(code, Code::RouteBusy | Code::CircuitOpen);
            assert!(!is_covered || is_of_upstream, "{}", code.slug());
        }
    }
}
