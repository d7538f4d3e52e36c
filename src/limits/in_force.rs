//! Limits as operators see them: by their names, with keys that are written.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};

use super::{Full, Key, KeyName, KeyParts, Limiter, Override};

/// A part of a key; `None` is one that is not there.
pub type KeyPart = Option<Box<[u8]>>;

/// Reads the keys of a limit as operators write them.
pub trait KeyReader: Send + Sync {
    /// What tells keys apart: `consumer, header:x-tenant`.
    fn by(&self) -> &str;

    /// The parts of the key, in the order in which they are counted by. The error is a sentence of what is wrong.
    fn read(&self, words: &mut KeyWords) -> Result<Vec<KeyPart>, String>;
}

/// A key as it is written: `consumer=acme`, `header:x-tenant=shop`. `without=header:x-tenant` is a part that requests lack.
#[derive(Clone, Debug, Default)]
pub struct KeyWords {
    words: Vec<(String, String)>,
    used: BTreeSet<usize>,
}

/// The name of the word that says what requests lack.
const WITHOUT: &str = "without";

impl KeyWords {
    pub fn new(words: Vec<(String, String)>) -> KeyWords {
        KeyWords {
            words,
            used: BTreeSet::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The value of a word, if it is there.
    pub fn find(&mut self, name: &str) -> Option<&str> {
        let place = self.words.iter().position(|(it, _)| it == name)?;
        self.used.insert(place);
        self.words.get(place).map(|(_, value)| value.as_str())
    }

    /// The value of a word that has to be there.
    pub fn need(&mut self, name: &str) -> Result<&str, String> {
        self.find(name)
            .ok_or_else(|| format!("{name}=… is missing"))
    }

    /// Whether requests are meant that lack this part.
    pub fn is_without(&mut self, part: &str) -> bool {
        let mut words = self.words.iter();
        let place = words.position(|(name, value)| name == WITHOUT && value == part);
        place.is_some_and(|place| {
            self.used.insert(place);
            true
        })
    }

    /// Whether each was of use, which one that is there twice is not.
    fn check(&self) -> Result<(), String> {
        let mut words = self.words.iter().enumerate();
        match words.find(|(place, _)| !self.used.contains(place)) {
            None => Ok(()),
            Some((_, (name, value))) if name == WITHOUT => {
                Err(format!("{name}={value:?} is no part of a key here"))
            }
            Some((_, (name, _))) if self.words.iter().filter(|(it, _)| it == name).count() > 1 => {
                Err(format!("{name:?} is there twice"))
            }
            Some((_, (name, _))) => Err(format!("{name:?} is no part of a key here")),
        }
    }
}

impl fmt::Display for KeyWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.words.iter().enumerate() {
            let between = if index > 0 { " " } else { "" };
            write!(f, "{between}{name}={value}")?;
        }
        Ok(())
    }
}

/// A limit that is in force.
#[derive(Clone)]
pub struct InForce {
    pub limiter: Arc<Limiter>,
    pub is_shadow: bool,
    keys: Arc<dyn KeyReader>,
}

/// Whom a limit counts, as an operator has written it.
#[derive(Clone, Debug)]
pub struct AskedKey {
    pub key: Key,
    /// What it is called where several gateways count.
    pub name: KeyName,
    /// As it is written.
    pub text: Box<str>,
}

impl InForce {
    /// What tells keys apart: `consumer, header:x-tenant`.
    pub fn by(&self) -> &str {
        self.keys.by()
    }

    /// The key that is meant. The error is what is wrong with it.
    pub fn key(&self, mut words: KeyWords) -> Result<AskedKey, String> {
        let parts = self.keys.read(&mut words)?;
        words.check()?;
        let (mut key, mut name) = (Key::hasher(), KeyName::hasher());
        add(&parts, &mut key);
        add(&parts, &mut name);
        Ok(AskedKey {
            key: key.finish(),
            name: name.finish(),
            text: words.to_string().into(),
        })
    }
}

fn add(parts: &[KeyPart], key: &mut impl KeyParts) {
    for part in parts {
        match part {
            Some(bytes) => key.part(bytes),
            None => key.absent(),
        }
    }
}

impl Limiter {
    /// Those in force, by their keys.
    pub fn overrides(&self) -> Vec<Override> {
        self.granted().list()
    }

    pub fn override_of(&self, key: Key) -> Option<Override> {
        self.granted().of(key)
    }

    /// Has something else hold for a key for a while, in this process: also in limiters of the same name that other
    /// configurations have.
    pub fn grant(&self, key: Key, granted: Override) -> Result<(), Full> {
        self.granted().grant(key, granted)
    }

    /// Gives whether something else held for the key.
    pub fn end_override(&self, key: Key) -> bool {
        self.granted().end(key)
    }
}

/// A limiter that may be gone, and how its keys are written.
pub(super) struct Listed {
    limiter: Weak<Limiter>,
    is_shadow: bool,
    keys: Arc<dyn KeyReader>,
}

/// All limiters of one name, the newest last: a configuration that is compiled may come to serve, and may not.
#[derive(Default)]
pub(super) struct Namesakes(Vec<Listed>);

impl Namesakes {
    /// Several policies may apply one limiter; it only watches where none of them refuses.
    pub(super) fn add(
        &mut self,
        limiter: &Arc<Limiter>,
        keys: Arc<dyn KeyReader>,
        is_shadow: bool,
    ) {
        let newest = self.0.last_mut();
        let same = newest.filter(|it| std::ptr::eq(it.limiter.as_ptr(), Arc::as_ptr(limiter)));
        if let Some(same) = same {
            same.is_shadow &= is_shadow;
            return;
        }
        self.0.retain(|it| it.limiter.strong_count() > 0);
        self.0.push(Listed {
            limiter: Arc::downgrade(limiter),
            is_shadow,
            keys,
        });
    }

    pub(super) fn are_gone(&self) -> bool {
        self.0.iter().all(|it| it.limiter.strong_count() == 0)
    }

    pub(super) fn newest(&self) -> Option<InForce> {
        let mut newest_first = self.0.iter().rev();
        newest_first.find_map(|it| {
            Some(InForce {
                limiter: it.limiter.upgrade()?,
                is_shadow: it.is_shadow,
                keys: it.keys.clone(),
            })
        })
    }
}
