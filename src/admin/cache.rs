//! The cache: what is in it, and what is purged.
//!
//! | | |
//! |---|---|
//! | `GET /cache` | how full it is |
//! | `GET /cache/entries?url=http://shop.example/products/7` | what is kept of a URL, and why it is good or is not |
//! | `POST /cache/purge?url=http://shop.example/products/7` | what is kept of a URL is served no more |
//!
//! In the place of `url`, `prefix=http://shop.example/products/` (or `prefix=/products/`, of all hosts), `host=shop.example`,
//! `tag=catalog` or `all=true`. With `soft=true` it becomes stale, and may be served where routes let stale responses be. The
//! answer comes when nothing that was asked for before is served as good any more, by this gateway, and no restart of it undoes
//! that. Where the disk cannot take it the answer is 500: the purge is in force, and a restart may undo it. With
//! `cache.broadcast` it comes when the store has it, and is 202 where the store cannot be asked: the others are told as soon as it
//! can.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{RawQuery, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::State;
use super::limits::{Refusal, problem, words, wrong};
use crate::cache::broadcast::Told;
use crate::cache::marks::Purge;
use crate::cache::{Kept, Report};
use crate::routing::{Snapshot, normal_host};
use crate::text::normalise_path;

/// How full the cache is.
#[derive(Debug, Serialize, Deserialize)]
pub struct CacheShown {
    pub entries: usize,
    /// In bytes, as all that follow but the last two.
    pub memory: u64,
    pub memory_bound: u64,
    pub bodies: u64,
    /// How many entries have had to go since the start.
    pub evicted: u64,
    /// Of how many things it is known that they were purged.
    pub purged: usize,
    /// Where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskShown>,
    /// Where other gateways are told of purges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<BroadcastShown>,
}

/// How full the disk is, and what it has done since it was opened.
#[derive(Debug, Serialize, Deserialize)]
pub struct DiskShown {
    pub objects: u64,
    /// In bytes, as the next.
    pub bytes: u64,
    pub bound: u64,
    pub hits: u64,
    pub writes: u64,
    /// What was to be written and was not.
    pub dropped: u64,
    pub evicted: u64,
    /// What was not as it had been written.
    pub corrupt: u64,
    pub errors: u64,
}

/// What was told to other gateways, and heard of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct BroadcastShown {
    pub told: u64,
    pub received: u64,
    /// How often something was missed, and everything was purged.
    pub missed: u64,
    /// Purges that wait to be told.
    pub untold: usize,
    /// Unix time at which it was looked last whether others have purged.
    pub heard: Option<u64>,
}

/// A response that is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct EntryShown {
    pub status: u16,
    /// `fresh`, `stale`, `unproven` (`no-cache`) or `purged`.
    pub standing: String,
    /// In seconds.
    pub age: u64,
    /// Seconds that it is still good; below zero once it is stale.
    pub left: i64,
    pub varies_by: Vec<String>,
    pub bytes: u64,
    /// Whether all of it has come.
    pub whole: bool,
    pub tags: usize,
    pub uses: u32,
}

/// What was purged.
#[derive(Debug, Serialize, Deserialize)]
pub struct Purged {
    /// `url`, `prefix`, `host`, `tag` or `all`, and what of it.
    pub what: String,
    pub soft: bool,
    /// By the clock of purges.
    pub mark: u64,
    /// Why other gateways are only told later, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<String>,
}

