//! Files that the configuration names.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a regular file for reading. Everything else is refused: a device or a pipe could go on for ever.
/// Whoever reads from it still sets a limit.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Looked at before it is opened, since opening a pipe waits for its other end.
    if std::fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("it is not a file"))
    }
}
