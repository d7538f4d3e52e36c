//! Whether it is worth reading a file again.

use crate::identity::PemError;
use crate::text::SecretError;

/// Why files were not taken up. The diagnostics say it in words.
#[derive(Debug)]
pub(super) enum Fault {
    /// A file could not be read, in these words. That may pass without a change to the file, as with too many open
    /// files.
    Unread(String),
    /// What was read is bad, and stays so until a file changes.
    Bad,
}

impl From<&PemError> for Fault {
    fn from(error: &PemError) -> Fault {
        match error {
            PemError::Read { source, .. } | PemError::Secret(SecretError::Read { source, .. })
                if source.raw_os_error().is_some() =>
            {
                Fault::Unread(error.to_string())
            }
            _ => Fault::Bad,
        }
    }
}
