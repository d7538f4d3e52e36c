//! Taking up a changed configuration.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Gateway;
use super::beside::beside;
use crate::admin::{Outcome, Report};
use crate::config::{self, Configuration, Files, NoDiff, Settings, part_name};
use crate::observability::{Metrics, Owner};
use crate::routing::{FALLBACK, Snapshot};

/// How often snapshots that were replaced are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What may be behind a refusal of the system.
const CONFINED: &str = "what this process may write was settled when it was started, see gateway.sandbox: a restart \
                        settles it anew, and gateway.sandbox.write names more";

/// Loads the configuration at `path` and serves it, or says why not and changes nothing. The files are those that
/// were read, whatever has become of it; `None` where none were.
pub(super) async fn reload(gateway: &mut Gateway, path: &Path) -> (Report, Option<Files>) {
    let (report, files) = match load_beside(gateway, path).await {
        None => {
            let why = "the configuration could not be loaded";
            (refused(String::new(), why), None)
        }
        Some(read) => {
            let report = match read.compiled {
                None => refused(read.problems, "the configuration has errors"),
                Some(configuration) => apply(gateway, configuration, read.problems).await,
            };
            (report, Some(read.files))
        }
    };
    let is_applied = report.outcome == Outcome::Applied;
    gateway.metrics.config_reloaded(is_applied);
    tell(&report);
    let shown = &gateway.serving.shown;
    shown.send_modify(|shown| shown.last_reload = Some(report.clone()));
    (report, files)
}

async fn apply(gateway: &mut Gateway, configuration: Configuration, problems: String) -> Report {
    let mut notes = left_for_restart(&gateway.started_with, &configuration.settings);
    let quarantined = configuration.quarantined.len();
    if quarantined > 0 {
        notes.push(format!(
            "{quarantined} objects with mistakes are quarantined: their routes answer 503"
        ));
    }
    match gateway.apply(configuration).await {
        Ok(()) => Report {
            outcome: Outcome::Applied,
            problems,
            notes,
        },
        Err(error) => {
            let mut report = refused(problems, &error.to_string());
            if gateway.started_with.sandbox.is_some() && error.is_denied() {
                report.notes.push(CONFINED.to_owned());
            }
            report
        }
    }
}

/// What came of a load.
struct Read {
    files: Files,
    problems: String,
    compiled: Option<Configuration>,
}

async fn load_beside(gateway: &Gateway, path: &Path) -> Option<Read> {
    let (path, metrics) = (PathBuf::from(path), gateway.metrics.clone());
    let before = gateway.snapshot();
    beside(move || {
        forget_what_is_gone(&metrics, &before);
        let (loaded, compiled) = config::reload(&path, &metrics, &before);
        let problems = match loaded.diagnostics.is_empty() {
            true => String::new(),
            false => loaded.diagnostics.render(&loaded.sources, false),
        };
        // The rest is let go here, and not by a thread that serves.
        Read {
            files: loaded.files,
            problems,
            compiled,
        }
    })
    .await
}

/// Ends the series of what went with the reloads before. While one is prepared nobody adds another's.
fn forget_what_is_gone(metrics: &Metrics, now: &Snapshot) {
    let tables = now.listeners.iter().map(|view| &view.table);
    let routes: HashSet<&str> = tables.flat_map(|it| it.routes()).map(|it| it.0).collect();
    let tables = now.listeners.iter().map(|view| &view.table);
    let parts: HashSet<&str> = tables
        .flat_map(|it| it.routes())
        .flat_map(|(_, _, route)| &route.parts)
        .map(|part| &*part.name)
        .collect();
    metrics.retain(|owner| match owner {
        Owner::Route(name) => name == FALLBACK || routes.contains(name),
        Owner::Upstream(name) => now.upstream(name).is_some(),
        Owner::Listener(name) => now.has_view_of(name),
        Owner::Provider(name) => now.identity.has(name),
        Owner::Limit(name) => now.limits.has(name),
        Owner::Store(name) => now.stores.has(name),
        Owner::Part { route, part } => parts.contains(&*part_name(route, part)),
    });
}

/// What a reload would change, as JSON; or why there would be none.
pub(super) async fn diff(gateway: &Gateway, path: &Path) -> Result<serde_json::Value, Report> {
    let Some(archive) = gateway.serving.archive.clone() else {
        return Err(refused(
            String::new(),
            "what serves is too large to be remembered",
        ));
    };
    let path = PathBuf::from(path);
    let compared = beside(move || match config::diff_with_files(&archive, &path) {
        Ok(changes) => serde_json::to_value(changes)
            .map_err(|error| refused(String::new(), &error.to_string())),
        Err(NoDiff::Files(loaded)) => Err(refused(
            loaded.diagnostics.render(&loaded.sources, false),
            "the configuration has errors",
        )),
        Err(NoDiff::Archive(error)) => Err(refused(String::new(), &error.to_string())),
    });
    let failed = || {
        Err(refused(
            String::new(),
            "the configuration could not be loaded",
        ))
    };
    compared.await.unwrap_or_else(failed)
}

pub(super) fn refused(problems: String, why: &str) -> Report {
    Report {
        outcome: Outcome::Refused,
        problems,
        notes: vec![why.to_owned()],
    }
}

/// What is not as it was at the start, and stays so until the next one.
fn left_for_restart(before: &Settings, now: &Settings) -> Vec<String> {
    let each = [
        ("workers", before.workers != now.workers),
        (
            "keepalive_pool",
            before.keepalive_pool != now.keepalive_pool,
        ),
        ("sandbox", before.sandbox != now.sandbox),
    ];
    let changed = each.into_iter().filter(|(_, has_changed)| *has_changed);
    let mut notes: Vec<String> = changed
        .map(|(key, _)| format!("gateway.{key} has changed; it takes effect with the next start"))
        .collect();
    if before.sandbox != now.sandbox {
        notes.push("gateway.sandbox has changed; it takes effect with the next restart, and not by an upgrade".to_owned());
    }
    notes
}

fn tell(report: &Report) {
    match report.outcome {
        Outcome::Applied => log::info!("the configuration was reloaded"),
        Outcome::Refused => {
            log::error!("the configuration was not reloaded; what served before serves on")
        }
    }
    for line in report.problems.lines() {
        log::warn!("{line}");
    }
    for note in &report.notes {
        log::warn!("{note}");
    }
}

/// Takes apart the snapshots that come in, each once no request uses it any more. Of a large configuration that takes
/// milliseconds, which no request is to pay for.
pub(super) async fn take_apart(mut replaced: mpsc::UnboundedReceiver<Arc<Snapshot>>) {
    let mut waiting: Vec<Arc<Snapshot>> = Vec::new();
    loop {
        let next = match waiting.is_empty() {
            true => replaced.recv().await.map(Some),
            false => match tokio::time::timeout(INTERVAL, replaced.recv()).await {
                Ok(next) => next.map(Some),
                Err(_) => Some(None),
            },
        };
        let Some(next) = next else {
            return;
        };
        waiting.extend(next);
        let (unused, used) = waiting
            .into_iter()
            .partition(|it| Arc::strong_count(it) == 1);
        waiting = used;
        let unused: Vec<Arc<Snapshot>> = unused;
        if !unused.is_empty() {
            beside(move || drop(unused)).await;
        }
    }
}
