//! Keys on this machine: files, secrets, and what stands in the configuration.

use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::config::Config;
use super::source::State;
use super::{KeySet, KeySetError};
use crate::identity::{PemError, read_bytes};
use crate::text::{Look, Secret, SecretError, Span, Subject};

/// How often a file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// File systems keep times to a few milliseconds, so that two changes in one such moment look like one.
const SETTLED_AFTER: i64 = 2;

/// Where they are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(PathBuf),
    Secret(Secret, PathBuf),
    Inline(Box<str>),
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error("{0}")]
    File(#[from] PemError),
    #[error("{0}")]
    Secret(#[from] SecretError),
    #[error("{0}")]
    KeySet(#[from] KeySetError),
    #[error("has no key that could be used")]
    Empty,
    #[error("has a shared secret in it, and secrets are not written in the configuration")]
    InlineSecret,
}

impl Place {
    /// What the configuration says, with the key that says it; `None` where it says nothing of this machine.
    pub(super) fn of(config: &Config, folder: &Path) -> Option<(&'static str, Span, Place)> {
        if let Some(path) = &config.file {
            return Some(("file", path.span, Place::File(folder.join(&path.value))));
        }
        if let Some(secret) = &config.secret {
            let place = Place::Secret(secret.value.clone(), folder.into());
            return Some(("secret", secret.span, place));
        }
        let text = config.inline.as_ref()?;
        Some(("inline", text.span, Place::Inline(text.as_str().into())))
    }

    /// Blocks on the file system.
    pub(super) fn read(&self) -> Result<KeySet, LocalError> {
        let set = match self {
            Place::File(path) => KeySet::parse_file(&read_bytes(path)?)?,
            Place::Secret(secret, folder) => KeySet::of_secret(secret.read(folder)?.expose())?,
            Place::Inline(text) => KeySet::parse_file(text.as_bytes())?,
        };
        let is_secret = set
            .keys()
            .iter()
            .any(|key| key.algorithms().iter().any(|it| it.is_symmetric()));
        if is_secret && matches!(self, Place::Inline(_)) {
            return Err(LocalError::InlineSecret);
        }
        match set.is_empty() {
            true => Err(LocalError::Empty),
            false => Ok(set),
        }
    }

    /// As [`Place::read`], for the start; `None` after diagnostics.
    pub(super) fn load(&self, span: Span, subject: &mut Subject<'_>) -> Option<KeySet> {
        match self.read() {
            Ok(set) => {
                for skipped in set.skipped() {
                    let what = format!(
                        "the key {:?} in it is not used: {}",
                        skipped.key, skipped.why
                    );
                    subject.warning(span, what);
                }
                Some(set)
            }
            Err(error) => {
                let problem = subject.error(span, &error);
                // It may be what nobody should see.
                problem.is_private = matches!(self, Place::Inline(_));
                if matches!(error, LocalError::InlineSecret) {
                    problem.help(
                        "write secret = { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }",
                    );
                }
                None
            }
        }
    }

    /// The file that may change.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Place::File(path) => Some(path.clone()),
            Place::Secret(secret, folder) => secret.path(folder),
            Place::Inline(_) => None,
        }
    }
}

/// Reads the file again when it changes, as long as the keys are in use. One that is bad changes nothing. `seen` is
/// how it looked before it was read.
pub(super) async fn watch(state: Weak<State>, place: Place, mut seen: Option<Look>) {
    let Some(path) = place.path() else { return };
    let mut said = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (place, path) = (place.clone(), path.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let look = Look::at(&path);
            let is_settled = |look: &Look| now().saturating_sub(look.changed_at()) > SETTLED_AFTER;
            let is_same = look == seen && look.as_ref().is_none_or(is_settled);
            let read = (!is_same).then(|| place.read());
            (look, read)
        });
        let Ok((look, read)) = looking.await else {
            return;
        };
        let Some(state) = state.upgrade() else { return };
        seen = look;
        match read {
            None => {}
            Some(Ok(set)) => {
                said = None;
                state.adopt(set);
            }
            Some(Err(error)) => {
                let error = Some(error.to_string());
                if error != said {
                    log::error!(
                        "identity.{}: the keys have changed to what is no good, and stay as they were: {}",
                        state.name,
                        error.as_deref().unwrap_or_default()
                    );
                }
                said = error;
            }
        }
    }
}

/// Unix time.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}
