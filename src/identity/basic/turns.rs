//! Work that is slow on purpose, in turns and off the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// A bound on how much of it runs at a time, and how much waits. Each check takes the memory that its hash says, so this
/// bounds memory, too.
#[derive(Debug)]
pub(super) struct Turns {
    running: Arc<Semaphore>,
    /// Those that run and those that wait.
    places: Arc<Semaphore>,
    patience: Duration,
}

/// There is too much of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl Turns {
    pub(super) fn new(at_a_time: usize, waiting: usize, patience: Duration) -> Turns {
        Turns {
            running: Arc::new(Semaphore::new(at_a_time)),
            places: Arc::new(Semaphore::new(at_a_time + waiting)),
            patience,
        }
    }

    /// Does the work when it is its turn. Work that has begun goes on to its end and holds its turn until then, also
    /// where nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Busy)?;
        let in_turn = async {
            let turn = self.running.clone().acquire_owned().await;
            let turn = turn.map_err(|_| Busy)?;
            let done = tokio::task::spawn_blocking(move || {
                let done = work();
                drop((turn, place));
                done
            });
            done.await.map_err(|_| Busy)
        };
        let done = tokio::time::timeout(self.patience, in_turn).await;
        done.unwrap_or(Err(Busy))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_does_not_fit_is_told_at_once() {
        let turns = Turns::new(1, 1, LONG);
        let (end, ended) = mpsc::channel::<()>();
        let first = turns.run(move || ended.recv().is_ok());
        let second = turns.run(|| true);
        let third = turns.run(|| true);
        let rest = async {
            assert_eq!(third.await, Err(Busy));
            end.send(()).expect("the first waits for it");
        };
        let (first, second, ()) = tokio::join!(first, second, rest);
        assert_eq!((first, second), (Ok(true), Ok(true)));
        assert_eq!(turns.run(|| 7).await, Ok(7), "places are given back");
    }

    #[tokio::test]
    async fn waiting_ends_and_work_keeps_its_turn() {
        let turns = Turns::new(1, 9, Duration::from_millis(20));
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let first = turns.run(move || {
            begin.send(()).expect("somebody listens");
            ended.recv().is_ok()
        });
        assert_eq!(first.await, Err(Busy), "it takes too long");
        begun.recv().expect("it has begun");
        assert_eq!(turns.run(|| ()).await, Err(Busy), "the turn is taken");
        end.send(()).expect("the first waits for it");
        let patient = Turns {
            patience: LONG,
            ..turns
        };
        assert_eq!(patient.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_place_back() {
        let turns = Turns::new(1, 0, LONG);
        assert_eq!(turns.run(|| panic!("on purpose")).await, Err(Busy));
        assert_eq!(turns.run(|| 7).await, Ok(7));
    }
}
