//! The thread that logs marks: all that wait at a time become durable together.

use std::io;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::Inner;
use super::marks::{MarkLog, Position};

/// Logged in one piece; more wait for the next.
const MOST_AT_A_TIME: usize = 4096;

/// What there is to do with the log, and who waits for it.
#[derive(Debug)]
pub(super) enum MarkWork {
    Log(Vec<u8>, Answer),
    Rewrite(Position, Vec<Vec<u8>>, Answer),
}

pub(super) type Answer = oneshot::Sender<io::Result<()>>;

/// Until there is no more to come.
pub(super) fn run(inner: &Arc<Inner>, mut log: MarkLog) {
    let mut next = None;
    while let Some(work) = next.take().or_else(|| inner.marks.pop()) {
        match work {
            MarkWork::Log(first, answer) => {
                let (mut records, mut answers) = (vec![first], vec![answer]);
                while records.len() < MOST_AT_A_TIME {
                    match inner.marks.pop_ready() {
                        Some(MarkWork::Log(record, answer)) => {
                            records.push(record);
                            answers.push(answer);
                        }
                        other => {
                            next = other;
                            break;
                        }
                    }
                }
                let done = log.append(&records);
                settle(inner, &log, done, answers);
            }
            MarkWork::Rewrite(since, records, answer) => {
                let done = log.rewrite(since, &records);
                settle(inner, &log, done, vec![answer]);
            }
        }
    }
}

fn settle(inner: &Inner, log: &MarkLog, done: io::Result<()>, answers: Vec<Answer>) {
    *inner
        .position
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = log.position();
    if let Err(error) = &done {
        inner.counters.cannot_write(error);
    }
    for answer in answers {
        let done = match &done {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Who has asked may have gone.
        let _ = answer.send(done);
    }
}
