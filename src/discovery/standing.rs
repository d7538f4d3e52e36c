//! How things stand with one registry, for metrics, logs and operators.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use super::Failure;
use crate::observability::DiscoveryMetrics;

/// What is known of how it goes.
#[derive(Debug)]
pub(super) struct Standing {
    upstream: Box<str>,
    source: String,
    metrics: DiscoveryMetrics,
    now: Mutex<Now>,
    failures: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
struct Now {
    heard: Option<SystemTime>,
    changed: Option<SystemTime>,
    trouble: Option<Trouble>,
    is_failing: bool,
    /// Why a name among the endpoints cannot be resolved.
    unresolved: Option<String>,
    is_from_disk: bool,
    /// Whether it says that there is nothing, which is not believed: what is in force gets no younger by that.
    is_denied: bool,
    /// How often it was heard of, for telling whether it was since.
    words: u64,
}

/// The last thing that went wrong, which may be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub at: SystemTime,
    pub what: String,
}

/// How things stand, for operators.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What is followed.
    pub source: String,
    /// Whether the last that happened was a word of the registry, and no failure. False before the first word.
    pub is_up: bool,
    /// When it was last heard of, by an earlier process where that is from disk; while it says that there is nothing, and
    /// that is not believed, when it last said something else. The endpoints are as old as that.
    pub heard: Option<SystemTime>,
    /// When other endpoints were last taken over.
    pub changed: Option<SystemTime>,
    pub trouble: Option<Trouble>,
    /// Whether what is in force was read from disk, because the registry has not been heard of since the start.
    pub is_from_disk: bool,
}

impl Standing {
    pub(super) fn new(upstream: &str, source: String, metrics: DiscoveryMetrics) -> Standing {
        Standing {
            upstream: upstream.into(),
            source,
            metrics,
            now: Mutex::default(),
            failures: watch::Sender::new(0),
        }
    }

