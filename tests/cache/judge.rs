//! Holds an answer, and what the origin was asked for it, against what was expected.

use std::fmt::Write;

use http::HeaderMap;
use sfv::{BareItem, ListEntry, Parser};

use crate::case::{Expected, Outcome, Step};
use crate::harness::Answer;
use crate::scripted::{Asked, Script};

/// One answer of one step.
pub struct Heard<'a> {
    pub script: &'a Script,
    pub number: usize,
    /// The step whose reply is stored, as far as the case says.
    pub stored: Option<usize>,
    pub answer: Result<&'a Answer, &'a str>,
    pub asked: &'a [Asked],
}

impl Heard<'_> {
    fn step(&self) -> &Step {
        &self.script.case.steps[self.number]
    }

    fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }
}

/// Adds what is wrong.
pub fn judge(heard: &Heard<'_>, complaints: &mut Vec<String>) {
    let expected = &heard.step().expected;
    judge_origin(heard, complaints);
    let answer = match (heard.answer, expected.outcome) {
        (Err(_), Outcome::Broken | Outcome::Any) => return,
        (Err(error), _) => return complaints.push(format!("no answer: {error}")),
        (Ok(answer), Outcome::Broken) => {
            if answer.status < 500 {
                complaints.push(format!("status {} and a whole body", answer.status));
            }
            return;
        }
        (Ok(answer), _) => answer,
    };
    judge_status(heard, answer, complaints);
    judge_body(heard, answer, complaints);
    judge_fields(heard, answer, complaints);
    judge_age(expected, answer, complaints);
    judge_cache_status(expected, answer, complaints);
}

fn judge_origin(heard: &Heard<'_>, complaints: &mut Vec<String>) {
    let expected = &heard.step().expected;
    match expected.outcome {
        Outcome::Fetched | Outcome::Validated | Outcome::Refreshing if !heard.is_asked() => {
            complaints.push("the origin was not asked".to_owned());
        }
        Outcome::Reused | Outcome::Local if heard.is_asked() => {
            complaints.push("the origin was asked".to_owned());
        }
        _ => {}
    }
    let times = heard.asked.len();
    if expected
        .times
        .as_ref()
        .is_some_and(|it| !it.contains(&times))
    {
        complaints.push(format!("the origin was asked {times} times"));
    }
    let Some(asked) = heard.asked.first() else {
        return;
    };
    for field in &expected.sees {
        let field = heard.script.fill(field);
        let (name, value) = parse(&field);
        let seen = asked.field(name);
        if seen.is_none() || value.is_some_and(|value| seen.as_deref() != Some(value)) {
            let value = value.unwrap_or("any");
            complaints.push(format!("the origin saw {name}: {seen:?}, not {value:?}"));
        }
    }
    for name in &expected.sees_not {
        if let Some(value) = asked.field(name) {
            complaints.push(format!("the origin saw {name}: {value}"));
        }
    }
}

fn judge_status(heard: &Heard<'_>, answer: &Answer, complaints: &mut Vec<String>) {
    let step = heard.step();
    let stored = || heard.stored.map(|stored| &heard.script.case.steps[stored]);
    let status = match step.expected.outcome {
        _ if step.expected.status.is_some() => step.expected.status,
        Outcome::Fetched => Some(step.reply.status),
        Outcome::Reused | Outcome::Validated | Outcome::Refreshing | Outcome::Stale => {
            stored().map(|stored| stored.reply.status)
        }
        Outcome::Local | Outcome::Any | Outcome::Broken => None,
    };
    if step.expected.is_not == Some(answer.status) {
        complaints.push(format!("status {}", answer.status));
    }
    if status.is_some_and(|status| status != answer.status) {
        let status = status.expect("it is there");
        complaints.push(format!("status {}, not {status}", answer.status));
    }
}

fn judge_body(heard: &Heard<'_>, answer: &Answer, complaints: &mut Vec<String>) {
    let step = heard.step();
    let is_bodiless = step.method == "HEAD" || matches!(answer.status, 204 | 304);
    let body = match (&step.expected.body, step.expected.outcome) {
        _ if is_bodiless => Some(String::new()),
        (Some(body), _) => Some(heard.script.fill(body)),
        (None, Outcome::Fetched) if step.reply.echo.is_none() => {
            Some(heard.script.body_of(heard.number))
        }
        (None, Outcome::Reused | Outcome::Validated | Outcome::Refreshing | Outcome::Stale) => {
            heard.stored.map(|stored| heard.script.body_of(stored))
        }
        _ => None,
    };
    let had = String::from_utf8_lossy(&answer.body);
    if body.as_ref().is_some_and(|body| *body != had) {
        complaints.push(format!("body {had:?}, not {:?}", body.unwrap_or_default()));
    }
    if let Some(word) = step.expected.free_of {
        let is_in_head = answer
            .headers
            .values()
            .any(|value| String::from_utf8_lossy(value.as_bytes()).contains(word));
        if is_in_head || had.contains(word) {
            complaints.push(format!("{word:?} came back"));
        }
    }
}

