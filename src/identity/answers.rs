//! Answers of servers that are asked about callers, remembered for as long as they may be.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use aws_lc_rs::digest::{Context, SHA256};

/// Enough that threads seldom meet at one of them.
const SHARDS: usize = 16;

/// For so long nobody asks the same question again of a server that has just not answered it. Whoever waited for the
/// answer shares the failure, and does not wait anew, one after the other.
const PAUSE: Duration = Duration::from_secs(1);

/// What was asked, as a hash: a memory that is read by somebody else holds no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question([u8; 32]);

impl Question {
    /// Parts are told apart: "ab" and "c" is another question than "a" and "bc".
    pub fn new<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Question {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let hash = context.finish();
        let mut question = [0; 32];
        for (to, from) in question.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Question(question)
    }
}

/// An answer and how long it holds.
#[derive(Clone, Debug)]
pub struct Answer<A> {
    pub value: A,
    /// Until then nobody asks again.
    pub fresh: Instant,
    /// Until then it may still stand in for one that cannot be had.
    pub usable: Instant,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered;

/// Answers by their questions. There are at most as many as were agreed on: each shard has two generations, and when
/// the young one is full the old one is forgotten, but for what was asked for since.
#[derive(Debug)]
pub struct Answers<A> {
    /// Of a generation of one shard.
    room: usize,
    shards: Box<[Mutex<Shard<A>>]>,
}

#[derive(Debug)]
struct Shard<A> {
    young: HashMap<Question, Arc<Slot<A>>, RandomState>,
    old: HashMap<Question, Arc<Slot<A>>, RandomState>,
}

impl<A> Answers<A> {
    pub fn new(capacity: usize) -> Answers<A> {
        let shard = || {
            Mutex::new(Shard {
                young: HashMap::default(),
                old: HashMap::default(),
            })
        };
        Answers {
            room: capacity.div_ceil(2 * SHARDS).max(1),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }

    /// Where the answer to a question is, or will be.
    pub fn slot(&self, question: Question) -> Arc<Slot<A>> {
        let index = usize::from(question.0[0]) % SHARDS;
        let Some(shard) = self.shards.get(index) else {
            return Arc::default();
        };
        let mut shard = lock(shard);
        if let Some(slot) = shard.young.get(&question) {
            return slot.clone();
        }
        let slot = shard.old.remove(&question).unwrap_or_default();
        if shard.young.len() >= self.room {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(question, slot.clone());
        slot
    }
}

/// The answer to one question.
#[derive(Debug)]
pub struct Slot<A> {
    known: Mutex<Known<A>>,
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known<A> {
    answer: Option<Answer<A>>,
    pauses: Option<Instant>,
}

impl<A> Default for Slot<A> {
    fn default() -> Slot<A> {
        Slot {
            known: Mutex::new(Known {
                answer: None,
                pauses: None,
            }),
            asking: tokio::sync::Mutex::default(),
        }
    }
}

impl<A: Clone> Slot<A> {
    /// The answer, where nobody has to ask for it.
    pub fn fresh(&self, now: Instant) -> Option<A> {
        let known = lock(&self.known);
        let answer = known.answer.as_ref().filter(|answer| now < answer.fresh)?;
        Some(answer.value.clone())
    }

    /// The last answer, where it may stand in for one that cannot be had.
    pub fn usable(&self, now: Instant) -> Option<A> {
        let known = lock(&self.known);
        let answer = known.answer.as_ref().filter(|answer| now < answer.usable)?;
        Some(answer.value.clone())
    }

    /// Keeps an answer that was asked for beside the others.
    pub fn put(&self, answer: Answer<A>) {
        lock(&self.known).answer = Some(answer);
    }

    /// The answer, for which one asks and all others wait. `ask` has to end by itself.
    pub async fn ask<F>(&self, ask: impl FnOnce() -> F) -> Result<A, Unanswered>
    where
        F: Future<Output = Result<Answer<A>, Unanswered>>,
    {
        let _turn = self.asking.lock().await;
        let now = Instant::now();
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        if lock(&self.known).pauses.is_some_and(|until| now < until) {
            return Err(Unanswered);
        }
        let answer = ask().await;
        let mut known = lock(&self.known);
        match answer {
            Ok(answer) => {
                known.pauses = None;
                Ok(known.answer.insert(answer).value.clone())
            }
            Err(Unanswered) => {
                known.pauses = Some(Instant::now() + PAUSE);
                Err(Unanswered)
            }
        }
    }
}

/// What is in there is whole after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn question(number: u64) -> Question {
        Question::new([&number.to_be_bytes()[..]])
    }

    fn for_a_minute(value: u32) -> Answer<u32> {
        let fresh = Instant::now() + Duration::from_secs(60);
        Answer {
            value,
            fresh,
            usable: fresh + Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn one_asks_for_all() {
        let (answers, asked) = (Answers::new(100), AtomicUsize::new(0));
        let slot = answers.slot(question(1));
        let ask = || {
            slot.ask(|| async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(for_a_minute(7))
            })
        };
        let all = futures_util::future::join_all((0..100).map(|_| ask())).await;
        assert!(all.iter().all(|answer| *answer == Ok(7)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_the_last_answer_stands_in() {
        let (answers, asked) = (Answers::new(100), AtomicUsize::new(0));
        let slot = answers.slot(question(1));
        let stale = Answer {
            fresh: Instant::now(),
            ..for_a_minute(7)
        };
        let answer = slot.ask(|| async { Ok(stale) }).await;
        assert_eq!(answer, Ok(7));
        let ask = || {
            slot.ask(|| async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(Unanswered)
            })
        };
        let all = futures_util::future::join_all((0..100).map(|_| ask())).await;
        assert!(all.iter().all(|answer| *answer == Err(Unanswered)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let now = Instant::now();
        assert_eq!((slot.fresh(now), slot.usable(now)), (None, Some(7)));
        assert_eq!(slot.usable(now + Duration::from_secs(121)), None);
    }

    #[tokio::test]
    async fn what_is_asked_for_stays_and_there_are_not_too_many() {
        let answers = Answers::new(320);
        let kept = answers.slot(question(0));
        kept.ask(|| async { Ok(for_a_minute(1)) })
            .await
            .expect("an answer");
        for number in 1..10_000 {
            answers.slot(question(number));
            assert!(Arc::ptr_eq(&kept, &answers.slot(question(0))));
        }
        let count = |shard: &Mutex<Shard<u32>>| {
            let shard = lock(shard);
            shard.young.len() + shard.old.len()
        };
        let all: usize = answers.shards.iter().map(count).sum();
        assert!(all <= 320, "{all}");
    }

    #[test]
    fn parts_of_a_question_are_told_apart() {
        let of = |parts: &[&str]| Question::new(parts.iter().map(|part| part.as_bytes())).0;
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }
}
