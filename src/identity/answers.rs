//! Answers of servers that are asked about callers, remembered for as long as they may be.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use aws_lc_rs::digest::{Context, SHA256};

/// Enough that threads seldom meet at one of them.
const SHARDS: usize = 16;

/// Which part of the capacity is kept beside it for refusals.
const REFUSALS: usize = 8;

/// Questions of one shard that may be open.
const OPEN: usize = 1024;

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
    /// Whether it lets nobody in. Of these fewer are kept.
    pub is_refusal: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered;

/// Answers by their questions, as many as were agreed on. What is asked about is kept apart from what is known, and
/// refusals apart from the rest: strangers can ask about as much as they like, and none of those that are let in is
/// forgotten for it.
#[derive(Debug)]
pub struct Answers<A> {
    shards: Box<[Mutex<Shard<A>>]>,
}

#[derive(Debug)]
struct Shard<A> {
    good: Generations<A>,
    refusals: Generations<A>,
    /// Questions that somebody asks, or that have just not been answered.
    open: HashMap<Question, Arc<Slot>, RandomState>,
}

/// A bounded number of answers: when the young generation is full the old one is forgotten, but for what was asked
/// for since.
#[derive(Debug)]
struct Generations<A> {
    /// Of one generation.
    room: usize,
    young: HashMap<Question, Answer<A>, RandomState>,
    old: HashMap<Question, Answer<A>, RandomState>,
}

/// A question without an answer.
#[derive(Debug, Default)]
struct Slot {
    /// Held by the one who asks.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Until when nobody asks again, where nobody has answered.
    pauses: Mutex<Option<Instant>>,
}

impl<A: Clone + Send + 'static> Answers<A> {
    /// Of `capacity` answers, and refusals to an eighth of that.
    pub fn new(capacity: usize) -> Answers<A> {
        let shard = || {
            Mutex::new(Shard {
                good: Generations::new(capacity),
                refusals: Generations::new(capacity / REFUSALS),
                open: HashMap::default(),
            })
        };
        Answers {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }

    /// The answer, where nobody has to ask for it.
    pub fn fresh(&self, question: Question, now: Instant) -> Option<A> {
        let answer = self.shard(question)?.known(question)?;
        (now < answer.fresh).then_some(answer.value)
    }

    /// Keeps an answer, and forgets what was known before.
    pub fn put(&self, question: Question, answer: Answer<A>) {
        if let Some(mut shard) = self.shard(question) {
            shard.put(question, answer);
        }
    }

    /// The answer, for which one asks and the others wait. `ask` has to end by itself. Where it fails, the last answer
    /// stands in as long as it is usable; from then on nobody but the one who asks waits for what may fail again. What
    /// is asked once is asked to the end, also where nobody waits any more: others may, and the answer is remembered.
    pub async fn ask<F>(
        self: &Arc<Self>,
        question: Question,
        ask: impl FnOnce() -> F,
    ) -> Result<A, Unanswered>
    where
        F: Future<Output = Result<Answer<A>, Unanswered>> + Send + 'static,
    {
        let stand_in = || self.usable(question, Instant::now()).ok_or(Unanswered);
        let Some(slot) = self.slot(question) else {
            return stand_in();
        };
        let turn = slot.turn.clone().try_lock_owned();
        if turn.is_err()
            && lock(&slot.pauses).is_some()
            && let Ok(value) = stand_in()
        {
            return Ok(value);
        }
        let turn = match turn {
            Ok(turn) => turn,
            Err(_) => slot.turn.clone().lock_owned().await,
        };
        let now = Instant::now();
        if let Some(value) = self.fresh(question, now) {
            return Ok(value);
        }
        if lock(&slot.pauses).is_some_and(|until| now < until) {
            return stand_in();
        }
        let (asking, answers) = (ask(), self.clone());
        let asked = tokio::spawn(async move {
            let _turn = turn;
            answers.settle(question, asking.await, &slot)
        });
        asked.await.unwrap_or(Err(Unanswered))
    }

    fn settle(
        &self,
        question: Question,
        answer: Result<Answer<A>, Unanswered>,
        slot: &Slot,
    ) -> Result<A, Unanswered> {
        let Ok(answer) = answer else {
            *lock(&slot.pauses) = Some(Instant::now() + PAUSE);
            return self.usable(question, Instant::now()).ok_or(Unanswered);
        };
        let value = answer.value.clone();
        if let Some(mut shard) = self.shard(question) {
            shard.put(question, answer);
            shard.open.remove(&question);
        }
        Ok(value)
    }

    /// The last answer, where it may stand in for one that cannot be had.
    fn usable(&self, question: Question, now: Instant) -> Option<A> {
        let answer = self.shard(question)?.known(question)?;
        (now < answer.usable).then_some(answer.value)
    }

    /// Where whoever has this question meets; `None` where too many are open.
    fn slot(&self, question: Question) -> Option<Arc<Slot>> {
        let mut shard = self.shard(question)?;
        if let Some(slot) = shard.open.get(&question) {
            return Some(slot.clone());
        }
        if shard.open.len() >= OPEN {
            let now = Instant::now();
            shard.open.retain(|_, slot| slot.is_needed(now));
        }
        (shard.open.len() < OPEN).then(|| shard.open.entry(question).or_default().clone())
    }

    fn shard(&self, question: Question) -> Option<MutexGuard<'_, Shard<A>>> {
        let index = usize::from(question.0[0]) % SHARDS;
        self.shards.get(index).map(lock)
    }
}

