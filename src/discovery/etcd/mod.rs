//! etcd: the values of the keys below a prefix.
//!
//! A prefix is listed at one revision and watched from the next one on, so that nothing between is missed and nothing is told
//! twice. What is known stays, and the watch goes on where it was, whichever server of the cluster answers next; only
//! where etcd no longer knows what happened since (compaction, another cluster, a restored backup) it is listed again.
//!
//! ```toml
//! [upstreams.users]
//! discovery = { etcd = { endpoints = ["http://10.0.0.1:2379", "http://10.0.0.2:2379"], prefix = "/services/users/" } }
//!
//! [routes.users]
//! match = { path = "/users/{*rest}" }
//! upstream = "users"
//! ```
//!
//! # One connection
//! All prefixes of the same `endpoints`, user and TLS are watched over one connection and one stream of it, whichever
//! upstreams they are of (`connection.rs`). It is to one server at a time; when that fails, the next one of the list is
//! asked at once, and once each has been asked in vain there are pauses, from 50 ms up to 5 s, with jitter.
//!
//! # A server that is gone
//! Every five seconds the server is asked for a sign of life over the stream of the watches, and has until the next time to
//! give one: one that is dead, stopped or cut off is left after ten seconds at most. One that has no leader, because it is cut off
//! from the rest of its cluster, says so itself and is left at once.
//!
//! # What it loses
//! A server that has lost what it had, or was put back to an old copy, is listed anew where its revision is lower than what
//! was told, its cluster another, or its term of Raft an earlier one; whatever is noticed by none of these is by the list
//! that is asked for every five minutes. Then what it lists counts, but for there being nothing: that counts where the watch
//! has seen the last key go, and else where `on_empty = "drop"` is written, since keys that were deleted while nobody
//! watched cannot be told from keys that were lost. Keys of which none can be read as an endpoint never count as nothing.
//!
//! # Credentials
//! Password, key and certificates are read anew for each connection. A token that has expired ends the connection, and the
//! next one logs in anew; so does a password that has changed.

mod access;
mod config;
mod connection;
mod error;
mod listing;
mod talk;
mod value;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::sleep;

use self::access::Access;
use self::connection::{Listener, News};
use super::follow::REST;
use super::listed::Listed;
use super::lists::Lists;
use super::{Build, Failure, OnEmpty, Sink, Source};
use crate::text::Spanned;

pub use config::Config;

/// A prefix of etcd.
#[derive(Debug)]
struct Prefix {
    access: Arc<Access>,
    key: Box<str>,
    lists: Arc<Lists>,
    /// Whether it is written that a prefix without keys means what it says, whatever has become of etcd.
    drops: bool,
}

/// `None` after diagnostics. Blocks on the file system; no server is asked.
pub(super) fn build(
    config: &Spanned<Config>,
    on_empty: Option<OnEmpty>,
    context: &mut Build<'_>,
) -> Option<Arc<dyn Source>> {
    let errors = context.subject.error_count();
    config
        .value
        .check(context.base, &mut context.subject.key("etcd"));
    if context.subject.error_count() > errors {
        return None;
    }
    Some(Arc::new(Prefix {
        access: Arc::new(Access::new(&config.value, context.base)),
        key: config.value.prefix.value.as_str().into(),
        lists: Arc::default(),
        drops: on_empty == Some(OnEmpty::Drop),
    }))
}

#[async_trait]
impl Source for Prefix {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn describe(&self) -> String {
        format!("keys {} of etcd at {}", self.key, self.access)
    }

    /// Who registers there says so, and who has ended does not.
    fn on_empty(&self) -> OnEmpty {
        OnEmpty::Drop
    }

    async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure> {
        let told = Arc::new(Told::default());
        let listener = self.listener(told.clone(), sink.clone());
        let _watched = connection::watch(&self.access, self.key.as_bytes(), listener);
        // Of many messages that come quickly one after the other, few lists are made.
        loop {
            told.news.notified().await;
            self.tell(&told.known(), sink);
            sleep(REST).await;
        }
    }

    async fn publish(&self, sink: &Sink) -> Infallible {
        self.lists.publish(sink).await
    }
}

impl Prefix {
    fn listener(&self, told: Arc<Told>, sink: Sink) -> Listener {
        let (lists, drops) = (self.lists.clone(), self.drops);
        Box::new(move |news| {
            match news {
                News::Current => return lists.alive(&sink),
                News::Failed(failure) => return sink.failed(&failure),
                News::Lost => *told.known() = Known::after(!drops),
                News::All(pairs) => {
                    let mut known = told.known();
                    let had_any = || !sink.last().is_empty();
                    let is_lost = pairs.is_empty() && !drops && known.would_lose(had_any);
                    let is_taken_away = known.is_taken_away && pairs.is_empty();
                    *known = Known {
                        is_taken_away,
                        ..Known::after(is_lost)
                    };
                    known.take(pairs.into_iter().map(|(key, value)| (key, Some(value))));
                }
                News::Changed(changes) => told.known().take(changes.into_iter()),
            }
            told.news.notify_one();
        })
    }

