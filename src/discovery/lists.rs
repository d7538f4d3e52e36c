//! Lists that a registry tells anew with each change, published with the names in them resolved.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

use super::Sink;
use super::listed::Listed;
use super::names::{self, Names};

/// The last list of a registry. It outlives the following of the registry, so that names that cannot be resolved keep the
/// addresses that they had.
#[derive(Debug)]
pub(super) struct Lists {
    last: watch::Sender<Option<Arc<[Listed]>>>,
    names: Mutex<Names>,
}

impl Default for Lists {
    fn default() -> Lists {
        Lists {
            last: watch::Sender::new(None),
            names: Mutex::default(),
        }
    }
}

impl Lists {
    /// These are the endpoints now. It does not wait.
    pub(super) fn tell(&self, list: Vec<Listed>) {
        self.last.send_replace(Some(list.into()));
    }

    /// Publishes each list, and those with names again as often as they are to be resolved.
    pub(super) async fn publish(&self, sink: &Sink) -> std::convert::Infallible {
        let mut lists = self.last.subscribe();
        let mut names = self.names.lock().await;
        loop {
            let list = lists.borrow_and_update().clone();
            let mut resolve_at = None;
            if let Some(list) = list {
                let (members, failure) = names.resolve(&list).await;
                sink.publish(members);
                failure.iter().for_each(|failure| sink.failed(failure));
                let has_names = list.iter().any(|it| names::name(it).is_some());
                resolve_at = has_names.then(|| Instant::now() + names::REFRESH);
            }
            tokio::select! {
                // The sender is of `self`: there is always one.
                _ = lists.changed() => {}
                () = at(resolve_at) => {}
            }
        }
    }
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

    #[tokio::test]
    async fn each_list_is_published() {
        let lists = Lists::default();
        let (sink, mut sets) = sink();
        let telling = async {
            for count in [1, 2, 0] {
                let list = (1..=count).map(|port| format!("'10.0.0.1:{port}'"));
                let list = list.collect::<Vec<_>>().join(", ");
                lists.tell(of_toml("a list", &format!("endpoints = [{list}]")).unwrap());
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
}
