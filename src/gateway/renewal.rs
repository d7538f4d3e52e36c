//! Looking whether certificates have changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::routing::Snapshot;

/// How often files are looked at, and how long a new one waits at most for that.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looks take this part of the time at most, however many files there are and however slow their disk is.
const SHARE: u32 = 100;

/// Has the listeners of the snapshot that serves take up changed certificates, until `stop` becomes true.
pub(super) async fn renew_certificates(
    snapshot: Arc<ArcSwap<Snapshot>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = INTERVAL;
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|&is_stopping| is_stopping) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let snapshot = snapshot.load_full();
        let mut views = snapshot.listeners.iter();
        if !views.any(|view| view.listener.has_certificate_files()) {
            continue;
        }
        let look = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            for view in &snapshot.listeners {
                view.listener.renew_certificates();
            }
            began.elapsed()
        });
        match look.await {
            Ok(took) => pause = INTERVAL.max(took * SHARE),
            Err(error) => log::error!("certificates were not looked at: {error}"),
        }
    }
}
