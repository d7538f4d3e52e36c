//! What takes long without a pause, on threads beside those that serve.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// As many run at a time as there are processors: each takes all of one, and memory of which there is not any amount.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, Into::into)));

/// Does it once there is a place. What nobody waits for any more is not begun; what has begun goes on to its end. `None` where it
/// has panicked, which was told.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let place = PLACES.acquire().await.ok()?;
    let mut task = JoinSet::new();
    task.spawn_blocking(move || {
        let _place = place;
        work()
    });
    task.join_next().await?.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn there_are_as_many_places_as_processors_and_who_leaves_frees_one() {
        let places = available_parallelism().map_or(1, usize::from);
        let (begins, begun) = mpsc::channel();
        let (let_go, held) = mpsc::channel::<()>();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        let mut all = JoinSet::new();
        for index in 0..places + 1 {
            let (begins, held) = (begins.clone(), held.clone());
            all.spawn(beside(move || {
                begins.send(index).unwrap();
                let _ = held.lock().unwrap().recv();
            }));
            tokio::task::yield_now().await;
        }
        let wait = Duration::from_secs(10);
        for _ in 0..places {
            begun.recv_timeout(wait).unwrap();
        }
        let none = begun.recv_timeout(Duration::from_millis(100));
        assert!(none.is_err(), "one more than there are places");
        // Nobody waits any more: the last has not begun, and never does.
        all.abort_all();
        while all.join_next().await.is_some() {}
        drop(let_go);
        assert_eq!(beside(|| 7).await, Some(7));
        assert!(begun.try_recv().is_err());
        // What panics leaves its place.
        for _ in 0..places {
            assert_eq!(beside(|| -> u8 { panic!("a test's") }).await, None);
        }
        assert_eq!(beside(|| 7).await, Some(7));
    }
}
