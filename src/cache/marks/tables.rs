//! Marks by what they are about.

use std::collections::HashMap;
use std::mem;

use ahash::RandomState;

use super::parts::Parts;
use super::purge::{Kind, LONGEST_PREFIX, Mark, Purge};
use super::sign::{Beginning, Sign};
use super::standing::Standing;

/// All marks that are known by themselves, and what has become of the others.
///
/// They are in two halves. When the young half is full it becomes the old one, and what was old is folded: what is about URLs,
/// of which clients may purge many by what they change, into [`Parts`]; the rest is kept where it is little, and otherwise
/// goes into the floor, which is about all entries. So there is a bound, and what it costs to keep it is a walk over one half.
pub(super) struct Tables {
    /// What was purged of everything.
    floor: Stamp,
    parts: Parts,
    old: Half,
    young: Half,
    /// How many things a half has marks of.
    room: usize,
    folded: u64,
}

/// The last purge of one kind, each by its number and its time; 0 where there was none.
#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    hard: Stroke,
    soft: Stroke,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stroke {
    number: u64,
    at: u64,
}

#[derive(Default)]
pub(super) struct Half {
    marks: HashMap<Sign, About, RandomState>,
    /// How long the prefixes are, of one host and of any.
    of_host: Lengths,
    of_any: Lengths,
    /// Of whatever tag.
    tags: Stamp,
    /// Of anything.
    all: Stamp,
}

struct About {
    kind: Kind,
    length: u16,
    stamp: Stamp,
}

/// Which lengths there are.
struct Lengths([u64; LONGEST_PREFIX / 64 + 1]);

/// What the marks say of an entry.
pub(super) struct Finding {
    start: u64,
    pub(super) is_dead: bool,
    /// In milliseconds of Unix time.
    pub(super) stale: Option<u64>,
}

impl Tables {
    pub(super) fn new(room: usize) -> Tables {
        Tables {
            floor: Stamp::default(),
            parts: Parts::default(),
            old: Half::default(),
            young: Half::default(),
            room,
            folded: 0,
        }
    }

    /// Adds a mark that is younger than all others. Gives what is to be dropped, which takes time, and how much has become a
    /// purge of everything.
    pub(super) fn add(&mut self, mark: &Mark) -> Option<(Half, usize)> {
        match mark.purge.kind {
            Kind::All => {
                self.floor.add(mark);
                if !mark.purge.is_soft() {
                    // They are about nothing that is left.
                    self.old = Half::default();
                    self.parts = Parts::default();
                    return Some((mem::take(&mut self.young), 0));
                }
                return None;
            }
            Kind::Part => {
                self.parts.add(mark.purge.sign, mark.number, mark.at);
                return None;
            }
            _ => self.young.add(mark),
        }
        if self.young.marks.len() < self.room {
            return None;
        }
        let young = mem::take(&mut self.young);
        let mut folded = mem::replace(&mut self.old, young);
        let count = self.fold(&mut folded);
        Some((folded, count))
    }

    /// Keeps what was old in some other way. Gives of how much it is not known any more what it is about.
    fn fold(&mut self, old: &mut Half) -> usize {
        let mut kept = Vec::new();
        for (sign, mut about) in old.marks.drain() {
            let hard = about.stamp.hard;
            if about.kind == Kind::Url && hard.number > 0 {
                self.parts.add(sign, hard.number, hard.at);
                self.folded += 1;
                about.stamp.hard = Stroke::default();
            }
            if about.stamp.last() > 0 {
                kept.push((sign, about));
            }
        }
        if kept.len() < self.room / 2 {
            let kept = kept.into_iter();
            kept.for_each(|(sign, about)| self.young.insert(sign, about));
            return 0;
        }
        let strokes = kept.iter().map(|(_, about)| &about.stamp);
        strokes.for_each(|stamp| self.floor.merge(stamp));
        self.folded += kept.len() as u64;
        kept.len()
    }

    /// With these marks instead, in any order.
    pub(super) fn anew(&self, mut all: Vec<Mark>) -> Tables {
        all.sort_by_key(|mark| mark.number);
        let mut tables = Tables::new(self.room);
        tables.folded = self.folded;
        for mark in &all {
            tables.add(mark);
        }
        tables
    }

    pub(super) fn look(&self, standing: &Standing, path: &[u8]) -> Finding {
        let mut finding = Finding {
            start: standing.start(),
            is_dead: false,
            stale: None,
        };
        finding.add(&self.floor);
        finding.is_dead |= self.parts.has(standing.url(), standing.start());
        for half in [&self.young, &self.old] {
            // Where nothing is younger than the entry there is nothing to look for.
            if half.all.last() > standing.start() {
                half.look(standing, path, &mut finding);
            }
        }
        finding
    }

    /// How many things there are marks of.
    pub(super) fn len(&self) -> usize {
        self.old.marks.len() + self.young.marks.len()
    }

