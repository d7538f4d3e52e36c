//! Lists that a registry tells anew with each change, published with the names in them resolved.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::listed::Listed;
use super::names::{self, LookUps, Names};
use super::pause::at;
use super::{Failure, Sink};

/// Names that are resolved within so long of each other are one change.
const TOGETHER: Duration = Duration::from_millis(50);

type List = Option<Arc<[Listed]>>;

/// The last list of a registry. It outlives the following of the registry, so that names that cannot be resolved keep the
/// addresses that they had.
#[derive(Debug)]
pub(super) struct Lists {
    last: watch::Sender<List>,
    /// Whether what the registry said last could be used.
    is_of_use: AtomicBool,
    reader: Mutex<Reader>,
}

/// Who publishes, and how far that has come.
#[derive(Debug)]
struct Reader {
    lists: watch::Receiver<List>,
    list: List,
    names: Names,
    /// Whether there is something that was not published.
    has_news: bool,
    has_published: bool,
}

impl Default for Lists {
    fn default() -> Lists {
        let (last, lists) = watch::channel(None);
        Lists {
            last,
            is_of_use: AtomicBool::new(true),
            reader: Mutex::new(Reader {
                lists,
                list: None,
                names: Names::default(),
                has_news: false,
                has_published: false,
            }),
        }
    }
}

impl Lists {
    /// These are the endpoints now. It does not wait.
    pub(super) fn tell(&self, list: Vec<Listed>, sink: &Sink) {
        self.is_of_use.store(true, Ordering::Relaxed);
        sink.alive();
        self.last.send_replace(Some(list.into()));
    }

    /// The registry has been heard of, and the endpoints are what they were. That is no good news where what it said last
    /// could not be used.
    pub(super) fn alive(&self, sink: &Sink) {
        if self.is_of_use.load(Ordering::Relaxed) {
            sink.alive();
        }
    }

    /// It has said something, and that cannot be used.
    pub(super) fn unusable(&self, why: impl std::fmt::Display, sink: &Sink) {
        self.is_of_use.store(false, Ordering::Relaxed);
        sink.failed(&Failure::malformed(why));
    }

    /// Publishes each list that comes, and those with names again as often as these have other addresses. What is known is
    /// published at once, and names that are new as soon as they are known.
    pub(super) async fn publish(&self, sink: &Sink) -> Infallible {
        let mut reader = self.reader.lock().await;
        let reader = &mut *reader;
        let mut look_ups = LookUps::none();
        look_ups.begin(reader.names.new_ones());
        let mut look_at = reader.next_look();
        let mut publish_at = reader.has_news.then(Instant::now);
        loop {
            tokio::select! {
                // The sender is of `self`: there is always one.
                _ = reader.lists.changed() => {
                    reader.take(sink);
                    look_ups.begin(reader.names.new_ones());
                    look_at = reader.next_look().map(|next| look_at.unwrap_or(next));
                    publish_at = Some(Instant::now());
                    if reader.names.failure().is_none() {
                        sink.unresolved(None);
                    }
                }
                Some(found) = look_ups.next() => {
                    reader.names.learn(found);
                    reader.has_news = true;
                    if look_ups.are_over() {
                        publish_at = None;
                        self.put(reader, true, sink);
                        // Behind the set: who waits for either has more of that.
                        sink.unresolved(reader.names.failure());
                    } else {
                        publish_at.get_or_insert_with(|| Instant::now() + TOGETHER);
                    }
                }
                () = at(look_at) => {
                    look_ups.begin(reader.names.all());
                    look_at = reader.next_look();
                }
                () = at(publish_at) => {
                    publish_at = None;
                    self.put(reader, look_ups.are_over(), sink);
                }
            }
        }
    }

    /// Publishes what is known, unless it is too little to be the whole.
    fn put(&self, reader: &mut Reader, are_looked_up: bool, sink: &Sink) {
        let Some(list) = &reader.list else { return };
        let (members, is_whole) = reader.names.members(list);
        // The first set has time for its names. Names of which nothing is known are no word of there being no endpoint.
        let is_first = !reader.has_published && sink.last().is_empty();
        let is_too_little = members.is_empty() || (is_first && !are_looked_up);
        if !is_whole && is_too_little {
            return;
        }
        reader.has_news = false;
        reader.has_published = true;
        if !sink.put(members) {
            self.is_of_use.store(false, Ordering::Relaxed);
        }
    }
}

impl Reader {
    fn take(&mut self, sink: &Sink) {
        self.list = self.lists.borrow_and_update().clone();
        let list = self.list.as_deref().unwrap_or_default();
        self.names.enter(list, &sink.last());
        self.has_news = true;
    }

    /// When names are to be looked up again; `None` where there are none.
    fn next_look(&self) -> Option<Instant> {
        (!self.names.is_empty()).then(|| Instant::now() + names::REFRESH)
    }
}

