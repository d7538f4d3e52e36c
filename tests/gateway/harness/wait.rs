//! Waiting with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything that should happen may take before a test gives up on it: twice what it takes to notice the slowest
/// of servers that have gone silent.
pub const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// Awaits the future, or panics.
#[track_caller]
pub fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: not within {PATIENCE:?}: {what}"),
        }
    }
}

/// Looks again and again until there is something to see, or panics.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// That a timeout of 300 ms fired, and not something else some time.
#[track_caller]
pub fn assert_fired(begin: Instant) {
    let took = begin.elapsed().as_millis();
    assert!((290..900).contains(&took), "after {took} ms");
}