    /// How many are not known by themselves any more.
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }

    /// What has to be known so that everything is judged as it is now, the oldest first.
    pub(super) fn all(&self) -> Vec<Mark> {
        let mut all = Vec::with_capacity(2 + self.len());
        self.floor.write(Purge::all(), &mut all);
        self.parts.write(&mut all);
        for half in [&self.old, &self.young] {
            for (sign, about) in &half.marks {
                let mut purge = Purge::of(about.kind, *sign);
                purge.length = about.length;
                about.stamp.write(purge, &mut all);
            }
        }
        all.sort_by_key(|mark| mark.number);
        all
    }
}

impl Half {
    fn add(&mut self, mark: &Mark) {
        let purge = mark.purge;
        let about = self.marks.entry(purge.sign).or_insert_with(|| About {
            kind: purge.kind,
            length: purge.length,
            stamp: Stamp::default(),
        });
        about.stamp.add(mark);
        let mut stamp = Stamp::default();
        stamp.add(mark);
        self.know(purge.kind, purge.length, &stamp);
    }

    fn insert(&mut self, sign: Sign, about: About) {
        self.know(about.kind, about.length, &about.stamp);
        let stamp = about.stamp;
        let there = self.marks.entry(sign).or_insert(about);
        there.stamp.merge(&stamp);
    }

    /// That there is something of this kind.
    fn know(&mut self, kind: Kind, length: u16, stamp: &Stamp) {
        self.all.merge(stamp);
        match kind {
            Kind::Tag => self.tags.merge(stamp),
            Kind::PrefixOfHost => self.of_host.add(length),
            Kind::Prefix => self.of_any.add(length),
            Kind::All | Kind::Url | Kind::Host | Kind::Part => {}
        }
    }

    fn look(&self, standing: &Standing, path: &[u8], finding: &mut Finding) {
        let (url, host) = (standing.url(), standing.host());
        let tags = standing.tags();
        for sign in [url, host].iter().chain(tags.signs()) {
            self.find(*sign, finding);
        }
        if tags.are_too_many() {
            finding.add(&self.tags);
        }
        self.look_along(path, &self.of_host, Beginning::of(Some(host)), finding);
        self.look_along(path, &self.of_any, Beginning::of(None), finding);
    }

    /// Looks for each of the path's beginnings that is as long as some prefix is.
    fn look_along(
        &self,
        path: &[u8],
        lengths: &Lengths,
        mut beginning: Beginning,
        finding: &mut Finding,
    ) {
        let mut done = 0;
        for length in lengths.iter() {
            let Some(next) = path.get(done..length) else {
                break;
            };
            beginning.go_on(next);
            done = length;
            self.find(beginning.sign(), finding);
        }
    }

    fn find(&self, sign: Sign, finding: &mut Finding) {
        if let Some(about) = self.marks.get(&sign) {
            finding.add(&about.stamp);
        }
    }
}

impl Stamp {
    fn add(&mut self, mark: &Mark) {
        let stroke = Stroke {
            number: mark.number,
            at: mark.at,
        };
        match mark.purge.is_soft() {
            true => self.soft.merge(stroke),
            false => self.hard.merge(stroke),
        }
    }

    fn merge(&mut self, other: &Stamp) {
        self.hard.merge(other.hard);
        self.soft.merge(other.soft);
    }

    fn last(&self) -> u64 {
        self.hard.number.max(self.soft.number)
    }

    fn write(&self, purge: Purge, to: &mut Vec<Mark>) {
        for (purge, stroke) in [(purge, self.hard), (purge.soft(), self.soft)] {
            if stroke.number > 0 {
                let Stroke { number, at } = stroke;
                to.push(Mark { purge, number, at });
            }
        }
    }
}

impl Stroke {
    fn merge(&mut self, other: Stroke) {
        if other.number > self.number {
            *self = other;
        }
    }
}

impl Finding {
    fn add(&mut self, stamp: &Stamp) {
        self.is_dead |= stamp.hard.number > self.start;
        if stamp.soft.number > self.start {
            let at = stamp.soft.at;
            self.stale = Some(self.stale.map_or(at, |before| before.min(at)));
        }
    }
}

impl Default for Lengths {
    fn default() -> Lengths {
        Lengths([0; _])
    }
}

impl Lengths {
    fn add(&mut self, length: u16) {
        if let Some(word) = self.0.get_mut(usize::from(length) / 64) {
            *word |= 1 << (length % 64);
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_come_in_order() {
        let mut lengths = Lengths::default();
        assert_eq!(lengths.iter().count(), 0);
        for length in [1023, 0, 64, 63, 7, 64] {
            lengths.add(length);
        }
        let all: Vec<_> = lengths.iter().collect();
        assert_eq!(all, [0, 7, 63, 64, 1023]);
    }
}
