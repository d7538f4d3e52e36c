//! `northgate canaries`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;

use super::limits::Asking;
use crate::gateway::CanaryShown;

/// Show the guarded branches of splits in the running gateway, and take up again those that were rolled back.
///
/// Without a subcommand every guarded branch is shown. All of it is about the one gateway that is asked: each judges by
/// itself.
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
    Reset(Reset),
}

/// Take a branch up again that has broken its guard.
#[derive(Debug, Args)]
struct Reset {
    /// The route whose split has the branch.
    route: String,
    /// The branch's upstream.
    upstream: String,
    #[command(flatten)]
    asking: Asking,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match self.action {
            None => self
                .asking
                .ask(Method::GET, "/canaries", |all: Vec<CanaryShown>| {
                    all.iter().map(text).collect()
                }),
            Some(Action::Reset(reset)) => {
                let escaped = |name: &str| {
                    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
                    // In paths, a plus is a plus.
                    name.replace('+', "%20")
                };
                let (route, upstream) = (escaped(&reset.route), escaped(&reset.upstream));
                let target = format!("/canaries/{route}/{upstream}/reset");
                reset.asking.ask(Method::POST, &target, |it| text(&it))
            }
        }
    }
}

fn text(canary: &CanaryShown) -> String {
    let CanaryShown {
        route,
        upstream,
        weight,
        rolled_back,
        requests,
        errors,
        slow,
    } = canary;
    let state = match rolled_back {
        true => "rolled back".to_owned(),
        // Ramps make odd numbers.
        false => format!("weight {}", (weight * 100.0).round() / 100.0),
    };
    format!(
        "{route}, {upstream}: {state}; of {requests} requests {errors} failed, {slow} were slow\n"
    )
}
