//! An aggregation, compiled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::config::{Config, LimitsConfig, PartCache, PartConfig};
use super::graph::Graph;
use super::layout::{DEGRADED, DEGRADED_PARTS, Lander, Layout};
use super::order;
use super::request::Request;
use super::shape::{Filter, Shape};
use super::statuses::Statuses;
use crate::facts::{Expression, JsonTemplate, PartField, Variables};
use crate::text::{Bounded, ByteSize, Name, Setting, Span, Spanned, Subject};
use crate::upstream::Retry;

/// As many parts as an aggregation may have.
pub const MOST_PARTS: usize = 32;

/// As much may be kept of the bodies of all parts of one request.
const MOST_BYTES: ByteSize = ByteSize::from_mib(256);

const USUAL_TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

/// An aggregation, compiled. Its parts go by their places in the order of their names.
#[derive(Debug)]
pub struct Plan {
    parts: Box<[Part]>,
    graph: Graph,
    answer: Form,
    filter: Option<Filter>,
    /// The client's headers that it depends on, in order, each once.
    varies_by: Box<[HeaderName]>,
    pub timeout: Duration,
    pub limits: Limits,
    /// The answer is an object whose fields go out as they come.
    pub(super) streams: bool,
}

/// What the answer is made of.
#[derive(Debug)]
pub enum Form {
    /// An object, in which each part lands somewhere.
    Object(Layout),
    /// Anything.
    Response(JsonTemplate),
}

/// One part, compiled.
#[derive(Debug)]
pub struct Part {
    name: Name,
    upstream: Name,
    pub request: Request,
    /// Less than that of the whole.
    pub timeout: Option<Duration>,
    /// Where it is not as the upstream has it.
    pub retry: Option<Arc<Retry>>,
    pub cache: Option<Kept>,
    when: Option<Expression<bool>>,
    contract: Contract,
    accept: Box<[Statuses]>,
    shape: Shape,
    /// Those that its request names, in order; those that its condition names are needed for that alone.
    inputs: Box<[usize]>,
}

/// What it means that a part has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contract {
    /// There is no answer.
    Required,
    /// It is absent.
    Optional,
    /// This stands for it, as JSON.
    Default(Box<str>),
}

/// How long an answer is kept, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub ttl: Option<Duration>,
    pub while_revalidate: Option<Duration>,
    pub if_error: Option<Duration>,
    /// How long to wait for what is being fetched already; `None` is not at all.
    pub collapse: Option<Duration>,
    /// The headers of its request that are not the same for all. What is kept is for requests with the same of these.
    pub vary_by: Box<[HeaderName]>,
}

/// How much of anything there may be, in bytes and in levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub part_bytes: usize,
    pub response_bytes: usize,
    pub depth: usize,
}

