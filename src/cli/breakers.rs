//! `northgate breakers`

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;

use super::key::parse_expiry;
use super::limits::{Asking, segment};
use crate::gateway::BreakerShown;
use crate::text::Timestamp;

/// Show the circuit breakers of the running gateway, and hold them open or closed.
///
/// Without a subcommand every breaker is shown, of upstreams and of their endpoints. What is said holds in the gateway that
/// is asked, through reloads for as long as there is such a breaker, and is gone when the process ends.
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
    Open(Open),
    Close(Close),
    Release(Release),
}

/// Let nobody in: requests get 503 at once, or go to other endpoints.
#[derive(Debug, Args)]
struct Open {
    #[command(flatten)]
    held: Held,
}

/// Let everybody in, however it does.
#[derive(Debug, Args)]
struct Close {
    #[command(flatten)]
    held: Held,
}

#[derive(Debug, Args)]
struct Held {
    #[command(flatten)]
    meant: Meant,
    /// When it ends: 10m from now, or 2027-01-31T12:00:00Z. At most 31 days; without it, it is held until it is released.
    #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
    expires: Option<Timestamp>,
}

/// Let it be as it is by itself again; what was held open is tried first.
#[derive(Debug, Args)]
struct Release {
    #[command(flatten)]
    meant: Meant,
}

#[derive(Debug, Args)]
struct Meant {
    /// The upstream, as the configuration calls it.
    upstream: String,
    /// The endpoint whose breaker is meant, such as 10.0.0.5:8002, and not that of the upstream itself.
    #[arg(long, value_name = "ADDRESS")]
    endpoint: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match self.action {
            None => self
                .asking
                .ask(Method::GET, "/breakers", |all: Vec<BreakerShown>| {
                    all.iter().map(text).collect()
                }),
            Some(Action::Open(Open { held })) => held.meant.order("open", held.expires),
            Some(Action::Close(Close { held })) => held.meant.order("close", held.expires),
            Some(Action::Release(Release { meant })) => meant.order("release", None),
        }
    }
}

impl Meant {
    fn order(&self, verb: &str, expires: Option<Timestamp>) -> ExitCode {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(endpoint) = &self.endpoint {
            query.append_pair("endpoint", endpoint);
        }
        if let Some(expires) = expires {
            query.append_pair("expires", &expires.to_string());
        }
        let query = query.finish();
        let between = if query.is_empty() { "" } else { "?" };
        let name = segment(&self.upstream);
        let target = format!("/breakers/{name}/{verb}{between}{query}");
        self.asking
            .ask(Method::POST, &target, |one: BreakerShown| text(&one))
    }
}

fn text(breaker: &BreakerShown) -> String {
    let mut text = breaker.upstream.clone();
    if let Some(endpoint) = &breaker.endpoint {
        let _ = write!(text, " {endpoint}");
    }
    let held = if breaker.held { ", held" } else { "" };
    let _ = write!(text, ": {}{held}", breaker.state);
    if let Some(until) = &breaker.until {
        let _ = write!(text, " until {until}");
    }
    let BreakerShown {
        tries,
        failed,
        slow,
        ..
    } = breaker;
    let _ = writeln!(
        text,
        "; of {tries} tries, {failed} failed and {slow} were slow"
    );
    text
}