pub(super) async fn stats(Shared(state): Shared<Arc<State>>) -> Json<CacheShown> {
    let Report {
        entries,
        bytes,
        bound,
        bodies,
        evicted,
        purged,
        disk,
        broadcast,
    } = state.snapshot.load().cache.report();
    Json(CacheShown {
        entries,
        memory: bytes,
        memory_bound: bound,
        bodies,
        evicted,
        purged,
        disk: disk.map(|disk| DiskShown {
            objects: disk.objects,
            bytes: disk.bytes,
            bound: disk.bound,
            hits: disk.hits,
            writes: disk.writes,
            dropped: disk.dropped_full + disk.dropped_too_large + disk.dropped_failed,
            evicted: disk.evicted,
            corrupt: disk.corrupt,
            errors: disk.read_errors + disk.write_errors,
        }),
        broadcast: broadcast.map(|it| BroadcastShown {
            told: it.told,
            received: it.received,
            missed: it.missed,
            untold: it.untold,
            heard: it.heard.and_then(|heard| {
                Some(heard.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
            }),
        }),
    })
}

pub(super) async fn entries(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Response {
    match inspect(&state.snapshot.load(), query.as_deref()) {
        Ok(shown) => Json(shown).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn inspect(snapshot: &Snapshot, query: Option<&str>) -> Result<Vec<EntryShown>, Refusal> {
    let mut url = None;
    for (word, value) in words(query) {
        match &*word {
            "url" => url = Some(value),
            _ => return Err(wrong(format!("{word}=… says nothing here"))),
        }
    }
    let url =
        url.ok_or_else(|| wrong("say which: url=http://shop.example/products/7".to_owned()))?;
    let (host, targets) = targets(snapshot, &url)?;
    let kept = targets
        .iter()
        .flat_map(|path| snapshot.cache.inspect(&host, path));
    Ok(kept.map(show).collect())
}

fn show(kept: Kept) -> EntryShown {
    EntryShown {
        status: kept.status.as_u16(),
        standing: kept.standing.to_owned(),
        age: kept.age,
        left: kept.left,
        varies_by: kept.varies_by,
        bytes: kept.bytes,
        whole: kept.is_whole,
        tags: kept.tags,
        uses: kept.uses,
    }
}

pub(super) async fn purge(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Response {
    match follow(&state.snapshot.load_full(), query.as_deref()).await {
        Ok(purged) if purged.untold.is_some() => {
            (StatusCode::ACCEPTED, Json(purged)).into_response()
        }
        Ok(purged) => Json(purged).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn follow(snapshot: &Snapshot, query: Option<&str>) -> Result<Purged, Refusal> {
    let (mut what, mut is_soft) = (None, false);
    for (word, value) in words(query) {
        match (&*word, &*value) {
            ("soft", "true") => is_soft = true,
            ("soft", "false") => is_soft = false,
            ("url" | "prefix" | "host" | "tag" | "all", _) if what.is_some() => {
                return Err(wrong("one purge is about one thing".to_owned()));
            }
            ("url" | "prefix" | "host" | "tag" | "all", _) => what = Some((word, value)),
            _ => return Err(wrong(format!("{word}={value} says nothing here"))),
        }
    }
    let help = "say what: url=…, prefix=…, host=…, tag=… or all=true";
    let (word, value) = what.ok_or_else(|| wrong(help.to_owned()))?;
    if value.is_empty() {
        return Err(wrong(format!("{word} is empty")));
    }
    let purges = match &*word {
        "url" => {
            let (host, targets) = targets(snapshot, &value)?;
            let purge = |path: &String| Purge::url(host.as_bytes(), path.as_bytes());
            targets.iter().map(purge).collect()
        }
        "prefix" => {
            let Place { host, path, query } = place(&value)?;
            let query = query.map_or_else(String::new, |query| format!("?{query}"));
            let purge = |path: String| {
                let host = host.as_ref().map(|host| host.as_bytes());
                Purge::prefix(host, format!("{path}{query}").as_bytes())
            };
            spellings(snapshot, &path)?.into_iter().map(purge).collect()
        }
        "host" => vec![Purge::host(normal_host(&value).as_bytes())],
        "tag" => vec![Purge::tag(value.as_bytes())],
        _ if value == "true" => vec![Purge::all()],
        _ => return Err(wrong("all is all=true".to_owned())),
    };
    let (mut mark, mut untold, mut logged) = (0, None, Ok(()));
    for purge in purges {
        let purge = if is_soft { purge.soft() } else { purge };
        let purged = snapshot.cache.purge_durably(&purge).await;
        // The other spellings are purged whatever became of this one.
        logged = logged.and(purged.logged);
        mark = purged.mark.number();
        if let Some(Told::LocalOnly(error)) = purged.told {
            untold = Some(error.to_string());
        }
    }
    logged.map_err(|error| undurable(&error))?;
    let what = format!("{word} {value}");
    log::info!(
        "cache: an operator has purged {what}{}",
        if is_soft { ", softly" } else { "" }
    );
    Ok(Purged {
        what,
        soft: is_soft,
        mark,
        untold,
    })
}

fn undurable(error: &io::Error) -> Refusal {
    let error = format!("it is purged, and a restart may undo that: {error}");
    problem(StatusCode::INTERNAL_SERVER_ERROR, error, None)
}

/// The host of a URL, and its path as routes may have it in their keys: in the normal form of paths, and with what counts of its
/// query.
fn targets(snapshot: &Snapshot, url: &str) -> Result<(String, BTreeSet<String>), Refusal> {
    let place = place(url)?;
    let (Some(host), query) = (place.host, place.query.as_deref()) else {
        return Err(no_url(url));
    };
    // Parts of aggregations have all of it.
    let mut queries = BTreeSet::from([query.map(Cow::Borrowed)]);
    queries.extend(snapshot.rules().map(|rules| rules.query.of(query)));
    let mut targets = BTreeSet::new();
    for path in spellings(snapshot, &place.path)? {
        targets.extend(queries.iter().map(|query| match query {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        }));
    }
    Ok((host, targets))
}

/// The normal forms that listeners bring a path into.
fn spellings(snapshot: &Snapshot, path: &str) -> Result<BTreeSet<String>, Refusal> {
    let (mut spellings, mut refusal) = (BTreeSet::new(), None);
    for view in &snapshot.listeners {
        match normalise_path(path, &view.listener.paths) {
            Ok(normal) => drop(spellings.insert(normal.unwrap_or_else(|| path.to_owned()))),
            Err(why) => refusal = Some(why),
        }
    }
    match refusal.filter(|_| spellings.is_empty()) {
        Some(why) => Err(wrong(format!("no listener takes {path:?}: {why}"))),
        None => Ok(spellings),
    }
}

/// A URL, or what of it follows the host.
struct Place {
    host: Option<String>,
    path: String,
    query: Option<String>,
}

fn place(text: &str) -> Result<Place, Refusal> {
    let uri = text.parse::<Uri>().map_err(|_| no_url(text))?;
    let host = uri.scheme().and(uri.authority());
    match host.is_some() || text.starts_with('/') {
        true => Ok(Place {
            host: host.map(|host| normal_host(host.as_str()).into_owned()),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        }),
        false => Err(no_url(text)),
    }
}

fn no_url(text: &str) -> Refusal {
    wrong(format!(
        "{text:?} is no URL such as http://shop.example/products/7"
    ))
}
