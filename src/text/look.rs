//! Seeing that a file has changed, without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another. Links are followed, so that one that is changed to lead elsewhere,
/// as container platforms do with mounted files, is seen by the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// Looks at a file; `None` where there is none, or none that can be seen. Blocks on the file system.
    pub fn at(path: &Path) -> Option<Look> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Look {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether it is the same file, whatever has been written to it since.
    pub fn is_same_file(&self, other: &Look) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// When anything of it was changed last, in Unix time.
    pub fn changed_at(&self) -> i64 {
        self.changed.0
    }
}