    fn tell(&self, known: &Known, sink: &Sink) {
        match known.problem() {
            Some(problem) => self.lists.unusable(problem, sink),
            None => self.lists.tell(known.list(), sink),
        }
    }
}

/// What was told of a prefix.
#[derive(Default)]
struct Told {
    known: Mutex<Known>,
    /// That it is something else.
    news: Notify,
}

impl Told {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Known {
    /// The endpoints of the keys, and `None` of a key that has something else.
    keys: BTreeMap<Vec<u8>, Option<Listed>>,
    /// Whether etcd has lost what it had, and there has been no key since.
    is_lost: bool,
    /// Whether the last key was seen to be taken away, and there has been none since.
    is_taken_away: bool,
}

impl Known {
    fn after(a_loss: bool) -> Known {
        Known {
            is_lost: a_loss,
            ..Known::default()
        }
    }

    /// Whether that there is no key is a loss: there were some, and nobody was seen to take the last one away.
    fn would_lose(&self, had_any: impl FnOnce() -> bool) -> bool {
        !self.is_taken_away && (self.is_lost || !self.keys.is_empty() || had_any())
    }

    fn take(&mut self, changes: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
        for (key, value) in changes {
            self.is_lost = false;
            match value.map(|value| value::parse(&value)) {
                Some(Ok(listed)) => {
                    self.keys.insert(key, Some(listed));
                }
                Some(Err(problem)) => {
                    let shown = String::from_utf8_lossy(&key).escape_debug().to_string();
                    log::warn!(
                        "etcd: what is in {shown} is no endpoint, and is left out: {problem}"
                    );
                    self.keys.insert(key, None);
                }
                None => {
                    self.keys.remove(&key);
                }
            }
            self.is_taken_away = self.keys.is_empty();
        }
    }

    fn list(&self) -> Vec<Listed> {
        self.keys.values().flatten().cloned().collect()
    }

    /// Why that there are no endpoints is nobody's word, where it is so: nobody has taken the keys away, or there are some
    /// and somebody writes in another form.
    fn problem(&self) -> Option<&'static str> {
        let is_of_no_use = self.keys.values().all(Option::is_none);
        match (self.keys.is_empty(), is_of_no_use) {
            (true, _) if self.is_lost => Some("it has lost what it had, and there are no keys"),
            (false, true) => Some("none of the keys has an endpoint in it"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_is_left_out_and_the_others_stay() {
        let mut known = Known::default();
        let mut check = |changes: &[(&str, Option<&str>)], expected: &[&str]| {
            let owned = |text: &str| text.as_bytes().to_vec();
            known.take(
                changes
                    .iter()
                    .map(|(key, value)| (owned(key), value.map(owned))),
            );
            let list: Vec<String> = known
                .list()
                .iter()
                .map(|it| it.address.to_string())
                .collect();
            assert_eq!(list, expected);
        };
        check(
            &[("b", Some("10.0.0.2:1")), ("a", Some("10.0.0.1:1"))],
            &["10.0.0.1:1", "10.0.0.2:1"],
        );
        check(&[("a", Some("nonsense"))], &["10.0.0.2:1"]);
        check(
            &[("a", Some("10.0.0.1:2")), ("b", None), ("c", None)],
            &["10.0.0.1:2"],
        );
        check(&[("a", None), ("a", Some("10.0.0.1:3"))], &["10.0.0.1:3"]);
    }

    #[test]
    fn a_loss_is_over_with_the_first_key() {
        let mut known = Known::after(true);
        assert!(known.problem().is_some());
        let change = |value: Option<&str>| {
            let value = value.map(|it| it.as_bytes().to_vec());
            [(b"a".to_vec(), value)].into_iter()
        };
        known.take(change(Some("10.0.0.1:80")));
        assert!(known.problem().is_none());
        // Who takes it away now says so.
        known.take(change(None));
        assert!(known.problem().is_none() && known.list().is_empty());
    }

    #[test]
    fn an_empty_list_is_a_loss_where_nobody_has_taken_the_keys_away() {
        let mut known = Known::default();
        assert!(!known.would_lose(|| false) && known.would_lose(|| true));
        let key = || b"a".to_vec();
        known.take([(key(), Some(b"10.0.0.1:80".to_vec()))].into_iter());
        assert!(known.would_lose(|| false));
        known.take([(key(), None)].into_iter());
        assert!(!known.would_lose(|| true));
        assert!(Known::after(true).would_lose(|| false));
    }

    #[test]
    fn keys_in_another_form_are_no_word_of_there_being_none() {
        let mut known = Known::default();
        let mut check = |key: &str, value: Option<&str>, expected: bool| {
            let change = (
                key.as_bytes().to_vec(),
                value.map(|it| it.as_bytes().to_vec()),
            );
            known.take([change].into_iter());
            assert_eq!(known.problem().is_some(), expected, "{key} {value:?}");
        };
        check("a", Some("nonsense:"), true);
        check("b", Some("10.0.0.1:80"), false);
        check("b", Some("{}"), true);
        check("b", None, true);
        check("a", None, false);
    }
}