    pub(super) fn shown(&self) -> Shown {
        let now = self.now();
        Shown {
            source: self.source.clone(),
            is_up: now.words > 0 && !now.is_failing,
            heard: now.heard,
            changed: now.changed,
            trouble: now.trouble.clone(),
            is_from_disk: now.is_from_disk,
        }
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn words(&self) -> u64 {
        self.now().words
    }

    /// How often it has failed, for whoever waits for that.
    pub(super) fn failures(&self) -> watch::Receiver<u64> {
        self.failures.subscribe()
    }

    /// The registry has said something that makes sense.
    pub(super) fn heard(&self) {
        let mut now = self.now();
        let at = SystemTime::now();
        let confirms = !now.is_denied;
        if confirms {
            now.heard = Some(at);
        }
        now.words += 1;
        let was_failing = std::mem::take(&mut now.is_failing);
        drop(now);
        self.metrics.answers();
        if confirms {
            self.metrics.heard(at);
        }
        if was_failing {
            log::info!("upstream {}: {} answers again", self.upstream, self.source);
        }
    }

    /// It has not. Said in the log where that is news, or where what is wrong is.
    pub(super) fn failed(&self, failure: &Failure) {
        let what = failure.to_string();
        let mut now = self.now();
        let was_failing = std::mem::replace(&mut now.is_failing, true);
        let is_news = !was_failing || now.trouble.as_ref().is_none_or(|it| it.what != what);
        now.trouble = Some(Trouble {
            at: SystemTime::now(),
            what: what.clone(),
        });
        drop(now);
        self.metrics.failed(failure.kind());
        self.failures.send_modify(|failures| *failures += 1);
        if is_news {
            let (upstream, source) = (&self.upstream, &self.source);
            log::warn!("upstream {upstream}: {source}: {what}; what was known of it stays in use");
        }
    }

    /// Names among the endpoints can be resolved, or cannot, whether or not the registry answers. Said in the log where
    /// that is news.
    pub(super) fn unresolved(&self, failure: Option<&Failure>) {
        let what = failure.map(Failure::to_string);
        let mut now = self.now();
        let is_news = now.unresolved != what;
        now.unresolved.clone_from(&what);
        if let Some(what) = &what {
            now.trouble = Some(Trouble {
                at: SystemTime::now(),
                what: what.clone(),
            });
        }
        drop(now);
        if let Some(failure) = failure {
            self.metrics.count(failure.kind());
            self.failures.send_modify(|failures| *failures += 1);
        }
        let (upstream, source) = (&self.upstream, &self.source);
        match what.filter(|_| is_news) {
            Some(what) => log::warn!(
                "upstream {upstream}: {source}: {what}; the addresses that were known stay in use"
            ),
            None if is_news => {
                log::info!("upstream {upstream}: {source}: all names are resolved again");
            }
            None => {}
        }
    }

    /// A set without members was left aside.
    pub(super) fn left_empty_aside(&self) {
        self.now().is_denied = true;
        self.metrics.left_empty_aside();
        let (upstream, source) = (&self.upstream, &self.source);
        log::warn!(
            "upstream {upstream}: {source} says that there are no endpoints; the last ones stay in use (on_empty = \"keep\")"
        );
    }

    /// Other endpoints are in force.
    pub(super) fn changed(&self, count: usize, what: &str) {
        let mut now = self.now();
        now.changed = Some(SystemTime::now());
        now.is_from_disk = false;
        let heard = now.believe();
        drop(now);
        heard.iter().for_each(|at| self.metrics.heard(*at));
        self.metrics.changed(count);
        self.metrics.is_from_disk(false);
        log::info!(
            "upstream {}: endpoints of {}: {what}",
            self.upstream,
            self.source
        );
    }

    /// The registry has confirmed what was in force.
    pub(super) fn confirmed(&self) {
        let mut now = self.now();
        now.is_from_disk = false;
        let heard = now.believe();
        drop(now);
        heard.iter().for_each(|at| self.metrics.heard(*at));
        self.metrics.is_from_disk(false);
    }

    /// What is in force was read from disk; an earlier process has heard of the registry at this time.
    pub(super) fn begun_from_disk(&self, count: usize, heard: SystemTime) {
        let mut now = self.now();
        now.is_from_disk = true;
        // This process may have heard something, which was not believed.
        now.heard = Some(heard);
        now.changed = Some(SystemTime::now());
        drop(now);
        self.metrics.heard(heard);
        self.metrics.changed(count);
        self.metrics.is_from_disk(true);
        let age = heard.elapsed().unwrap_or_default().as_secs();
        let (upstream, source) = (&self.upstream, &self.source);
        log::warn!(
            "upstream {upstream}: {source} has not answered; begun with {count} endpoints that it has told {age} s ago"
        );
    }

    /// When it was last heard of, by whichever process.
    pub(super) fn heard_at(&self) -> Option<SystemTime> {
        self.now().heard
    }

    /// Goes on with what another one knows, which follows the same.
    pub(super) fn take_after(&self, before: &Standing) {
        let known = before.now().clone();
        *self.now() = known;
    }

    pub(super) fn is_from_disk(&self) -> bool {
        self.now().is_from_disk
    }

    /// Nothing is followed any more, or something else.
    pub(super) fn forget(&self) {
        self.metrics.forget();
    }

    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    /// What the registry says is in force, and it was heard of at this time, where that did not count before.
    fn believe(&mut self) -> Option<SystemTime> {
        if !std::mem::take(&mut self.is_denied) {
            return None;
        }
        self.heard = Some(SystemTime::now());
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observability::Metrics;

    #[test]
    fn names_that_cannot_be_resolved_are_no_failure_of_the_registry() {
        let metrics = Metrics::new();
        let standing = Standing::new("u", "a test".to_owned(), metrics.discovery("u", "test"));
        standing.heard();
        standing.unresolved(Some(&Failure::unresolved("a.test: no")));
        standing.heard();
        let shown = standing.shown();
        let what = "a name cannot be resolved: a.test: no";
        assert!(shown.is_up && shown.trouble.is_some_and(|it| it.what == what));
        standing.unresolved(None);
        assert_eq!(*standing.failures().borrow(), 1);
        let text = String::from_utf8(metrics.expose()).unwrap();
        for line in [
            "northgate_discovery_up{northgate_upstream=\"u\",source=\"test\"} 1",
            "northgate_discovery_failures_total{error=\"unresolved\",northgate_upstream=\"u\",source=\"test\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_denied_gets_no_younger() {
        let metrics = Metrics::new();
        let standing = Standing::new("u", "a test".to_owned(), metrics.discovery("u", "test"));
        let before = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        standing.heard();
        standing.begun_from_disk(5, before);
        standing.left_empty_aside();
        standing.heard();
        assert_eq!(standing.heard_at(), Some(before));
        assert!(standing.shown().is_up);
        let line = "northgate_discovery_heard_timestamp_seconds{northgate_upstream=\"u\",source=\"test\"} 1000\n";
        let text = String::from_utf8(metrics.expose()).unwrap();
        assert!(text.contains(line), "{text}");
        standing.confirmed();
        assert!(standing.heard_at() > Some(before));
        let text = String::from_utf8(metrics.expose()).unwrap();
        assert!(!text.contains(line), "{text}");
    }

    #[test]
    fn it_is_up_after_a_word_and_until_a_failure() {
        let metrics = Metrics::new();
        let standing = Standing::new("u", "a test".to_owned(), metrics.discovery("u", "test"));
        assert!(!standing.shown().is_up);
        standing.heard();
        assert!(standing.shown().is_up && standing.shown().trouble.is_none());
        standing.failed(&Failure::refused("no"));
        assert!(!standing.shown().is_up);
        standing.heard();
        let shown = standing.shown();
        assert!(shown.is_up && shown.trouble.is_some_and(|it| it.what == "it refuses: no"));
        let text = String::from_utf8(metrics.expose()).unwrap();
        for line in [
            "northgate_discovery_up{northgate_upstream=\"u\",source=\"test\"} 1",
            "northgate_discovery_failures_total{error=\"refused\",northgate_upstream=\"u\",source=\"test\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
