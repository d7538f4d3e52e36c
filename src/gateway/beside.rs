//! Work on a configuration, beside the requests.

use tokio::sync::oneshot;

/// How far the work stands back behind the threads that serve, on the scale of `nice(1)`.
const NICE: i32 = 10;

/// Does it on a thread of its own, which runs when those that serve leave it time to. `None` where that cannot be.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        stand_back();
        // Nobody waits any more where the gateway has ended.
        let _ = done.send(work());
    };
    let started = std::thread::Builder::new()
        .name("config".into())
        .spawn(work);
    if let Err(error) = started {
        log::error!("cannot start a thread: {error}");
    }
    // Where there is no thread, or it has panicked, the sender is gone.
    result.await.ok()
}

fn stand_back() {
    let this_thread = rustix::thread::gettid();
    // It is a courtesy and no condition.
    let _ = rustix::process::setpriority_process(Some(this_thread), NICE);
}