impl Plan {
    /// Compiles an aggregation. `parameters` are those of the route's path. `is_upstream` is asked for each part once, in their
    /// order, whether there is its upstream, and says itself where there is none. `None` after diagnostics.
    pub fn build(
        config: &Spanned<Config>,
        parameters: &[Box<str>],
        mut is_upstream: impl FnMut(&Spanned<Name>, &mut Subject<'_>) -> bool,
        subject: &mut Subject<'_>,
    ) -> Option<Plan> {
        let before = subject.error_count();
        let timeout = whole_timeout(config, subject);
        let count = config.parts.len();
        let limits = Limits::build(&config.limits, count, &mut subject.key("limits"));
        if count == 0 {
            let what = "has no parts";
            let problem = subject.error(config.span, what);
            problem.help("write parts.NAME = { upstream = \"…\", path = \"/…\" }");
            return None;
        }
        if count > MOST_PARTS {
            let what = format!("has {count} parts; there may be {MOST_PARTS}");
            subject.key("parts").error(config.span, what);
            return None;
        }
        let names = config.parts.keys();
        let names: Vec<Box<str>> = names.map(|name| name.as_str().into()).collect();
        let variables = Variables::Parts {
            parameters,
            parts: &names,
        };
        let mut parts = Vec::with_capacity(count);
        for (name, part) in &config.parts {
            let mut table = subject.key("parts");
            let mut subject = table.key(name.as_str());
            if !is_upstream(&part.upstream, &mut subject.key("upstream")) {
                continue;
            }
            let built = Part::build(name, part, variables, &mut subject);
            check_timeout(part, timeout, &mut subject);
            parts.extend(built);
        }
        if subject.error_count() > before || parts.len() < count {
            return None;
        }
        let places: Vec<Span> = config.parts.keys().map(|name| name.span).collect();
        let graph = order::graph(&parts, &places, &mut subject.key("parts"));
        let answer = answer(config, &parts, variables, subject);
        let filter = match &config.jq {
            None => None,
            Some(text) => Some(Filter::build(text, &mut subject.key("jq"))?),
        };
        let answer = answer?;
        let streams = streams(config, &answer, subject)?;
        Some(Plan {
            graph: graph?,
            streams,
            filter,
            varies_by: varies_by(&parts, &answer),
            answer,
            parts: parts.into(),
            timeout,
            limits,
        })
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn answer(&self) -> &Form {
        &self.answer
    }

    /// Whether the answer says something of who calls beside what its parts say.
    pub(super) fn is_of_one_client(&self) -> bool {
        matches!(&self.answer, Form::Response(template) if template.is_of_one_client())
    }

    /// What makes the answer of what parts have made.
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// What an object in which parts land has beside them, in bytes, about.
    pub(super) fn overhead(&self) -> usize {
        match &self.answer {
            Form::Object(_) => self.parts.len() * 1024,
            Form::Response(_) => 0,
        }
    }

    /// The client's headers that the answer depends on, in order, each once.
    pub fn varies_by(&self) -> &[HeaderName] {
        &self.varies_by
    }
}

impl Part {
    fn build(
        name: &Spanned<Name>,
        config: &Spanned<PartConfig>,
        variables: Variables<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Part> {
        let request = Request::build(config, variables, subject);
        let when = config
            .when
            .as_ref()
            .map(|text| Expression::<bool>::build(text, variables, &mut subject.key("when")));
        let retry = config
            .retry
            .as_ref()
            .map(|retry| Arc::new(Retry::of_route(retry, &mut subject.key("retry"))));
        let contract = contract(config, subject);
        let shape = Shape::build(config, subject);
        let request = request?;
        let cache = kept(config, &request, &mut subject.key("cache"));
        let accept = match &config.accept {
            None => [Statuses::SUCCESSFUL].into(),
            Some(accept) => {
                if accept.is_empty() {
                    let what = "is empty, so that every answer is a failure";
                    subject.key("accept").error(accept.span, what);
                }
                accept.iter().map(|one| one.value).collect()
            }
        };
        let when = match when {
            Some(None) => return None,
            Some(compiled) => compiled,
            None => None,
        };
        let inputs: BTreeSet<usize> = request.parts().map(|field| field.part).collect();
        Some(Part {
            name: name.value.clone(),
            upstream: config.upstream.value.clone(),
            request,
            timeout: config.timeout.as_ref().map(|it| it.as_std()),
            retry,
            cache,
            when,
            contract: contract?,
            accept,
            shape: shape?,
            inputs: inputs.into_iter().collect(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn upstream(&self) -> &Name {
        &self.upstream
    }

    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    pub fn is_required(&self) -> bool {
        self.contract == Contract::Required
    }

    /// What is made of its body.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether it is wanted, where that depends on anything.
    pub fn when(&self) -> Option<&Expression<bool>> {
        self.when.as_ref()
    }

    /// The parts that its request names, in order.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Whether an answer with this status is one.
    pub fn accepts(&self, status: http::StatusCode) -> bool {
        self.accept.iter().any(|statuses| statuses.has(status))
    }

    /// Whether what it asks for, or whether it is asked for, depends on who calls.
    pub fn names_the_caller(&self) -> bool {
        let in_condition = self.when.as_ref().is_some_and(Expression::names_the_caller);
        in_condition || self.request.names_the_caller()
    }

    /// What it names of other parts, in its request and its condition.
    pub(super) fn fields(&self) -> impl Iterator<Item = &PartField> {
        let of_condition = self.when.iter().flat_map(Expression::parts);
        self.request.parts().chain(of_condition)
    }
}

impl Limits {
    fn build(config: &LimitsConfig, parts: usize, subject: &mut Subject<'_>) -> Limits {
        let mut bytes = |key, own: &Option<Spanned<ByteSize>>, usual, most| {
            let Some(own) = own else { return usual };
            if own.value > most {
                let what = format!("must be at most \"{most}\", got \"{}\"", own.value);
                subject.key(key).error(own.span, what);
            }
            own.value
        };
        let mib = ByteSize::from_mib;
        let part = bytes("part_bytes", &config.part_bytes, mib(1), mib(16));
        let response = bytes("response_bytes", &config.response_bytes, mib(4), mib(64));
        let most = MOST_BYTES.as_usize() / parts.max(1);
        if let Some(own) = config.part_bytes.as_ref().filter(|it| it.value <= mib(16))
            && part.as_usize() > most
        {
            let what = format!(
                "must be at most \"{MOST_BYTES}\" for all {parts} parts together, got \"{}\" for each",
                own.value
            );
            let mut subject = subject.key("part_bytes");
            let problem = subject.error(own.span, what);
            problem.help("as much is kept for one request");
        }
        Limits {
            part_bytes: part.as_usize(),
            response_bytes: response.as_usize(),
            depth: config
                .depth
                .map_or(64, |depth| usize::from(Bounded::get(depth))),
        }
    }
}

fn whole_timeout(config: &Config, subject: &mut Subject<'_>) -> Duration {
    let Some(own) = &config.timeout else {
        return USUAL_TIMEOUT;
    };
    if own.as_std() > LONGEST_TIMEOUT {
        let what = format!("must be at most \"5m\", got \"{}\"", own.value);
        subject.key("timeout").error(own.span, what);
    }
    own.as_std()
}

fn check_timeout(config: &PartConfig, whole: Duration, subject: &mut Subject<'_>) {
    if let Some(own) = config.timeout.as_ref().filter(|it| it.as_std() > whole) {
        let what = format!(
            "must be at most that of the whole, {}ms, got \"{}\"",
            whole.as_millis(),
            own.value
        );
        subject.key("timeout").error(own.span, what);
    }
}

fn contract(config: &PartConfig, subject: &mut Subject<'_>) -> Option<Contract> {
    let is_required = config.required.as_ref().is_some_and(|it| it.value);
    match (&config.default, &config.required) {
        (Some(serde_json::Value::Null), _) => {
            let what = "must be a value; without a default the part is absent where it has failed";
            subject.key("default").error(config.path.span, what);
            None
        }
        (Some(_), Some(required)) if is_required => {
            let what = "has a default, which is for parts that there can be an answer without";
            let problem = subject.error(required.span, what);
            problem.help("remove required or default");
            None
        }
        (Some(default), _) => Some(Contract::Default(default.to_string().into())),
        (None, _) if is_required => Some(Contract::Required),
        (None, _) => Some(Contract::Optional),
    }
}

fn kept(config: &PartConfig, request: &Request, subject: &mut Subject<'_>) -> Option<Kept> {
    let cache: &Spanned<PartCache> = config.cache.as_ref()?.as_ref().on()?;
    if *request.method() != http::Method::GET {
        let what = "is for GET alone: what other methods answer is not kept";
        subject.error(cache.span, what);
    }
    let seconds = |time: Option<crate::text::Duration>| time.map(|time| time.as_std());
    let collapse = match &cache.collapse {
        None => Some(PATIENCE),
        Some(Setting::Off) => None,
        Some(Setting::On(wait)) => Some(wait.as_std().min(LONGEST_PATIENCE)),
    };
    Some(Kept {
        ttl: seconds(cache.ttl),
        while_revalidate: seconds(cache.stale_while_revalidate),
        if_error: seconds(cache.stale_if_error),
        collapse,
        vary_by: request.varying_headers().cloned().collect(),
    })
}

/// Where parts land, or what is made of them.
/// Whether the answer goes out as its parts come. `None` after a diagnostic, where it is not of that kind.
fn streams(config: &Spanned<Config>, answer: &Form, subject: &mut Subject<'_>) -> Option<bool> {
    let Some(stream) = config.stream.as_ref().filter(|it| it.value) else {
        return Some(false);
    };
    let is_made_of_all = match answer {
        Form::Object(layout) => !layout.fields.is_empty() || !layout.merges.is_empty(),
        Form::Response(_) => true,
    };
    if is_made_of_all || config.jq.is_some() {
        let what = "does not go with `response`, `jq`, `merge` and parts at `.`: what they make is made of all parts at once";
        subject.key("stream").error(stream.span, what);
        return None;
    }
    Some(true)
}

fn answer(
    config: &Spanned<Config>,
    parts: &[Part],
    variables: Variables<'_>,
    subject: &mut Subject<'_>,
) -> Option<Form> {
    let landers = config.parts.iter().zip(parts);
    let landers: Vec<_> = landers
        .map(|((name, config), part)| Lander {
            name,
            config,
            shape: &part.shape,
        })
        .collect();
    let Some(response) = &config.response else {
        return Layout::build(&landers, &mut subject.key("parts")).map(Form::Object);
    };
    let before = subject.error_count();
    for (name, part) in &config.parts {
        let needless = [
            ("at", part.at.as_ref().map(|own| own.span)),
            ("merge", part.merge.as_ref().map(|own| own.span)),
        ];
        let mut table = subject.key("parts");
        let mut subject = table.key(name.as_str());
        for (key, span) in needless {
            if let Some(span) = span {
                let what = "is of no use beside response, which says where everything is";
                subject.key(key).error(span, what);
            }
        }
    }
    let mut subject = subject.key("response");
    if let serde_json::Value::Object(fields) = response
        && let Some(own) = [DEGRADED, DEGRADED_PARTS]
            .into_iter()
            .find(|own| fields.contains_key(*own))
    {
        let what = format!("has a field `{own}`, where the gateway says what is missing");
        subject.error(config.span, what);
    }
    match JsonTemplate::compile(response, variables) {
        Ok(template) => (subject.error_count() == before).then_some(Form::Response(template)),
        Err(error) => {
            subject.error(config.span, error.problem).help = error.help.map(Into::into);
            None
        }
    }
}

fn varies_by(parts: &[Part], answer: &Form) -> Box<[HeaderName]> {
    let mut names: Vec<HeaderName> = Vec::new();
    for part in parts {
        let of_condition = part.when.iter().flat_map(Expression::client_headers);
        names.extend(part.request.client_headers().chain(of_condition).cloned());
    }
    if let Form::Response(template) = answer {
        names.extend(template.client_headers().cloned());
    }
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names.into()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
