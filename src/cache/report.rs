//! What operators see of the cache.

use std::time::Instant;

use http::StatusCode;

use super::Cache;
use super::entry::Entry;
use super::marks::{Sign, Verdict};
use super::rfc::RequestDirectives;
use super::slot::Slot;

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
        }
    }

    /// All that is kept of a URL, whoever it is for. It looks at every entry, some at a time.
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
        let verdict = self.marks.judge(&entry.standing, entry.path.as_bytes());
        let judgement = entry
            .lifetime
            .judge(entry.age(now), &RequestDirectives::default());
        let standing = match (verdict, judgement) {
            (Verdict::Live, super::rfc::Judgement::Fresh) => "fresh",
            (Verdict::Live, _) if entry.left(now) > 0 => "unproven",
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
            left: entry.left(now),
            standing,
            bytes: entry.body().length(),
            is_whole: entry.body().is_whole(),
            tags: entry.standing.tags().signs().len(),
            uses: entry.uses.load(std::sync::atomic::Ordering::Relaxed),
        }
    }
}
