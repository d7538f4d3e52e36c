//! `northgate limits`

use std::fmt::Write;
use std::process::ExitCode;
use std::time;

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::admin_client::AdminAddress;
use super::key::parse_expiry;
use crate::gateway::{InUseKind, InUseShown, KeyShown, LimitShown, OrderProblem, Shown};
use crate::limits::Factor;
use crate::text::{Duration, Timestamp};

const DEADLINE: time::Duration = time::Duration::from_secs(60);

/// Show the limits of the running gateway and how callers stand; give callers their limits again, or others for a while.
///
/// Without a subcommand every limit in force is shown, and what is in use of places and bandwidth. All of it is about the one gateway that is asked: what it counts,
/// and what it was told. Others know nothing of that.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
    Reset(Reset),
    Override(Override),
}

/// Show one limit and its overrides, and how a caller stands.
#[derive(Debug, Args)]
struct Show {
    /// The limit, as `northgate limits` shows it.
    name: String,
    /// Who is meant, by what the limit counts by; by default only the limit is shown.
    ///
    /// For example consumer=acme, client=192.0.2.1, header:x-tenant=shop, route=search. A caller that is no consumer is
    /// subject=PROVIDER/SUBJECT, a stranger client=ADDRESS; a credential is credential=PROVIDER/ID. Requests without a
    /// header, cookie, claim or parameter of the path are without=header:x-tenant.
    #[arg(value_parser = parse_key)]
    key: Vec<Word>,
    #[command(flatten)]
    asking: Asking,
}

/// Give a caller all of a limit again.
#[derive(Debug, Args)]
struct Reset {
    /// The limit, as `northgate limits` shows it.
    name: String,
    /// Who is meant, as for `northgate limits show`; nobody where the limit counts everybody together.
    #[arg(value_parser = parse_key)]
    key: Vec<Word>,
    #[command(flatten)]
    asking: Asking,
}

/// Grant a caller more or less of a limit for a while.
///
/// It holds in the gateway that is asked, through reloads for as long as there is a limit of this name, and is gone when
/// the process ends, also where another program takes its place. Of a rate, the share that is used up stays so: reset the
/// caller as well where it is to have all at once.
#[derive(Debug, Args)]
struct Override {
    /// The limit, as `northgate limits` shows it.
    name: String,
    /// Who is meant, as for `northgate limits show`; nobody where the limit counts everybody together.
    #[arg(value_parser = parse_key)]
    key: Vec<Word>,
    /// How many times the limit the caller has, of each of its windows: 0, which is nothing, to 1000; 0.5 is half.
    #[arg(long, value_name = "NUMBER", required_unless_present = "end")]
    multiply: Option<Factor>,
    /// When it ends: 7d from now, or 2027-01-31T12:00:00Z. At most 31 days.
    #[arg(long, value_name = "TIME", value_parser = parse_expiry, required_unless_present = "end")]
    expires: Option<Timestamp>,
    /// End the override that the caller has.
    #[arg(long, conflicts_with_all = ["multiply", "expires"])]
    end: bool,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
pub(super) struct Asking {
    /// Print what the gateway answers, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminAddress,
}

/// A name and its value.
type Word = (String, String);

fn parse_key(text: &str) -> Result<Word, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as consumer=acme".to_owned()),
    }
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match self.action {
            None => self.asking.ask(Method::GET, "/limits", |all: Vec<Shown>| {
                let text = |one: &Shown| match one {
                    Shown::Limit(limit) => limit_text(limit),
                    Shown::InUse(in_use) => in_use_text(in_use),
                };
                all.iter().map(text).collect()
            }),
            Some(Action::Show(show)) => {
                let target = target(&show.name, "", &show.key);
                show.asking.ask(Method::GET, &target, |one| match one {
                    Shown::Limit(limit) => one_text(limit),
                    Shown::InUse(in_use) => in_use_text(&in_use),
                })
            }
            Some(Action::Reset(reset)) => {
                let target = target(&reset.name, "/reset", &reset.key);
                reset.asking.ask(Method::POST, &target, one_text)
            }
            Some(Action::Override(granted)) => granted.run(),
        }
    }
}

impl Override {
    fn run(mut self) -> ExitCode {
        if let (Some(multiply), Some(expires)) = (self.multiply, self.expires) {
            self.key.push(("multiply".to_owned(), multiply.to_string()));
            self.key.push(("expires".to_owned(), expires.to_string()));
        }
        let path = if self.end {
            "/override/end"
        } else {
            "/override"
        };
        let target = target(&self.name, path, &self.key);
        self.asking.ask(Method::POST, &target, one_text)
    }
}