fn judge_fields(heard: &Heard<'_>, answer: &Answer, complaints: &mut Vec<String>) {
    let expected = &heard.step().expected;
    for field in &expected.has {
        let field = heard.script.fill(field);
        let (name, value) = parse(&field);
        let had = joined(&answer.headers, name);
        if had.is_none() || value.is_some_and(|value| had.as_deref() != Some(value)) {
            complaints.push(format!("{name}: {had:?}, not {value:?}"));
        }
    }
    for name in &expected.lacks {
        if let Some(value) = joined(&answer.headers, name) {
            complaints.push(format!("{name}: {value} is there"));
        }
    }
}

/// RFC 9111 section 5.1: what comes from the store has an `Age`, in whole seconds and once.
fn judge_age(expected: &Expected, answer: &Answer, complaints: &mut Vec<String>) {
    let age = joined(&answer.headers, "age");
    let seconds = age.as_ref().and_then(|age| age.parse::<u64>().ok());
    if expected.outcome == Outcome::Reused && answer.status != 304 && seconds.is_none() {
        complaints.push(format!("age: {age:?}"));
    }
    let Some(range) = &expected.age else { return };
    // A machine that is busy ages what it serves.
    let (least, most) = (*range.start(), range.end() + 3);
    if !seconds.is_some_and(|seconds| (least..=most).contains(&seconds)) {
        complaints.push(format!("age: {age:?}, not in {range:?}"));
    }
}

/// RFC 9211: where it is there, it says what has happened.
fn judge_cache_status(expected: &Expected, answer: &Answer, complaints: &mut Vec<String>) {
    let told = cache_status(&answer.headers);
    let has = |parameter: &str| {
        told.as_ref()
            .is_some_and(|it| it.iter().any(|own| own == parameter))
    };
    let is_hit = has("hit");
    let is_forwarded = told
        .as_ref()
        .is_some_and(|it| it.iter().any(|own| own.starts_with("fwd=")));
    if is_hit && is_forwarded {
        complaints.push("cache-status: a hit that was forwarded".to_owned());
    }
    match expected.outcome {
        Outcome::Reused if told.is_some() && !is_hit => {
            complaints.push(format!("cache-status: {told:?} is no hit"));
        }
        Outcome::Fetched if is_hit => complaints.push("cache-status: a hit".to_owned()),
        _ => {}
    }
    for parameter in &expected.told {
        let is_told = match parameter.strip_suffix("=*") {
            Some(name) => told.as_ref().is_some_and(|it| {
                it.iter()
                    .any(|own| own.split_once('=').is_some_and(|(own, _)| own == name))
            }),
            None => has(parameter),
        };
        if !is_told {
            complaints.push(format!("cache-status: {told:?} without {parameter}"));
        }
    }
    for parameter in &expected.untold {
        if has(parameter) {
            complaints.push(format!("cache-status: {told:?} with {parameter}"));
        }
    }
}

/// The parameters of the gateway's own member, as `name` where they are true and `name=value` else.
fn cache_status(headers: &HeaderMap) -> Option<Vec<String>> {
    let value = joined(headers, "cache-status")?;
    let list = Parser::parse_list(value.as_bytes()).ok()?;
    let own = list.into_iter().rev().find_map(|member| match member {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::Token(name) if name == "northgate" => Some(item.params),
            BareItem::String(name) if name == "northgate" => Some(item.params),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    })?;
    let parameters = own.into_iter().map(|(name, value)| match value {
        BareItem::Boolean(true) => name.to_string(),
        BareItem::Boolean(false) => format!("{name}=?0"),
        BareItem::Integer(value) => format!("{name}={value}"),
        BareItem::Token(value) => format!("{name}={value}"),
        BareItem::String(value) => format!("{name}=\"{value}\""),
        other => format!("{name}={other:?}"),
    });
    Some(parameters.collect())
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(name).iter();
    let values: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn parse(field: &str) -> (&str, Option<&str>) {
    match field.split_once(':') {
        Some((name, value)) => (name, Some(value.trim())),
        None => (field, None),
    }
}

/// What came and what was asked, for who has to find out why.
pub fn describe(answers: &[Result<Answer, String>], asked: &[Asked]) -> String {
    const DULL: [&str; 3] = ["host", "user-agent", "traceparent"];
    let mut text = String::new();
    if let Some(Ok(answer)) = answers.first() {
        let _ = write!(text, "    < {}", answer.status);
        for (name, value) in &answer.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let _ = write!(text, " | {name}: {value}");
        }
        text.push('\n');
    }
    for asked in asked {
        let _ = write!(text, "    > {} {}", asked.method, asked.target);
        for (name, value) in &asked.fields {
            if !DULL.contains(&name.as_str()) && !name.starts_with("x-forwarded") {
                let _ = write!(text, " | {name}: {value}");
            }
        }
        text.push('\n');
    }
    text
}