impl<A: Clone> Shard<A> {
    fn known(&mut self, question: Question) -> Option<Answer<A>> {
        let good = self.good.find(question);
        good.or_else(|| self.refusals.find(question))
    }

    fn put(&mut self, question: Question, answer: Answer<A>) {
        let (to, from) = match answer.is_refusal {
            true => (&mut self.refusals, &mut self.good),
            false => (&mut self.good, &mut self.refusals),
        };
        from.forget(question);
        to.put(question, answer);
    }
}

impl<A: Clone> Generations<A> {
    fn new(capacity: usize) -> Generations<A> {
        Generations {
            room: capacity.div_ceil(2 * SHARDS).max(1),
            young: HashMap::default(),
            old: HashMap::default(),
        }
    }

    fn find(&mut self, question: Question) -> Option<Answer<A>> {
        if let Some(answer) = self.young.get(&question) {
            return Some(answer.clone());
        }
        let answer = self.old.remove(&question)?;
        self.put(question, answer.clone());
        Some(answer)
    }

    fn put(&mut self, question: Question, answer: Answer<A>) {
        self.old.remove(&question);
        if self.young.len() >= self.room && !self.young.contains_key(&question) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(question, answer);
    }

    fn forget(&mut self, question: Question) {
        self.young.remove(&question);
        self.old.remove(&question);
    }
}

impl Slot {
    /// Whether somebody has hold of it, or it keeps others from asking. Under the lock of its shard.
    fn is_needed(self: &Arc<Slot>, now: Instant) -> bool {
        Arc::strong_count(self) > 1 || lock(&self.pauses).is_some_and(|until| now < until)
    }
}

