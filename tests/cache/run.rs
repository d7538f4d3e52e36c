//! Runs cases, all at once, before one gateway and one origin.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::case::{Case, Outcome, Step};
use crate::harness::{Answer, Ask, Client, Gateway, Protocol, full, request};
use crate::judge::{self, Heard};
use crate::report::{Report, Verdict};
use crate::scripted::{Asked, Script, origin};

/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the origin may be not asked behind a client's back before that counts as never.
const BEHIND: Duration = Duration::from_secs(3);
/// How many requests are on their way at once, so that a small machine does not age what it serves.
const AT_ONCE: usize = 24;

pub async fn all(toml: &str, protocol: Protocol, cases: Vec<Case>) -> Report {
    let is_meant = |case: &Case| case.only.is_none_or(|only| only == protocol);
    let cases = cases.into_iter().filter(is_meant);
    let scripts: HashMap<String, Arc<Script>> = cases
        .map(|case| (case.id.clone(), Arc::new(Script::of(case))))
        .collect();
    let scripts = Arc::new(scripts);
    let origin = origin(scripts.clone());
    let gateway = Gateway::draft(toml).with("origin", &origin).start().await;
    let client = gateway.client(protocol);
    let permits = Semaphore::new(AT_ONCE);
    let running = scripts.values().map(async |script| Verdict {
        id: script.case.id.clone(),
        section: script.case.section,
        kind: script.case.kind,
        complaint: play(script, &client, &permits).await,
    });
    Report::of(join_all(running).await)
}

/// What is wrong with the first step that is not as it has to be.
async fn play(script: &Script, client: &Client, permits: &Semaphore) -> Option<String> {
    let mut stored = None;
    for (number, step) in script.case.steps.iter().enumerate() {
        tokio::time::sleep(step.pause).await;
        script.begin(number);
        let answers = {
            let count = u32::try_from(step.copies).expect("few");
            let count = count.min(AT_ONCE as u32);
            let permit = permits.acquire_many(count).await;
            let _permit = permit.expect("nobody closes it");
            let copies = (0..step.copies).map(|_| send(script, step, client));
            join_all(copies).await
        };
        let asked = asked(script, number).await;
        let mut complaints = Vec::new();
        for answer in &answers {
            let heard = Heard {
                script,
                number,
                stored: step.expected.of.or(stored),
                answer: answer.as_ref().map_err(String::as_str),
                asked: &asked,
            };
            judge::judge(&heard, &mut complaints);
        }
        complaints.dedup();
        if !complaints.is_empty() {
            let seen = judge::describe(&answers, &asked);
            return Some(format!("step {number}: {}\n{seen}", complaints.join("; ")));
        }
        if matches!(step.expected.outcome, Outcome::Fetched) {
            stored = Some(number);
        }
    }
    None
}

async fn send(script: &Script, step: &Step, client: &Client) -> Result<Answer, String> {
    let answer = client.try_send(ask(script, step));
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("nothing within {PATIENCE:?}")),
    }
}

fn ask(script: &Script, step: &Step) -> Ask {
    let target = format!("/{}{}", script.case.id, step.suffix);
    let mut ask = request(step.method, &target).host(step.host);
    for field in &step.fields {
        let field = script.fill(field);
        let (name, value) = field.split_once(':').expect("a name and a value");
        ask = ask.header(name, value.trim());
    }
    match step.body {
        Some(body) => ask.body(full(body)),
        None => ask,
    }
}

/// What the origin was asked in a step; waits for it where it is asked behind the client's back.
async fn asked(script: &Script, number: usize) -> Vec<Asked> {
    if script.case.steps[number].expected.outcome == Outcome::Refreshing {
        let waiting = async {
            while script.asked_in(number).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(BEHIND, waiting).await;
    }
    script.asked_in(number)
}
