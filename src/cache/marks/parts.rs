//! Purges of URLs that are too many to be known one by one.

use super::purge::{Kind, Mark, Purge};
use super::sign::Sign;

/// How many parts all URLs are in.
pub(super) const PARTS: usize = 1 << 19;
const SHIFT: u32 = u64::BITS - PARTS.trailing_zeros();

/// All URLs in so many parts, and for each the last hard purge of one of its own. So what was purged of one URL is about every
/// 524,288th other as well. There is nothing, or there are 8 MiB.
#[derive(Default)]
pub(super) struct Parts {
    strokes: Vec<Stroke>,
    /// The last of all.
    last: u64,
}

#[derive(Clone, Copy, Default)]
struct Stroke {
    number: u64,
    at: u64,
}

impl Parts {
    /// `sign` is that of a URL, or of a purge of this kind.
    pub(super) fn add(&mut self, sign: Sign, number: u64, at: u64) {
        if self.strokes.is_empty() {
            self.strokes = vec![Stroke::default(); PARTS];
        }
        let stroke = self.strokes.get_mut(sign.part(SHIFT));
        if let Some(stroke) = stroke.filter(|stroke| stroke.number < number) {
            *stroke = Stroke { number, at };
        }
        self.last = self.last.max(number);
    }

    /// Whether something with this URL that began by then was purged, as far as it is known here.
    pub(super) fn has(&self, url: Sign, start: u64) -> bool {
        self.last > start
            && (self.strokes.get(url.part(SHIFT))).is_some_and(|stroke| stroke.number > start)
    }

    pub(super) fn write(&self, to: &mut Vec<Mark>) {
        let made = (self.strokes.iter().enumerate()).filter(|(_, stroke)| stroke.number > 0);
        to.extend(made.map(|(part, stroke)| Mark {
            purge: Purge::of(Kind::Part, Sign::of_part(part, SHIFT)),
            number: stroke.number,
            at: stroke.at,
        }));
    }
}
