//! Remembering the configuration that serves: in memory, to be compared with, and on disk, for a start with files that
//! are no good.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::{Gateway, seconds_now};
use crate::admin;
use crate::config::{self, Archive, Kind, Origin, Quarantined};

/// What the configuration says that serves.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// `None` where it is too large to be remembered.
    pub(super) archive: Option<Archive>,
    /// What operators are shown.
    pub(super) shown: watch::Sender<admin::Serving>,
    to_keep: watch::Sender<Option<(Archive, PathBuf)>>,
}

impl Gateway {
    /// Says by log and metric what it is that serves now, and has it kept.
    pub(super) fn serves(
        &mut self,
        archive: Option<Archive>,
        origin: Origin,
        quarantined: Vec<Quarantined>,
    ) {
        self.metrics.config_is_last_good(origin != Origin::Files);
        for kind in [Kind::Listener, Kind::Upstream, Kind::Route] {
            let of_kind = quarantined.iter().filter(|it| it.kind == kind);
            self.metrics
                .config_quarantined(kind.as_str(), of_kind.count());
        }
        for object in &quarantined {
            log::error!("{object} has mistakes and is not served");
        }
        match (origin, &archive, &self.settings.state_dir) {
            (Origin::LastGood(kept_at), ..) => {
                let age = kept_at.elapsed().unwrap_or_default().as_secs();
                log::error!(
                    "the files have errors: serving the last good configuration, which was kept {age} s ago"
                );
            }
            // What has mistakes is not good, although it serves.
            (Origin::Files, Some(archive), Some(folder)) if quarantined.is_empty() => {
                let to_keep = (archive.clone(), folder.clone());
                self.serving.to_keep.send_replace(Some(to_keep));
            }
            (Origin::Files, ..) => {}
        }
        self.serving.archive = archive;
        self.serving.shown.send_modify(|shown| {
            shown.since = seconds_now();
            shown.is_last_good = origin != Origin::Files;
            shown.quarantined = quarantined.iter().map(ToString::to_string).collect();
        });
    }
}

impl Serving {
    /// Keeps what has proved to serve, one after the other, and of several that wait only the last. That one cannot
    /// be kept is told, and stops nothing.
    pub(super) fn keep_each(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut to_keep = self.to_keep.subscribe();
        async move {
            while to_keep.changed().await.is_ok() {
                let Some((archive, folder)) = to_keep.borrow_and_update().clone() else {
                    continue;
                };
                let kept = tokio::task::spawn_blocking(move || {
                    let kept = config::keep(&archive, &folder);
                    kept.map_err(|error| format!("{}: {error}", folder.display()))
                });
                if let Ok(Err(error)) = kept.await {
                    log::error!("the configuration cannot be kept in {error}");
                }
            }
        }
    }
}

/// Makes the folder that it is to be kept in, and clears away what killed processes have left there. That neither can
/// be done is told, and stops nothing.
pub(super) fn make_folder(folder: &Path) {
    if let Err(error) = config::make_folder(folder) {
        log::error!(
            "gateway.state_dir: cannot make {}: {error}",
            folder.display()
        );
    } else if let Err(error) = config::remove_leftovers(folder) {
        log::error!(
            "gateway.state_dir: cannot clear up {}: {error}",
            folder.display()
        );
    }
}
