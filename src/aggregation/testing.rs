//! Plans from TOML, for tests.

use crate::text::{Diagnostics, Sources, Spanned, Subject, Table};

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use pingora::http::RequestHeader;

use super::{Config, Ended, Outgoing, Plan, Reason, Run};
use crate::facts::{Facts, Scheme, View};

/// The parameters of the path `/api/{id}/{*rest}`.
pub(super) fn parameters() -> Vec<Box<str>> {
    ["id", "rest"].map(Into::into).into()
}

/// Compiles what stands below `[aggregate]`; every upstream but `nowhere` is known. Problems are `line:column message (help)`.
pub(super) fn plan(toml: &str) -> Result<Plan, Vec<String>> {
    let mut sources = Sources::new();
    let mut diagnostics = Diagnostics::new();
    let text = format!("[aggregate]\n{toml}");
    let source = sources.add("a.toml", text.as_str());
    let mut table = Table::parse(&mut diagnostics, source, &text).expect("good syntax");
    let config = table.take::<Spanned<Config>>("aggregate");
    let plan = config.and_then(|config| {
        let mut subject = Subject::new(&mut diagnostics, "aggregate");
        let is_upstream = |name: &Spanned<crate::text::Name>, subject: &mut Subject<'_>| {
            let is_known = name.as_str() != "nowhere";
            if !is_known {
                subject.error(name.span, "no such upstream");
            }
            is_known
        };
        Plan::build(&config, &parameters(), is_upstream, &mut subject)
    });
    let problems: Vec<_> = diagnostics
        .iter()
        .map(|one| {
            let at = sources.position(one.span.expect("every problem has a place"));
            let help = one.help.as_ref().map(|help| format!(" ({help})"));
            let line = at.line - 1;
            let column = at.column;
            format!(
                "{line}:{column} {}{}",
                one.message,
                help.unwrap_or_default()
            )
        })
        .collect();
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        plan => {
            assert!(plan.is_none() || problems.is_empty(), "{problems:?}");
            Err(problems)
        }
    }
}

/// Does something with a request that is like any other.
pub(super) fn with_view<T>(look: impl FnOnce(View<'_>) -> T) -> T {
    let mut request = RequestHeader::build("GET", b"/api/7/x?page=2", None).expect("a request");
    request
        .insert_header("accept-language", "de")
        .expect("a header");
    let mut facts = Facts::new("192.0.2.7".parse().expect("an address"), Scheme::Https);
    facts.captures.extend([(5, 6), (7, 8)]);
    look(View {
        facts: &facts,
        request: &request,
    })
}

/// A response with this status, these headers and this body.
pub(super) fn response(status: u16, headers: &[&str], body: &str) -> Ended {
    let mut all = HeaderMap::new();
    for line in headers {
        let (name, value) = line.split_once(": ").expect("a header");
        let name: HeaderName = name.parse().expect("a name");
        all.append(name, value.parse().expect("a value"));
    }
    Ended::Complete {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: all,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// A good one.
pub(super) fn ok(body: &str) -> Ended {
    response(200, &[], body)
}

pub(super) fn failed(reason: Reason) -> Ended {
    Ended::Failed(reason)
}

/// Tells a run how a part has ended.
pub(super) fn end(
    run: &mut Run,
    part: usize,
    ended: Ended,
    view: View<'_>,
) -> Vec<(usize, Outgoing)> {
    let outcome = run.plan().read(part, ended);
    run.end(part, outcome, view)
}

/// Runs to the end, with this for each part that is asked for; `None` never comes. What is under way ends in the order that
/// `next` chooses by: it is given how many there are. Also what was asked for.
pub(super) fn run(
    plan: &Arc<Plan>,
    answers: &[Option<Ended>],
    mut next: impl FnMut(usize) -> usize,
) -> (Run, Vec<(usize, Outgoing)>) {
    with_view(|view| {
        let mut run = Run::new(plan.clone());
        let mut asked = run.start(view);
        let mut open: Vec<usize> = asked.iter().map(|(part, _)| *part).collect();
        let has_answer = |part: &usize| matches!(answers.get(*part), Some(Some(_)));
        open.retain(has_answer);
        while !open.is_empty() {
            let part = open.swap_remove(next(open.len()));
            let ended = answers[part].clone().expect("it has an answer");
            let more = end(&mut run, part, ended, view);
            open.extend(
                more.iter()
                    .map(|(part, _)| *part)
                    .filter(|part| has_answer(part)),
            );
            asked.extend(more);
        }
        if run.is_over() {
            let all = 0..plan.parts().len();
            assert!(all.into_iter().all(|part| run.outcome(part).is_some()));
        }
        (run, asked)
    })
}
