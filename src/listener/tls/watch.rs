//! Seeing that files have changed, without reading them.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// File systems keep times to a few milliseconds, so that two changes in one such moment look like one. A file
/// that has changed less than this many seconds ago is looked at again once it is older.
const SETTLED_AFTER: i64 = 2;

/// Files, and how they looked when they were last read.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Look>>,
}

/// What tells one state of a file from another. Links are followed, so that one that is changed to lead elsewhere,
/// as container platforms do with mounted secrets, is seen by the inode.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    is_settled: bool,
}

impl Watched {
    /// To be made before the files are read: what changes in between is then seen at the next look.
    pub(super) fn new(paths: Vec<PathBuf>, now: i64) -> Watched {
        let seen = look(&paths, now);
        Watched { paths, seen }
    }

    /// Whether any is not as it was seen before; it is then taken as seen. Blocks on the file system.
    pub(super) fn has_changed(&mut self, now: i64) -> bool {
        let looks = look(&self.paths, now);
        let has_changed = looks != self.seen;
        self.seen = looks;
        has_changed
    }
}

/// Unix time.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

fn look(paths: &[PathBuf], now: i64) -> Vec<Option<Look>> {
    let look = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Look {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_settled: now.saturating_sub(metadata.ctime()) > SETTLED_AFTER,
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
        assert!(!watched.has_changed(now));
        let mut check = |what: &str| {
            assert!(watched.has_changed(now), "{what}");
            assert!(!watched.has_changed(now), "{what}");
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
        assert!(watched.has_changed(later));
        assert!(!watched.has_changed(later + 1));
    }
}
