//! Seeing that files have changed, without reading them.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::fault::Fault;
use crate::text::Look;

/// File systems keep times to a few milliseconds, so that two changes in one such moment look like one. A file
/// that has changed less than this many seconds ago is looked at again once it is older.
const SETTLED_AFTER: i64 = 2;

/// Files, and how they looked when they were last read.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Seen>>,
    /// Why they could not be read when they were last read, if so.
    unread: Option<String>,
}

/// A file as it was seen, and whether its time can be trusted to tell the next change.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    look: Look,
    is_settled: bool,
}

impl Watched {
    /// To be made before the files are read: what changes in between is then seen at the next look.
    pub(super) fn new(paths: Vec<PathBuf>, now: i64) -> Watched {
        let seen = look(&paths, now);
        Watched {
            paths,
            seen,
            unread: None,
        }
    }

    /// Whether they are to be read: any is not as it was seen before, and is then taken as seen, or they could not
    /// be read the last time. Blocks on the file system.
    pub(super) fn is_due(&mut self, now: i64) -> bool {
        let looks = look(&self.paths, now);
        let is_due = looks != self.seen || self.unread.is_some();
        self.seen = looks;
        is_due
    }

    /// To be told of the end of each reading. Whether it is the fault of the last one again, and no news.
    pub(super) fn is_repeated(&mut self, fault: Option<&Fault>) -> bool {
        let unread = match fault {
            Some(Fault::Unread(why)) => Some(why.clone()),
            Some(Fault::Bad) | None => None,
        };
        let is_repeated = unread.is_some() && unread == self.unread;
        self.unread = unread;
        is_repeated
    }
}

/// Unix time.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

fn look(paths: &[PathBuf], now: i64) -> Vec<Option<Seen>> {
    let look = |path: &PathBuf| {
        let look = Look::at(path)?;
        Some(Seen {
            look,
            is_settled: now.saturating_sub(look.changed_at()) > SETTLED_AFTER,
        })
    };
    paths.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_changing_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "1").unwrap();
        std::fs::write(path("b"), "2").unwrap();
        std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
        let now = now();
        let mut watched = Watched::new(vec![path("link"), path("new")], now);
        assert!(!watched.is_due(now));
        let mut check = |what: &str| {
            assert!(watched.is_due(now), "{what}");
            assert!(!watched.is_due(now), "{what}");
        };
        std::fs::write(path("a"), "22").unwrap();
        check("written");
        std::os::unix::fs::symlink(path("b"), path("other")).unwrap();
        std::fs::rename(path("other"), path("link")).unwrap();
        check("led elsewhere");
        std::fs::write(path("new"), "").unwrap();
        check("made");
        std::fs::rename(path("a"), path("new")).unwrap();
        check("replaced");
        std::fs::remove_file(path("new")).unwrap();
        check("removed");
    }

    #[test]
    fn a_file_that_has_just_changed_is_looked_at_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "1").unwrap();
        let now = now();
        let mut watched = Watched::new(vec![path], now);
        let later = now + SETTLED_AFTER + 2;
        assert!(watched.is_due(later));
        assert!(!watched.is_due(later + 1));
    }
}
