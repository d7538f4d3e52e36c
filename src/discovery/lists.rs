//! Lists that a registry tells anew with each change, published with the names in them resolved.

use std::convert::Infallible;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

use super::listed::Listed;
use super::names::{self, Names};
use super::{Failure, Sink};

type List = Option<Arc<[Listed]>>;

/// The last list of a registry. It outlives the following of the registry, so that names that cannot be resolved keep the
/// addresses that they had.
#[derive(Debug)]
pub(super) struct Lists {
    last: watch::Sender<List>,
    /// What was read of it, whenever it was told: what is told before anybody publishes is published, and once.
    read: Mutex<(watch::Receiver<List>, Names)>,
    /// Why the registry cannot be asked just now.
    failure: StdMutex<Option<Failure>>,
}

impl Default for Lists {
    fn default() -> Lists {
        let (last, lists) = watch::channel(None);
        Lists {
            last,
            read: Mutex::new((lists, Names::default())),
            failure: StdMutex::default(),
        }
    }
}

impl Lists {
    /// These are the endpoints now. It does not wait.
    pub(super) fn tell(&self, list: Vec<Listed>) {
        *self.failure() = None;
        self.last.send_replace(Some(list.into()));
    }

    /// The endpoints are what they were.
    pub(super) fn alive(&self, sink: &Sink) {
        *self.failure() = None;
        sink.alive();
    }

    /// The registry cannot be asked, and its source goes on by itself.
    pub(super) fn failed(&self, failure: Failure, sink: &Sink) {
        sink.failed(&failure);
        *self.failure() = Some(failure);
    }

    /// Publishes each list that comes, and those with names again as often as they are to be resolved. A list whose names
    /// are known already waits for no resolver.
    pub(super) async fn publish(&self, sink: &Sink) -> Infallible {
        let mut read = self.read.lock().await;
        let (lists, names) = &mut *read;
        let mut resolve_at = next_look(lists.borrow().as_deref());
        loop {
            let is_due = tokio::select! {
                // The sender is of `self`: there is always one.
                _ = lists.changed() => false,
                () = at(resolve_at) => true,
            };
            let Some(list) = lists.borrow_and_update().clone() else {
                continue;
            };
            let known = names.known(&list).filter(|_| !is_due);
            match known {
                Some(members) => {
                    sink.publish(members);
                    resolve_at = next_look(Some(&list)).map(|at| resolve_at.unwrap_or(at));
                }
                None => {
                    let (members, failure) = names.resolve(&list).await;
                    // Names of which nothing is known are no word of there being no endpoint.
                    if !members.is_empty() || failure.is_none() {
                        sink.publish(members);
                    }
                    failure.iter().for_each(|failure| sink.failed(failure));
                    resolve_at = next_look(Some(&list));
                }
            }
            // That names were looked up is no word of the registry.
            if let Some(failure) = &*self.failure() {
                sink.failed(failure);
            }
        }
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the names of a list that is published now are to be looked up again; `None` where it has none.
fn next_look(list: Option<&[Listed]>) -> Option<Instant> {
    let has_names = list?.iter().any(|it| names::name(it).is_some());
    has_names.then(|| Instant::now() + names::REFRESH)
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::listed::of_toml;
    use super::super::sink::tests::sink;
    use super::*;

    fn list(text: &str) -> Vec<Listed> {
        of_toml("a list", &format!("endpoints = [{text}]")).unwrap()
    }

    #[tokio::test]
    async fn each_list_is_published_once() {
        let lists = Lists::default();
        let (sink, mut sets) = sink();
        let telling = async {
            for count in [1, 2, 0] {
                let all = (1..=count).map(|port| format!("'10.0.0.1:{port}'"));
                lists.tell(list(&all.collect::<Vec<_>>().join(", ")));
                sets.changed().await.unwrap();
                let set = sets.borrow_and_update().clone();
                assert_eq!(set.map(|set| set.len()), Some(count));
            }
        };
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = telling => {}
        }
    }

    /// Whoever begins anew after a failure has heard nothing yet.
    #[tokio::test(start_paused = true)]
    async fn what_was_published_is_no_word_of_a_registry_that_fails() {
        let lists = Lists::default();
        lists.tell(list("'10.0.0.1:1'"));
        let (sink, mut sets) = sink();
        tokio::select! {
            _ = lists.publish(&sink) => {}
            told = sets.changed() => told.unwrap(),
        }
        sets.borrow_and_update();
        let waited = tokio::time::sleep(names::REFRESH * 2);
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = waited => {}
        }
        assert!(!sets.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_looked_up_again() {
        let lists = Lists::default();
        let (sink, mut sets) = sink();
        let telling = async {
            lists.tell(list("'localhost:1', '10.0.0.1:1'"));
            for _ in 0..3 {
                sets.changed().await.unwrap();
                assert!(sets.borrow_and_update().as_ref().unwrap().len() > 1);
            }
        };
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = telling => {}
        }
    }
}
