//! Decisions of the store.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Instant;

use redis::cmd;
use smallvec::smallvec;
use tokio::time::timeout;

use super::script::{Act, Decider, Mark, Told};
use super::{KeyName, Shared};
use crate::limits::limiter::Counted;
use crate::limits::{Key, Limiter, NamedRule, Now, Standing};
use crate::stores::StoreError;

/// What the store has of a key of a limiter.
pub(super) struct Exact<'a> {
    pub(super) limiter: &'a Limiter,
    shared: &'a Shared,
    /// Those that hold for the key.
    rules: Cow<'a, [NamedRule]>,
    /// What the store is told of them where they are not the limiter's. It is made for each decision: there are few such keys.
    script: Option<Decider>,
}

impl<'a> Exact<'a> {
    pub(super) fn of(limiter: &'a Limiter, shared: &'a Shared, key: Key) -> Exact<'a> {
        let rules = limiter.rules_of(key);
        let script = match &rules {
            Cow::Borrowed(_) => None,
            Cow::Owned(rules) => Some(Decider::new(rules)),
        };
        Exact {
            limiter,
            shared,
            rules,
            script,
        }
    }

    pub(super) async fn take(
        &self,
        name: &KeyName,
        cost: u64,
        now: Now,
    ) -> Result<Standing, StoreError> {
        let told = self.ask(name, Act::Take, &self.each(cost), now).await?;
        self.standing(&told, cost, told.is_charged)
    }

    pub(super) async fn look(
        &self,
        name: &KeyName,
        cost: u64,
        now: Now,
    ) -> Result<Standing, StoreError> {
        let told = self.ask(name, Act::Look, &self.each(cost), now).await?;
        let words = self.words(&told)?;
        Ok(Limiter::stand(&self.rules, &words, cost, told.now))
    }

    pub(super) async fn charge(
        &self,
        name: &KeyName,
        cost: u64,
        now: Now,
    ) -> Result<Told, StoreError> {
        self.ask(name, Act::Charge, &self.each(cost), now).await
    }

    /// Counts, of each rule, what was admitted by what this gateway knew, unless the store knows that already. Gives also the
    /// words of the key since.
    pub(super) async fn add(
        &self,
        name: &KeyName,
        (mark, taken): (Mark, &[u64]),
        now: Now,
    ) -> Result<(Told, Vec<u64>), StoreError> {
        let told = self.ask(name, Act::Add(mark), taken, now).await?;
        let words = self.words(&told)?;
        Ok((told, words))
    }

    pub(super) async fn reset(&self, name: &KeyName) -> Result<(), StoreError> {
        let mut command = cmd("DEL");
        command.arg(self.shared.key(name));
        self.shared.store.command(&command).await
    }

    /// The words of a key in the way that the rules here have them.
    fn words(&self, told: &Told) -> Result<Vec<u64>, StoreError> {
        let words = told.words(self.limiter.rules());
        words.ok_or_else(|| StoreError::Down("what the store has of a limit is of no limit".into()))
    }

    fn each(&self, cost: u64) -> Counted {
        smallvec![cost; self.rules.len()]
    }

    /// The store's clock decides in which window of the calendar it counts. A gateway whose clock is another by more than
    /// a window learns of it by this, and asks once more within the same time.
    async fn ask(
        &self,
        name: &KeyName,
        act: Act,
        costs: &[u64],
        now: Now,
    ) -> Result<Told, StoreError> {
        let (store, clock) = (&self.shared.store, self.shared.clock());
        let (key, rules, began) = (self.shared.key(name), (&*self.rules, costs), Instant::now());
        let script = self.script.as_ref().unwrap_or(&self.shared.script);
        let call = script.call(&key, act, rules, clock.at(now).unix);
        let told: Told = store.script(&call).await?;
        if told.is_timely {
            return Ok(told);
        }
        let (limit, ours, theirs) = (self.limiter.name(), clock.at(now).unix, told.now.unix);
        if !self.shared.has_warned.swap(true, Ordering::Relaxed) {
            log::warn!(
                "limit {limit}: it is {theirs} by the store's clock, which counts, and {ours} by the one here"
            );
        }
        clock.set(told.now, now, began.elapsed());
        let call = script.call(&key, act, rules, theirs);
        let left = store.timeout().saturating_sub(began.elapsed());
        let told = timeout(left, store.script::<Told>(&call)).await;
        let told = told.unwrap_or(Err(StoreError::Deadline(store.timeout())))?;
        match told.is_timely {
            true => Ok(told),
            false => Err(StoreError::Down("its clock goes to and fro".into())),
        }
    }

    /// The store has decided; what is said of it is worked out here, from the same words and the same time.
    fn standing(&self, told: &Told, cost: u64, is_charged: bool) -> Result<Standing, StoreError> {
        let words = self.words(told)?;
        Ok(match is_charged {
            true => Limiter::stand(&self.rules, &words, 0, told.now).into_within(),
            false => Limiter::stand(&self.rules, &words, cost, told.now).into_beyond(),
        })
    }
}
