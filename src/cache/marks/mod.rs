//! Purges, as marks on a logical clock.
//!
//! The clock is a number that every purge advances. An entry has the number that it was before its upstream was asked; a
//! purge is about those entries that have a lower one than it has itself, however many there are and wherever they are
//! kept. Nobody looks for them: what a purge costs is one mark in a table, and entries are judged when they are wanted.
//! Where nothing was purged since an entry was judged, that is one comparison; and otherwise a look for each of its
//! tags, its URL, its host and those beginnings of its path that are as long as some prefix.
//!
//! # Why no purge is missed
//! Let a purge have the number *m*. It is done under the lock of the tables: it adds its mark, then stores *m* in the
//! clock (release), then lets go of the lock; and is acknowledged after that.
//!
//! *Who judges after that sees it.* Whoever knows of the acknowledgement knows it by something that was written after the
//! clock and read before the entry is judged: a lock, a channel, a socket. Each of these is a release and an acquire, so
//! that the store of *m* happens before the load with which [`Marks::judge`] begins, which then gives *m* or more. With
//! that the entry is either looked for in the tables, under their lock: since the clock was stored under the same lock,
//! after the mark was added, the mark is there. Or `checked` is equal to it: then somebody has loaded the clock as *c* ≥ *m*
//! before he looked in the tables, and has found there, for the same reason, all marks up to *c*, *m* among them. That
//! the clock is loaded *before* the tables are looked at, and that number is remembered, is what it depends on: a mark that is
//! added in between is seen or not, and the entry is judged again in either case.
//!
//! *What is filled before it is purged.* A fill loads the clock before it asks the upstream, and gets *s*. If *s* < *m* the
//! entry is purged, also where its upstream has answered what is new. If *s* ≥ *m* the load came after the store, and so did
//! the question to the upstream: what was the reason of the purge had happened by then.
//!
//! `checked` of a new entry is its start: no purge up to that is about it. A thread that was slow may set it back; then
//! the entry is judged once more.
//!
//! # Restarts
//! Marks are kept by whoever has entries on disk: [`Mark::to_bytes`], each before it is acknowledged, and [`Marks::all`]
//! when that has become long. [`Marks::restore`] makes the clock go on above all of them, and above what could have been
//! lost of them: it goes by the time as well, so that no entry of an earlier run has a start that a later purge does not
//! reach. Where the marks can only be read later, [`Marks::learn`] adds them to those of this run.
//!
//! # A bound
//! There are marks of 100,000 things at most, some 8 MB. When there are more, those of URLs among the older half of them are
//! folded: all URLs are in 524,288 parts, and what was purged of one is then about all of its part. So a flood of writes to
//! different URLs purges some of what is kept (of 50,000 that are folded, a tenth), and not all. Other marks are kept, unless there
//! are too many of those as well, of tags for one: then they become one about everything, which is logged. In either case too
//! much is purged, but nothing too little.

#[cfg(test)]
mod fuzz;
mod parts;
mod purge;
mod sign;
mod standing;
#[cfg(test)]
mod stress_tests;
mod tables;
mod tags;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

pub use self::purge::{Kind, Mark, Purge};
use self::purge::{now, time};
pub use self::sign::Sign;
use self::standing::Known;
pub use self::standing::Standing;
use self::tables::Tables;
pub use self::tags::{MOST_TAGS, Separator, TagField, Tags};

/// Of how many things there are marks.
const MOST: usize = 100_000;
/// How many purges there are in a second at most, in the mean of a whole run. By so much a run begins above the one
/// before for every second between their beginnings.
const PER_SECOND: u64 = 1 << 30;

/// What was purged. There is one for all entries of a gateway, whatever its configuration.
pub struct Marks {
    /// The number of the last purge. It is stored while the tables are locked.
    clock: AtomicU64,
    tables: RwLock<Tables>,
    /// When it began, in milliseconds of Unix time.
    began: u64,
}

/// What may be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No purge is about it.
    Live,
    /// It is stale, whatever its lifetime is, since it was purged softly at this time. Of several such purges it is the first
    /// that was in force when it was judged.
    Soft(SystemTime),
    /// It must not be served, nor confirmed by its upstream, and its place can be given to others.
    Dead,
}

/// How many marks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkCounts {
    /// Of so many things.
    pub kept: usize,
    /// So many are about more than they were, since the start.
    pub folded: u64,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks::new()
    }
}

impl Marks {
    /// Nothing was purged so far.
    pub fn new() -> Marks {
        Marks::restore([])
    }

    /// With the marks of earlier runs, in any order.
    pub fn restore(marks: impl IntoIterator<Item = Mark>) -> Marks {
        Marks::with(MOST, now() / 1000, marks)
    }

