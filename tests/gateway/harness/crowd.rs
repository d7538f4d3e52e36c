//! Clients that ask all the time, while something else happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::Client;
use super::message::get;
use super::pair::Protocol;
use super::wait::{PATIENCE, eventually, within};

/// Half of them keep their connection, the others have a new one for each request.
const CLIENTS: usize = 4;

/// Clients that ask `/` without a pause worth mentioning.
pub struct Crowd {
    is_over: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
}

impl Crowd {
    pub fn on(address: SocketAddr) -> Crowd {
        let mut crowd = Crowd {
            is_over: Arc::default(),
            asked: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..CLIENTS {
            let (is_over, asked) = (crowd.is_over.clone(), crowd.asked.clone());
            crowd.clients.spawn(async move {
                let connect = || Client::of(address, Protocol::Http1);
                let (mut client, mut failures) = (connect(), Vec::new());
                while !is_over.load(Ordering::Relaxed) {
                    if number % 2 == 0 {
                        client = connect();
                    }
                    match tokio::time::timeout(PATIENCE, client.try_send(get("/"))).await {
                        Ok(Ok(answer)) if answer.status == 200 => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    // A steady load and not the heaviest.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                failures
            });
        }
        crowd
    }

    /// Waits until so many more requests have been answered.
    pub async fn more(&self, count: usize) {
        let begin = self.asked.load(Ordering::Relaxed);
        eventually("the traffic goes on", async || {
            let asked = self.asked.load(Ordering::Relaxed);
            (asked >= begin + count).then_some(())
        })
        .await;
    }

    /// Ends it. None must have failed.
    #[track_caller]
    pub fn end(mut self) -> impl Future<Output = usize> {
        let place = std::panic::Location::caller();
        async move {
            self.is_over.store(true, Ordering::Relaxed);
            let mut all = Vec::new();
            while let Some(failures) = within("the clients end", self.clients.join_next()).await {
                all.extend(failures.expect("a client"));
            }
            let asked = self.asked.load(Ordering::Relaxed);
            let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
            for failure in &all {
                *kinds
                    .entry(failure.chars().take(300).collect())
                    .or_default() += 1;
            }
            assert!(
                all.is_empty(),
                "{place}: {} of {asked} failed: {kinds:#?}",
                all.len()
            );
            asked
        }
    }
}
