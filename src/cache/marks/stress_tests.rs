//! Purges, fills and hits at the same time: what is served is never older than a purge that was acknowledged before.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// An object of the upstream, and what is kept of it.
struct Object {
    path: String,
    tag: String,
    /// What the upstream has.
    version: AtomicU64,
    /// What was purged and acknowledged: nobody who begins after that may get less.
    purged: AtomicU64,
    kept: Mutex<Option<Arc<Entry>>>,
}

struct Entry {
    version: u64,
    standing: Standing,
}

impl Object {
    fn numbered(number: usize) -> Object {
        Object {
            path: format!("/objects/{number}/"),
            tag: format!("object-{number}"),
            version: AtomicU64::new(0),
            purged: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    /// The upstream changes, then what is kept is purged, then that is acknowledged.
    fn change(&self, marks: &Marks, by: usize) {
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let purge = match by % 4 {
            0 => Purge::tag(self.tag.as_bytes()),
            1 => Purge::url(b"host", self.path.as_bytes()),
            2 => Purge::prefix(Some(b"host"), self.path.as_bytes()),
            _ => Purge::tag(self.tag.as_bytes()).soft(),
        };
        marks.purge(&purge);
        // Purges overtake each other; the highest of them was acknowledged.
        self.purged.fetch_max(version, Ordering::Release);
    }

    /// A request: gives whether it was a hit.
    fn request(&self, marks: &Marks) -> bool {
        let purged = self.purged.load(Ordering::Acquire);
        let kept = self.kept.lock().unwrap().clone();
        if let Some(entry) = kept
            && marks.judge(&entry.standing, self.path.as_bytes()) == Verdict::Live
        {
            assert!(
                entry.version >= purged,
                "{} of {}, of which {purged} was purged",
                entry.version,
                self.path
            );
            return true;
        }
        let start = marks.now();
        let version = self.version.load(Ordering::Relaxed);
        let tags = [Sign::tag(self.tag.as_bytes())].into_iter().collect();
        let standing = Standing::new(start, (b"host", self.path.as_bytes()), tags);
        *self.kept.lock().unwrap() = Some(Arc::new(Entry { version, standing }));
        false
    }
}

fn check(most: usize, objects: usize, pause: Duration) {
    let marks = Marks::with(most, 0, []);
    let objects: Vec<_> = (0..objects).map(Object::numbered).collect();
    let (is_over, begun) = (AtomicBool::new(false), Instant::now());
    let (hits, misses, purges) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for reader in 0..4 {
            let (marks, objects, is_over) = (&marks, &objects, &is_over);
            let (hits, misses) = (&hits, &misses);
            scope.spawn(move || {
                for number in reader.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    // One object at a time is the hot one.
                    let object = &objects[number / 512 % objects.len()];
                    let count = if object.request(marks) { hits } else { misses };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for writer in 0..2 {
            let (marks, objects, is_over, purges) = (&marks, &objects, &is_over, &purges);
            scope.spawn(move || {
                for number in writer.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    objects[number % objects.len()].change(marks, number / objects.len());
                    purges.fetch_add(1, Ordering::Relaxed);
                    if !pause.is_zero() {
                        thread::sleep(pause);
                    }
                }
            });
        }
        while begun.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(10));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let [hits, misses, purges] = [hits, misses, purges].map(AtomicU64::into_inner);
    assert!(
        hits > 100 && misses > 100 && purges > 100,
        "{hits} {misses} {purges}"
    );
}

#[test]
fn nothing_is_older_than_an_acknowledged_purge_under_a_storm_of_them() {
    check(1000, 3, Duration::ZERO);
}

#[test]
fn nor_with_pauses_in_which_entries_are_known_to_live() {
    check(1000, 20, Duration::from_micros(50));
}

#[test]
fn nor_while_marks_are_folded() {
    check(8, 40, Duration::ZERO);
}
