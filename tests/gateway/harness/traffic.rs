//! Requests that go on while something else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::client::Client;
use super::message::get;
use super::wait::within;

/// One request after the other, until it is ended.
pub struct Traffic {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Vec<String>>,
}

impl Traffic {
    /// Sends `GET /` to a client's gateway.
    pub fn through(client: Client) -> Traffic {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let task = tokio::spawn(async move {
            let mut answers = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let answer = within("an answer", client.try_send(get("/"))).await;
                answers.push(match answer {
                    Ok(answer) if answer.status == 200 => answer.text(),
                    Ok(answer) => format!("status {}", answer.status),
                    Err(error) => error,
                });
                tokio::task::yield_now().await;
            }
            answers
        });
        Traffic { is_over, task }
    }

    /// Ends it, and panics where anything but these texts was answered with 200. Gives how many requests there were.
    pub async fn end(self, expected: &[&str]) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let answers = within("the traffic ends", self.task)
            .await
            .expect("no panic");
        let is_good = |answer: &&String| expected.contains(&answer.as_str());
        let bad: Vec<&String> = answers.iter().filter(|answer| !is_good(answer)).collect();
        assert!(
            bad.is_empty(),
            "{} of {}: {bad:?}",
            bad.len(),
            answers.len()
        );
        assert!(
            answers.len() > 10,
            "{} requests show nothing",
            answers.len()
        );
        answers.len()
    }
}