#[cfg(test)]
mod tests {
    use super::super::listed::of_toml;
    use super::super::sink::Published;
    use super::super::sink::tests::{sink, sink_after};
    use super::*;
    use crate::discovery::{Member, Socket};

    fn list(text: &str) -> Vec<Listed> {
        of_toml("a list", &format!("endpoints = [{text}]")).unwrap()
    }

    #[tokio::test]
    async fn each_list_is_published_once() {
        let lists = Lists::default();
        let (sink, mut sets) = sink();
        let telling = async {
            for count in [1, 2, 0] {
                let all = (1..=count).map(|port| format!("'10.0.0.1:{port}'"));
                lists.tell(list(&all.collect::<Vec<_>>().join(", ")), &sink);
                sets.changed().await.unwrap();
                let set = sets.borrow_and_update().clone();
                assert_eq!(set.map(|set| set.len()), Some(count));
            }
        };
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = telling => {}
        }
    }

    /// Whoever begins anew after a failure has heard nothing yet.
    #[tokio::test(start_paused = true)]
    async fn what_was_published_is_no_word_of_a_registry_that_fails() {
        let lists = Lists::default();
        let (sink, mut sets) = sink();
        lists.tell(list("'10.0.0.1:1'"), &sink);
        tokio::select! {
            _ = lists.publish(&sink) => {}
            told = sets.changed() => told.unwrap(),
        }
        sets.borrow_and_update();
        let waited = tokio::time::sleep(names::REFRESH * 2);
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = waited => {}
        }
        assert!(!sets.has_changed().unwrap());
    }

    /// Names are looked up again while the registry fails, and it fails all the same.
    #[tokio::test(start_paused = true)]
    async fn names_are_looked_up_again_and_that_is_no_word_of_the_registry() {
        let lists = Lists::default();
        let (sink, mut sets) = sink();
        let telling = async {
            lists.tell(list("'localhost:1', '10.0.0.1:1'"), &sink);
            for _ in 0..3 {
                sets.changed().await.unwrap();
                assert!(sets.borrow_and_update().as_ref().unwrap().len() > 1);
                sink.failed(&Failure::refused("no"));
            }
            assert!(!sink.standing().shown().is_up);
        };
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = telling => {}
        }
    }

    /// `a.invalid` is never resolved; how long that takes is for the resolver.
    #[tokio::test]
    async fn a_name_that_is_not_known_holds_up_no_change() {
        let lists = Lists::default();
        let (sink, mut sets) = sink();
        let next = async |sets: &mut watch::Receiver<Published>| {
            sets.changed().await.unwrap();
            sets.borrow_and_update().as_ref().unwrap().len()
        };
        let telling = async {
            lists.tell(list("'10.0.0.1:1'"), &sink);
            assert_eq!(next(&mut sets).await, 1);
            let began = std::time::Instant::now();
            lists.tell(list("'10.0.0.1:1', '10.0.0.2:1', 'a.invalid:1'"), &sink);
            assert_eq!(next(&mut sets).await, 2);
            println!("published after {:?}", began.elapsed());
            // Nothing is known of it, so this is not a set without endpoints.
            lists.tell(list("'a.invalid:1'"), &sink);
            tokio::time::sleep(TOGETHER * 3).await;
            assert!(!sets.has_changed().unwrap());
            lists.tell(list(""), &sink);
            assert_eq!(next(&mut sets).await, 0);
        };
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = telling => {}
        }
    }

    #[tokio::test]
    async fn a_name_that_fails_at_a_start_has_the_addresses_that_were_kept() {
        let at = Socket::Inet("10.0.0.9:1".parse().unwrap());
        let before = Member::new(at, "a.invalid".into(), 1);
        let (sink, mut sets) = sink_after(vec![before.clone()]);
        let lists = Lists::default();
        lists.tell(list("'10.0.0.1:1', 'a.invalid:1'"), &sink);
        let mut failures = sink.standing().failures();
        let published = async {
            sets.changed().await.unwrap();
            failures.wait_for(|&failures| failures > 0).await.unwrap();
        };
        tokio::select! {
            _ = lists.publish(&sink) => {}
            () = published => {}
        }
        let set = sets.borrow().clone().unwrap();
        assert_eq!(
            set[..],
            [Member::at("10.0.0.1:1".parse().unwrap(), 1), before]
        );
        let shown = sink.standing().shown();
        assert!(
            shown.is_up
                && shown
                    .trouble
                    .is_some_and(|it| it.what.contains("a.invalid"))
        );
    }

    #[test]
    fn what_cannot_be_used_stays_so_until_something_else_is_said() {
        let lists = Lists::default();
        let (sink, _sets) = sink();
        let is_up = || sink.standing().shown().is_up;
        lists.tell(list(""), &sink);
        lists.unusable("nothing of use", &sink);
        lists.alive(&sink);
        assert!(!is_up());
        lists.tell(list(""), &sink);
        assert!(is_up());
    }
}
