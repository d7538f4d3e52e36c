//! Decisions of the store.

use std::borrow::Cow;

use redis::cmd;

use super::script::{Act, Decider, Told};
use super::{KeyName, Shared};
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
        let told = self.ask(name, Act::Take, cost, now).await?;
        self.standing(&told, cost, told.is_charged)
    }

    pub(super) async fn look(
        &self,
        name: &KeyName,
        cost: u64,
        now: Now,
    ) -> Result<Standing, StoreError> {
        let told = self.ask(name, Act::Look, cost, now).await?;
        let words = self.words(&told)?;
        Ok(Limiter::stand(&self.rules, &words, cost, told.now))
    }

    pub(super) async fn charge(
        &self,
        name: &KeyName,
        cost: u64,
        now: Now,
    ) -> Result<Told, StoreError> {
        self.ask(name, Act::Charge, cost, now).await
    }

    /// Counts what was admitted by what this gateway knew.
    pub(super) async fn add(
        &self,
        name: &KeyName,
        cost: u64,
        now: Now,
    ) -> Result<Told, StoreError> {
        self.ask(name, Act::Add, cost, now).await
    }

    pub(super) async fn reset(&self, name: &KeyName) -> Result<(), StoreError> {
        let mut command = cmd("DEL");
        command.arg(self.shared.key(name));
        self.shared.store.command(&command).await
    }

    /// The words of a key in the way that the rules here have them.
    pub(super) fn words(&self, told: &Told) -> Result<Vec<u64>, StoreError> {
        let words = told.words(self.limiter.rules());
        words.ok_or_else(|| StoreError::Down("what the store has of a limit is of no limit".into()))
    }

    async fn ask(&self, name: &KeyName, act: Act, cost: u64, now: Now) -> Result<Told, StoreError> {
        let key = self.shared.key(name);
        let script = self.script.as_ref().unwrap_or(&self.shared.script);
        let call = script.call(&key, act, cost, &self.rules, now.unix);
        self.shared.store.script(&call).await
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
