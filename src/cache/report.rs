//! What operators see of the cache.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use http::StatusCode;

use super::Cache;
use super::broadcast::Counts;
use super::disk::Stats;
use super::entry::Entry;
use super::marks::{Kind, Sign, Verdict};
use super::rfc::RequestDirectives;
use super::slot::Slot;
use crate::observability::{CacheFamily, CacheFigure};

/// How full it is, and what it has done since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What lies in it: responses, and what tells their variants apart.
    pub entries: usize,
    /// What they take, and may take.
    pub bytes: u64,
    pub bound: u64,
    /// What bodies take, those among them that are only read any more.
    pub bodies: u64,
    pub evicted: u64,
    /// How many things there are marks of purges about.
    pub purged: usize,
    /// Where there is one.
    pub disk: Option<Stats>,
    /// Where other gateways are told.
    pub broadcast: Option<Counts>,
}

/// A response that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub status: StatusCode,
    /// The headers by which its variants are told apart.
    pub varies_by: Vec<String>,
    /// In seconds.
    pub age: u64,
    /// How many seconds it is still good; below zero once it is stale.
    pub left: i64,
    /// Whether it is good, and why not: `fresh`, `stale`, `unproven`, `purged`.
    pub standing: &'static str,
    /// Of its body, as far as it has come.
    pub bytes: u64,
    pub is_whole: bool,
    pub tags: usize,
    pub uses: u32,
}

impl Cache {
    pub fn report(&self) -> Report {
        Report {
            entries: self.memory.len(),
            bytes: self.memory.bytes(),
            bound: self.memory.bound(),
            bodies: self.budget.used(),
            evicted: self.memory.evicted(),
            purged: self.marks.counts().kept,
            disk: self.disk_stats(),
            broadcast: self.fleet.counts(),
        }
    }

    /// What metrics have of the cache as a whole.
    pub(super) fn figures(&self) -> Vec<CacheFigure> {
        let report = self.report();
        let mut figures = Vec::with_capacity(40);
        let mut add = |family, label, value| {
            figures.push(CacheFigure {
                family,
                label,
                value,
            });
        };
        add(CacheFamily::Entries, "memory", report.entries as u64);
        add(CacheFamily::Bytes, "memory", report.bytes);
        add(CacheFamily::Bytes, "bodies", report.bodies);
        add(CacheFamily::Bound, "memory", report.bound);
        add(CacheFamily::Evictions, "memory", report.evicted);
        let kinds = Kind::ALL.iter().zip(&self.purges);
        for (kind, count) in kinds.filter(|(kind, _)| **kind != Kind::Part) {
            add(
                CacheFamily::Purges,
                kind.as_str(),
                count.load(Ordering::Relaxed),
            );
        }
        let marks = self.marks.counts();
        add(CacheFamily::Marks, "kept", marks.kept as u64);
        add(CacheFamily::Marks, "folded", marks.folded);
        if let Some(disk) = &report.disk {
            add(CacheFamily::Entries, "disk", disk.objects);
            add(CacheFamily::Bytes, "disk", disk.bytes);
            add(CacheFamily::Bytes, "disk_index", disk.index_bytes);
            add(CacheFamily::Bytes, "disk_queue", disk.queue_bytes);
            add(CacheFamily::Bytes, "disk_marks", disk.marks_bytes);
            add(CacheFamily::Bound, "disk", disk.bound);
            add(CacheFamily::Evictions, "disk", disk.evicted);
            for (operation, count) in [
                ("hit", disk.hits),
                ("miss", disk.misses),
                ("write", disk.writes),
                ("carry", disk.carried),
                ("drop_full", disk.dropped_full),
                ("drop_too_large", disk.dropped_too_large),
                ("drop_failed", disk.dropped_failed),
                ("drop_superseded", disk.dropped_superseded),
                ("drop_removal", disk.dropped_removals),
                ("corrupt", disk.corrupt),
                ("read_error", disk.read_errors),
                ("write_error", disk.write_errors),
            ] {
                add(CacheFamily::Disk, operation, count);
            }
        }
        if let Some(others) = &report.broadcast {
            for (result, count) in [
                ("told", others.told),
                ("failed", others.failed),
                ("received", others.received),
                ("caught_up", others.caught_up),
                ("missed", others.missed),
                ("dropped", others.dropped),
            ] {
                add(CacheFamily::Broadcast, result, count);
            }
            add(CacheFamily::Untold, "waits", others.untold as u64);
            let heard =
                (others.heard).and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok());
            if let Some(heard) = heard {
                add(CacheFamily::Heard, "last", heard.as_secs());
            }
        }
        figures
    }

    /// All that is kept of a URL in memory, whoever it is for. It looks at every entry, some at a time. What is on disk alone is
    /// not found: there only the hash of what was asked for is known.
    pub fn inspect(&self, host: &str, path: &str) -> Vec<Kept> {
        let url = Sign::url(host.as_bytes(), path.as_bytes());
        let entries = self.memory.each().filter_map(|slot| match &*slot {
            Slot::Entry(entry) if entry.standing.url() == url => Some(self.kept(entry)),
            _ => None,
        });
        entries.collect()
    }

    fn kept(&self, entry: &Entry) -> Kept {
        let now = Instant::now();
        let verdict = self.verdict(entry);
        let judgement = entry
            .lifetime
            .judge(entry.age(now), &RequestDirectives::default());
        let standing = match (verdict, judgement) {
            (Verdict::Live, super::rfc::Judgement::Fresh) => "fresh",
            (Verdict::Live, _) if entry.left(verdict, now) > 0 => "unproven",
            (Verdict::Live, _) => "stale",
            _ => "purged",
        };
        Kept {
            status: entry.status(),
            varies_by: entry
                .vary()
                .names()
                .iter()
                .map(ToString::to_string)
                .collect(),
            age: entry.age(now).as_secs(),
            left: entry.left(verdict, now),
            standing,
            bytes: entry.body().length(),
            is_whole: entry.body().is_whole(),
            tags: entry.standing.tags().signs().len(),
            uses: entry.uses.load(std::sync::atomic::Ordering::Relaxed),
        }
    }
}