/// What is in there is whole after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join, join_all};
    use tokio::sync::Semaphore;

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
            is_refusal: false,
        }
    }

    fn stale(value: u32) -> Answer<u32> {
        Answer {
            fresh: Instant::now(),
            ..for_a_minute(value)
        }
    }

    fn refusal(value: u32) -> Answer<u32> {
        Answer {
            is_refusal: true,
            ..for_a_minute(value)
        }
    }

    #[tokio::test]
    async fn one_asks_for_all() {
        let (answers, asked) = (Arc::new(Answers::new(100)), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let asked = asked.clone();
            answers.ask(question(1), || async move {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(for_a_minute(7))
            })
        };
        let all = join_all((0..100).map(|_| ask())).await;
        assert!(all.iter().all(|answer| *answer == Ok(7)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(answers.slots(), 0);
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_the_last_answer_stands_in() {
        for (known, expected) in [(None, Err(Unanswered)), (Some(stale(7)), Ok(7))] {
            let (answers, asked) = (Arc::new(Answers::new(100)), Arc::new(AtomicUsize::new(0)));
            if let Some(known) = known {
                answers.put(question(1), known);
            }
            let ask = || {
                let asked = asked.clone();
                answers.ask(question(1), || async move {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Err(Unanswered)
                })
            };
            let all = join_all((0..100).map(|_| ask())).await;
            assert!(all.iter().all(|answer| *answer == expected));
            assert_eq!(asked.load(Ordering::Relaxed), 1);
            let now = Instant::now();
            assert_eq!(answers.fresh(question(1), now), None);
            assert_eq!(answers.usable(question(1), now).ok_or(Unanswered), expected);
            let late = now + Duration::from_secs(121);
            assert_eq!(answers.usable(question(1), late), None);
        }
    }

    #[tokio::test]
    async fn after_a_failure_nobody_but_who_asks_waits_where_an_answer_stands_in() {
        let answers = Arc::new(Answers::new(100));
        answers.put(question(1), stale(7));
        let fail = || async { Err(Unanswered) };
        assert_eq!(answers.ask(question(1), fail).await, Ok(7));
        // The pause is over, and the server is as silent as before.
        let slot = answers.slot(question(1)).expect("room");
        *lock(&slot.pauses) = Some(Instant::now());
        let silence = Arc::new(Semaphore::new(0));
        let never = silence.clone();
        let one = answers.ask(question(1), || async move {
            let _answer = never.acquire().await;
            Err(Unanswered)
        });
        let others = async {
            for _ in 0..100 {
                let other = answers.ask(question(1), || async { unreachable!("one asks") });
                assert_eq!(other.await, Ok(7));
            }
            silence.add_permits(1);
        };
        let both = tokio::time::timeout(Duration::from_secs(20), join(one, others)).await;
        assert_eq!(both.expect("nobody waits").0, Ok(7));
    }

    #[tokio::test]
    async fn what_strangers_ask_about_pushes_nobody_out() {
        let answers = Arc::new(Answers::new(3200));
        for number in 0..100 {
            answers.put(question(number), for_a_minute(1));
        }
        for number in 1000..20_000 {
            let answer = match number % 3 {
                0 => Err(Unanswered),
                _ => Ok(refusal(0)),
            };
            let _ = answers
                .ask(question(number), || async move { answer })
                .await;
        }
        let now = Instant::now();
        for number in 0..100 {
            assert_eq!(answers.fresh(question(number), now), Some(1), "{number}");
        }
        assert!(answers.slots() <= SHARDS * OPEN, "{}", answers.slots());
        let refusals = |shard: &Mutex<Shard<u32>>| {
            let shard = lock(shard);
            shard.refusals.young.len() + shard.refusals.old.len()
        };
        let refusals: usize = answers.shards.iter().map(refusals).sum();
        assert!((1..=SHARDS * 2 * 13).contains(&refusals), "{refusals}");
    }

    #[tokio::test]
    async fn too_many_open_questions_are_not_asked() {
        let answers = Arc::new(Answers::<u32>::new(100));
        let of_one_shard = |number: &u64| question(*number).0[0] == 0;
        let mut all = (0..).filter(of_one_shard).map(question);
        let held: Vec<_> = all.by_ref().take(OPEN).map(|it| answers.slot(it)).collect();
        assert!(held.iter().all(Option::is_some));
        let next = all.next().expect("another");
        let answer = answers.ask(next, || async { unreachable!("there is no room") });
        assert_eq!(answer.await, Err(Unanswered));
        drop(held);
        let answer = answers.ask(next, || async { Ok(for_a_minute(7)) });
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test]
    async fn a_question_is_asked_to_the_end_whoever_leaves() {
        let answers = Arc::new(Answers::new(100));
        let (silence, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let ask = || {
            let (silence, begun) = (silence.clone(), begun.clone());
            answers.ask(question(1), || async move {
                begun.add_permits(1);
                let _answer = silence.acquire().await;
                Ok(for_a_minute(7))
            })
        };
        {
            let mut leaves = Box::pin(ask());
            tokio::select! {
                _ = &mut leaves => panic!("there is no answer yet"),
                _ = begun.acquire() => {}
            }
        }
        let rest = async { silence.add_permits(1) };
        let (stays, ()) = join(ask(), rest).await;
        assert_eq!(stays, Ok(7));
        assert_eq!(begun.available_permits(), 1, "it is asked once");
        assert_eq!(answers.fresh(question(1), Instant::now()), Some(7));
    }

    #[test]
    fn the_last_answer_counts_whatever_it_is() {
        let (answers, now) = (Answers::new(100), Instant::now());
        for answer in [for_a_minute(1), refusal(2), for_a_minute(3), refusal(4)] {
            let value = answer.value;
            answers.put(question(1), answer);
            assert_eq!(answers.fresh(question(1), now), Some(value));
        }
    }

    #[test]
    fn what_is_asked_for_stays_and_there_are_not_too_many() {
        let answers = Answers::new(320);
        let now = Instant::now();
        for number in 0..10_000 {
            answers.put(question(number), for_a_minute(1));
            assert_eq!(answers.fresh(question(0), now), Some(1));
        }
        let count = |shard: &Mutex<Shard<u32>>| {
            let shard = lock(shard);
            shard.good.young.len() + shard.good.old.len()
        };
        let all: usize = answers.shards.iter().map(count).sum();
        assert!(all <= 320, "{all}");
    }

    impl<A> Answers<A> {
        fn slots(&self) -> usize {
            self.shards.iter().map(|shard| lock(shard).open.len()).sum()
        }
    }

    #[test]
    fn parts_of_a_question_are_told_apart() {
        let of = |parts: &[&str]| Question::new(parts.iter().map(|part| part.as_bytes())).0;
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }
}