    fn with(most: usize, unix: u64, marks: impl IntoIterator<Item = Mark>) -> Marks {
        let mut tables = Tables::new((most / 2).max(1));
        let mut marks: Vec<Mark> = marks.into_iter().collect();
        marks.sort_by_key(|mark| mark.number);
        for mark in &marks {
            tables.add(mark);
        }
        let highest = marks.last().map_or(0, |mark| mark.number);
        let by_marks = highest.saturating_add(PER_SECOND);
        let clock = by_marks.max(unix.saturating_mul(PER_SECOND));
        Marks {
            clock: AtomicU64::new(clock),
            tables: RwLock::new(tables),
            began: now(),
        }
    }

    /// Learns of purges of other runs, in any order, after it has begun; what was judged is judged anew. The clock is then
    /// above that of each run that has logged a mark after its own `learn`, whenever that began.
    ///
    /// Two kinds of purges are done once more, and so have to be kept again ([`Marks::all`]): those of a process that ran beside this
    /// one, which are about what this one has filled as well; and those of this one that nobody has kept yet, where its clock was so near
    /// that the others may have had entries with the same numbers. Nobody judges meanwhile, some ten milliseconds for
    /// 100,000 marks.
    pub fn learn(&self, marks: impl IntoIterator<Item = Mark>) {
        let mut learned: Vec<Mark> = marks.into_iter().collect();
        let bytes = |marks: &[Mark]| marks.iter().map(Mark::to_bytes).collect::<HashSet<_>>();
        let kept = bytes(&learned);
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let mut own = tables.all();
        let known = bytes(&own);
        let before = self.clock.load(Ordering::Relaxed);
        let highest = learned.iter().map(|mark| mark.number).max().unwrap_or(0);
        let above = highest.saturating_add(PER_SECOND);
        let mut clock = before.max(above).saturating_add(1);
        let is_near = before < above;
        let own_late = own.iter_mut();
        let own_late = own_late.filter(|mark| is_near && !kept.contains(&mark.to_bytes()));
        let beside = learned.iter_mut();
        let beside = beside.filter(|mark| !known.contains(&mark.to_bytes()));
        for mark in own_late.chain(beside).filter(|mark| mark.at >= self.began) {
            clock = clock.saturating_add(1);
            mark.number = clock;
        }
        own.append(&mut learned);
        *tables = tables.anew(own);
        self.clock.store(clock, Ordering::Release);
    }

    /// The clock: what the start of an entry is, asked for before its upstream is.
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Acquire)
    }

    /// Purges. When it returns no entry that started before is live. It may take some milliseconds where marks are folded.
    pub fn purge(&self, purge: &Purge) -> Mark {
        self.purge_at(purge, now())
    }

    fn purge_at(&self, purge: &Purge, at: u64) -> Mark {
        let (mark, rest) = {
            let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
            let number = self.clock.load(Ordering::Relaxed).saturating_add(1);
            let purge = *purge;
            let mark = Mark { purge, number, at };
            let rest = tables.add(&mark);
            self.clock.store(number, Ordering::Release);
            (mark, rest)
        };
        if let Some((_, folded @ 1..)) = &rest {
            log::warn!(
                "cache: there are more purges than can be kept apart; {folded} of them now count as purges of everything"
            );
        }
        mark
    }

    /// A purge of everything that has started by now, which is for others that keep what is kept here: it is not done here.
    pub fn last_of_all(&self) -> Mark {
        Mark {
            purge: Purge::all(),
            number: self.now().saturating_add(1),
            at: now(),
        }
    }

    /// What may be done with an entry, by all purges that are acknowledged by now. `path` is the entry's, for prefixes: with
    /// its query where prefixes have one. It neither waits nor allocates; so whoever looks for memory to give back may judge
    /// all entries one by one.
    pub fn judge(&self, standing: &Standing, path: &[u8]) -> Verdict {
        let clock = self.now();
        match standing.is_known_live(clock) {
            true => Verdict::Live,
            false => self.look(standing, path, clock),
        }
    }

    fn look(&self, standing: &Standing, path: &[u8], clock: u64) -> Verdict {
        // Nothing starts in the future: it is of a run of which neither marks nor time are known any more.
        if standing.start() > clock {
            return Verdict::Dead;
        }
        match standing.known(clock) {
            Known::Live => return Verdict::Live,
            Known::Stale(at) => return Verdict::Soft(time(at)),
            Known::Nothing => {}
        }
        let finding = {
            let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
            tables.look(standing, path)
        };
        if finding.is_dead {
            return Verdict::Dead;
        }
        match standing.remember(clock, finding.stale) {
            Some(since) => Verdict::Soft(since),
            None => Verdict::Live,
        }
    }

    /// All that has to be kept so that everything is judged as it is now, the oldest first. It is good to be kept instead of
    /// what was kept before it was called, but not of what is purged while it is.
    pub fn all(&self) -> Vec<Mark> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.all()
    }

    pub fn counts(&self) -> MarkCounts {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        MarkCounts {
            kept: tables.len(),
            folded: tables.folded(),
        }
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").finish_non_exhaustive()
    }
}