impl Asking {
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        text: impl FnOnce(T) -> String,
    ) -> ExitCode {
        let answer = match self.admin.ask(method, target, DEADLINE) {
            Ok(answer) => answer,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        };
        if answer.status != StatusCode::OK {
            return refused(answer.status, &answer.body);
        }
        match (self.json, serde_json::from_slice(&answer.body)) {
            (true, _) => super::print(&format!("{}\n", String::from_utf8_lossy(&answer.body))),
            (false, Ok(shown)) => super::print(&text(shown)),
            (false, Err(error)) => {
                eprintln!("error: what the gateway has answered is of another version: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ExitCode {
    match serde_json::from_slice::<OrderProblem>(body) {
        Ok(problem) => {
            eprintln!("error: {}", problem.error);
            if let Some(help) = problem.help {
                eprintln!("help: {help}");
            }
        }
        Err(_) => {
            let said = String::from_utf8_lossy(body);
            eprintln!("error: {status}: {}", said.trim_end());
            if status == StatusCode::NOT_FOUND {
                eprintln!("help: is this the admin listener of a gateway?");
            }
        }
    }
    ExitCode::FAILURE
}

/// A name as a part of a path: it may be anything.
pub(super) fn segment(name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    // In paths, a plus is a plus.
    name.replace('+', "%20")
}

fn target(name: &str, path: &str, words: &[Word]) -> String {
    let name = segment(name);
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.extend_pairs(words).finish();
    let between = if query.is_empty() { "" } else { "?" };
    format!("/limits/{name}{path}{between}{query}")
}

fn one_text(limit: LimitShown) -> String {
    let mut text = limit_text(&limit);
    match &limit.key {
        Some(key) => text += &key_text(key),
        None => {
            for it in &limit.overrides {
                let _ = writeln!(
                    text,
                    "  {}: {} times the limit until {}",
                    it.key, it.multiply, it.expires
                );
            }
        }
    }
    text
}

fn limit_text(limit: &LimitShown) -> String {
    let shadow = if limit.shadow { ", only watches" } else { "" };
    let shared = if limit.shared { ", shared" } else { "" };
    let overrides = match limit.overrides.len() {
        0 => String::new(),
        1 => ", 1 override".to_owned(),
        more => format!(", {more} overrides"),
    };
    let keys = if limit.keys == 1 { "key" } else { "keys" };
    let mut text = format!(
        "{}: by {}, {} {keys}{overrides}{shadow}{shared}\n",
        limit.name, limit.by, limit.keys
    );
    for rule in &limit.rules {
        let _ = writeln!(
            text,
            "  {}: {} in {}",
            rule.name,
            rule.quota,
            span(rule.window)
        );
    }
    text
}

fn in_use_text(in_use: &InUseShown) -> String {
    let InUseShown { name, limit, .. } = in_use;
    let taken = in_use.in_flight.unwrap_or_default();
    let waiting = in_use.waiting.unwrap_or_default();
    let callers = match in_use.keys {
        Some(1) => "1 caller".to_owned(),
        keys => format!("{} callers", keys.unwrap_or_default()),
    };
    match in_use.kind {
        InUseKind::Places => {
            let learned = if in_use.learned { ", learned" } else { "" };
            format!("{name}: {limit} places{learned}, {taken} taken, {waiting} waiting\n")
        }
        InUseKind::Concurrency => format!(
            "{name}: {limit} places for each caller, {taken} taken by {callers}, {waiting} waiting\n"
        ),
        InUseKind::Bandwidth => {
            format!("{name}: {limit} bytes a second for each caller, {callers} known\n")
        }
    }
}

fn key_text(key: &KeyShown) -> String {
    let known = if key.known {
        ""
    } else {
        ", of whom nothing is counted here"
    };
    let name = if key.key.is_empty() {
        "everybody"
    } else {
        &key.key
    };
    let mut text = format!("{name}{known}\n");
    for rule in &key.rules {
        let _ = write!(
            text,
            "  {}: {} of {} left",
            rule.name, rule.remaining, rule.limit
        );
        if rule.next > 0.0 {
            let _ = write!(text, ", more in {}", span(rule.next));
        }
        if rule.reset > 0.0 {
            let _ = write!(text, ", all in {}", span(rule.reset));
        }
        text.push('\n');
    }
    if let Some(problem) = &key.store_problem {
        let _ = writeln!(text, "  as this gateway counts: {problem}");
    }
    if let Some(it) = &key.granted {
        let _ = writeln!(
            text,
            "  override: {} times the limit until {}",
            it.multiply, it.expires
        );
    }
    text
}

/// Rounded up to seconds where it is longer than one, or else to milliseconds.
fn span(seconds: f64) -> String {
    let millis = match seconds > 1.0 {
        true => seconds.ceil() * 1000.0,
        false => (seconds * 1000.0).ceil().max(1.0),
    };
    match format!("{millis}ms").parse::<Duration>() {
        Ok(span) => span.to_string(),
        // Longer than any that is configured: a debt.
        Err(_) => format!("{seconds:.0}s"),
    }
}
