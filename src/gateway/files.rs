//! Seeing that the files of the configuration have changed.

use std::time::{Duration, Instant};

use crate::config::{Files, Looks};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looks take this part of the time at most, however many files there are and however slow their disk is.
const SHARE: u32 = 100;

/// Files that are looked at again and again; none to begin with.
#[derive(Debug, Default)]
pub(super) struct Watch {
    files: Option<Files>,
    /// As they were at the last look, where that was different.
    changing: Option<Looks>,
}

impl Watch {
    /// These have been loaded, and are looked at from now on; or none are.
    pub(super) fn follow(&mut self, files: Option<Files>) {
        *self = Watch {
            files,
            changing: None,
        };
    }

    /// Waits until they have changed after they were loaded. It can be given up and begun again.
    pub(super) async fn changed(&mut self) {
        let mut pause = INTERVAL;
        loop {
            let Some(files) = &self.files else {
                return std::future::pending().await;
            };
            tokio::time::sleep(pause).await;
            let files = files.clone();
            let look = tokio::task::spawn_blocking(move || {
                let began = Instant::now();
                (files.look_again(), began.elapsed())
            });
            let (looks, took) = match look.await {
                Ok(looked) => looked,
                Err(error) => {
                    log::error!("the configuration's files were not looked at: {error}");
                    continue;
                }
            };
            pause = INTERVAL.max(took * SHARE);
            if self.saw(looks) {
                return;
            }
        }
    }

    /// Whether they have changed, and have come to rest: a file that is being written, or several that are copied
    /// one after the other, are not to be loaded half.
    fn saw(&mut self, looks: Looks) -> bool {
        let is_as_loaded = self.files.as_ref().is_some_and(|it| *it.looks() == looks);
        if is_as_loaded {
            self.changing = None;
            return false;
        }
        let has_settled = self.changing.as_ref() == Some(&looks);
        self.changing = Some(looks);
        has_settled
    }
}
