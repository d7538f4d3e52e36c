//! Who has which passwords, and which of them were proven lately.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use subtle::ConstantTimeEq;

use super::checker::Owner;
use super::hash::PasswordHash;
use super::login::Login;
use crate::identity::Identity;

/// Consumers that have passwords, by name.
pub(super) struct Accounts {
    by_name: HashMap<Box<str>, Arc<Account>, RandomState>,
    /// For choosing one in the place of somebody who is not known.
    all: Box<[Arc<Account>]>,
    seal: Arc<Seal>,
}

/// A consumer that has passwords.
pub(super) struct Account {
    pub(super) name: Box<str>,
    pub(super) identity: Arc<Identity>,
    pub(super) passwords: Box<[Password]>,
}

/// A password of an account.
pub(super) struct Password {
    pub(super) hash: PasswordHash,
    /// A hash has one password that anybody knows, so there is one to remember. This bounds what is remembered by what
    /// is configured, and a hash that is taken out takes along what was remembered of it.
    proof: Arc<ArcSwapOption<Proof>>,
}

/// That a login was good.
struct Proof {
    tag: hmac::Tag,
    until: Instant,
}

/// What makes tags of logins that mean nothing outside of this process. Of a tag alone nobody learns a password.
struct Seal(hmac::Key);

/// A login's tag.
pub(super) struct Sealed(hmac::Tag);

impl Accounts {
    /// What the accounts of `before` remember is remembered on for the hashes that are still there. `Err` where the
    /// operating system has no randomness to give.
    pub(super) fn new(
        owners: impl Iterator<Item = Owner>,
        before: Option<&Accounts>,
    ) -> Result<Accounts, NoSeal> {
        let seal = match before {
            Some(before) => before.seal.clone(),
            None => Arc::new(Seal::new()?),
        };
        let all: Box<[Arc<Account>]> = owners
            .map(|owner| {
                let old = before.and_then(|before| before.by_name.get(&owner.name));
                let passwords = owner.passwords.into_iter().map(|hash| Password {
                    proof: old.and_then(|old| old.proof_of(&hash)).unwrap_or_default(),
                    hash,
                });
                Arc::new(Account {
                    passwords: passwords.collect(),
                    identity: owner.identity,
                    name: owner.name,
                })
            })
            .collect();
        let by_name = all.iter().map(|it| (it.name.clone(), it.clone())).collect();
        Ok(Accounts { by_name, all, seal })
    }

    pub(super) fn seal(&self, login: &Login) -> Sealed {
        Sealed(hmac::sign(&self.seal.0, login.as_bytes()))
    }

    pub(super) fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.by_name.get(name)
    }

    /// An account to check a password against that belongs to nobody, so that it takes the time that names take which
    /// are known. It is the same one each time that a name is asked for. `None` where nobody has a password.
    pub(super) fn stranger(&self, name: &str) -> Option<&Arc<Account>> {
        // The hasher is seeded by chance, so that nobody knows whose hashes a name is checked against.
        let number = self.by_name.hasher().hash_one(name) as usize;
        self.all.get(number.checked_rem(self.all.len())?)
    }
}

/// The operating system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoSeal;

impl Seal {
    fn new() -> Result<Seal, NoSeal> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.map(Seal).map_err(|_| NoSeal)
    }
}

impl Account {
    /// Whether this login was good lately.
    pub(super) fn remembers(&self, login: &Sealed) -> bool {
        self.passwords.iter().any(|password| {
            let proof = password.proof.load();
            let Some(proof) = &*proof else { return false };
            let is_equal = proof.tag.as_ref().ct_eq(login.0.as_ref());
            bool::from(is_equal) && Instant::now() < proof.until
        })
    }

    /// The password that it is. All are tried whatever comes of the first, so that the time tells nothing of them.
    pub(super) fn verify(&self, password: &[u8]) -> Option<usize> {
        let mut found = None;
        for (at, it) in self.passwords.iter().enumerate() {
            if it.hash.verify(password) {
                found = Some(at);
            }
        }
        found
    }

    pub(super) fn remember(&self, login: Sealed, password: usize, time: Duration) {
        if let Some(password) = self.passwords.get(password) {
            let until = Instant::now() + time;
            password.proof.store(Some(Arc::new(Proof {
                tag: login.0,
                until,
            })));
        }
    }

    fn proof_of(&self, hash: &PasswordHash) -> Option<Arc<ArcSwapOption<Proof>>> {
        let mut passwords = self.passwords.iter();
        let same = passwords.find(|password| password.hash == *hash)?;
        Some(same.proof.clone())
    }
}
