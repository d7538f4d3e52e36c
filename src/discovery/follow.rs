//! Following a registry: what all sources need, done once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::changes::Changes;
use super::kept::Kept;
use super::pause::{Pauses, at};
use super::sink::{Last, Published, Sink};
use super::standing::{Shown, Standing};
use super::{Build, Config, Member, OnEmpty, Source};
use crate::text::Spanned;

/// After a set was taken over, so long for more to come: a burst of changes is few sets. The first of them is taken over
/// at once, and the last one so much later at most.
pub(super) const REST: Duration = Duration::from_millis(20);
/// Whoever has followed for so long, and heard something, begins again soon.
const GOOD: Duration = Duration::from_secs(5);
/// For the first answer of a registry. Who starts waits for so long.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// How often what is kept is brought up to date, where that is its age alone or it could not be written.
const KEEP_AGAIN: Duration = Duration::from_secs(60);
/// As long as the waiting above, and the reading of what is kept.
const BEGINNING: Duration = Duration::from_secs(7);

/// A set that was kept, and when its registry was heard of last.
type KeptSet = (Arc<[Member]>, SystemTime);

/// The registry of one upstream and what it has said last.
#[derive(Debug)]
pub struct Discovery {
    source: Arc<dyn Source>,
    on_empty: OnEmpty,
    kept: Option<Kept>,
    standing: Arc<Standing>,
    /// The set in force.
    set: watch::Sender<Published>,
    /// Whether it is settled what the upstream begins with.
    has_begun: watch::Sender<bool>,
}

impl Discovery {
    /// Compiles it. `None` after diagnostics. It follows nothing until it is [run](Discovery::run).
    pub fn build(config: &Spanned<Config>, mut context: Build<'_>) -> Option<Arc<Discovery>> {
        let source = Config::source(config, &mut context)?;
        let described = source.describe();
        let kept = context.state_dir;
        let kept = kept.map(|folder| Kept::new(folder, context.name, &described));
        let metrics = context.metrics.discovery(context.name, source.kind());
        let on_empty = config.value.on_empty;
        Some(Arc::new(Discovery {
            on_empty: on_empty.unwrap_or_else(|| source.on_empty()),
            standing: Arc::new(Standing::new(context.name, described, metrics)),
            source,
            kept,
            set: watch::Sender::new(None),
            has_begun: watch::Sender::new(false),
        }))
    }

    /// How things stand.
    pub fn shown(&self) -> Shown {
        self.standing.shown()
    }

    /// Ends its series where the one that has come in its place, if any has, has none of the same labels. It runs no more.
    pub fn retire(&self, now: Option<&Discovery>) {
        if now.is_none_or(|now| now.source.kind() != self.source.kind()) {
            self.standing.forget();
        }
    }

    /// Begins with what another one knows that was there before, where that follows the same: then this set is used
    /// until the registry says something else.
    pub fn follow_on(&self, before: &Discovery) -> Option<Vec<Member>> {
        let set = before.set.borrow().clone();
        let set = set.filter(|_| before.standing.source() == self.standing.source())?;
        self.standing.take_after(&before.standing);
        self.set.send_replace(Some(set.clone()));
        self.has_begun.send_replace(true);
        Some(set.to_vec())
    }

    /// Waits until it is settled what the upstream begins with: what the registry says, or what was kept.
    pub async fn begun(&self) {
        let mut has_begun = self.has_begun.subscribe();
        let beginning = has_begun.wait_for(|&has_begun| has_begun);
        // After so long it begins with what there is: nothing.
        let _ = timeout(BEGINNING, beginning).await;
    }

    /// Follows the registry until it is dropped. Each set is given to `take`, which must not block.
    pub async fn run(self: Arc<Self>, take: impl Fn(Vec<Member>) + Send + Sync) {
        let (published, sets) = watch::channel(None);
        let kept = self.kept_set().await;
        let last = Last {
            in_force: self.set.subscribe(),
            kept: kept.as_ref().map(|(kept, _)| kept.clone()),
        };
        let sink = Sink::new(self.standing.clone(), published, last);
        tokio::select! {
            () = self.follow(&sink) => {}
            _ = self.source.publish(&sink) => {}
            () = self.take_over(sets, kept, &take) => {}
            () = self.keep() => {}
        }
    }

    /// Begins the source again whenever it has failed.
    async fn follow(&self, sink: &Sink) {
        let mut pauses = Pauses::default();
        loop {
            let (words, began) = (self.standing.words(), Instant::now());
            let Err(failure) = self.source.follow(sink).await;
            // A registry that answers and fails at once, time and again, is asked less and less often as well.
            if self.standing.words() != words && began.elapsed() >= GOOD {
                pauses.reset();
            }
            self.standing.failed(&failure);
            sleep(pauses.next()).await;
        }
    }

    /// Takes over what the registry says. Until it has said anything it may be that what is kept is used.
    async fn take_over(
        &self,
        mut sets: watch::Receiver<Published>,
        kept: Option<KeptSet>,
        take: &(impl Fn(Vec<Member>) + Sync),
    ) {
        if !*self.has_begun.borrow() {
            self.begin(&mut sets, kept, take).await;
            self.has_begun.send_replace(true);
        }
        while sets.changed().await.is_ok() {
            let said = sets.borrow_and_update().clone();
            if let Some(said) = said {
                self.settle(&said, take);
            }
            sleep(REST).await;
        }
    }

    /// Waits for the first answer, or for the failure that there is none.
    async fn begin(
        &self,
        sets: &mut watch::Receiver<Published>,
        kept: Option<KeptSet>,
        take: &(impl Fn(Vec<Member>) + Sync),
    ) {
        let deadline = Instant::now() + FIRST_ANSWER;
        let mut failures = self.standing.failures();
        let said = tokio::select! {
            biased;
            said = sets.wait_for(Option::is_some) => said.ok().and_then(|said| said.clone()),
            _ = failures.wait_for(|&failures| failures > 0) => None,
            () = sleep_until(deadline) => None,
        };
        let is_believed = |said: &Arc<[Member]>| !said.is_empty() || self.on_empty == OnEmpty::Drop;
        let kept = kept.filter(|_| !said.as_ref().is_some_and(is_believed));
        if let Some((set, heard)) = kept {
            self.standing.begun_from_disk(set.len(), heard);
            self.set.send_replace(Some(set.clone()));
            take(set.to_vec());
        }
        if let Some(said) = said {
            self.settle(&said, take);
        }
    }

    /// What an earlier process has kept, where nothing is in force yet.
    async fn kept_set(&self) -> Option<KeptSet> {
        let kept = self.kept.clone().filter(|_| !*self.has_begun.borrow())?;
        let path = kept.path();
        let read = tokio::task::spawn_blocking(move || kept.read()).await;
        match read.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(read) => read.map(|(members, heard)| (members.into(), heard)),
            Err(error) => {
                let (upstream, path) = (self.standing.upstream(), path.display());
                log::error!("upstream {upstream}: {path} cannot be read: {error}");
                None
            }
        }
    }

    /// Has it in force from now on, where it is another set than before.
    fn settle(&self, said: &Arc<[Member]>, take: &impl Fn(Vec<Member>)) {
        let before = self.set.borrow().clone();
        let known = before.as_deref().unwrap_or_default();
        if said.is_empty() && !known.is_empty() && self.on_empty == OnEmpty::Keep {
            return self.standing.left_empty_aside();
        }
        if before.is_some() && known == &**said {
            return self.standing.confirmed();
        }
        take(said.to_vec());
        self.standing
            .changed(said.len(), &Changes::between(known, said).to_string());
        self.set.send_replace(Some(said.clone()));
    }

    /// Writes each set that is in force, and of several that wait only the last. That one cannot be written is told, and
    /// stops nothing: it is tried again. What is written is as old as the last word of the registry.
    async fn keep(&self) {
        let Some(kept) = &self.kept else {
            return std::future::pending().await;
        };
        let here = kept.clone();
        // The folder may come later; what matters is said when something cannot be written.
        let _ = tokio::task::spawn_blocking(move || here.clear_up()).await;
        let mut sets = self.set.subscribe();
        sets.mark_changed();
        let (mut is_written, mut again_at) = (false, None);
        loop {
            tokio::select! {
                changed = sets.changed() => match changed {
                    Ok(()) => is_written = false,
                    Err(_) => return,
                },
                () = at(again_at) => {}
            }
            again_at = Some(Instant::now() + KEEP_AGAIN);
            let set = sets.borrow_and_update().clone();
            // What was read from there is there, and keeps its age until the registry confirms it.
            let heard = self.standing.heard_at();
            let told = set.zip(heard).filter(|_| !self.standing.is_from_disk());
            let Some((set, heard)) = told else {
                continue;
            };
            let here = kept.clone();
            let outcome = tokio::task::spawn_blocking(move || match is_written {
                true => here.confirm(heard),
                false => here.write(&set, heard),
            });
            let outcome = outcome.await.map_err(std::io::Error::other);
            is_written = self.note_keeping(kept, outcome.and_then(|it| it));
        }
    }

    /// Whether it has been written.
    fn note_keeping(&self, kept: &Kept, outcome: std::io::Result<()>) -> bool {
        if let Err(error) = &outcome {
            let (upstream, path) = (self.standing.upstream(), kept.path());
            log::error!(
                "upstream {upstream}: {} cannot be written: {error}",
                path.display()
            );
        }
        outcome.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::discovery::Failure;
    use crate::discovery::listed::of_toml;
    use crate::discovery::lists::Lists;
    use crate::observability::Metrics;

    /// Says once that there are these endpoints.
    #[derive(Debug)]
    struct Once(Vec<Member>);

    #[async_trait]
    impl Source for Once {
        fn kind(&self) -> &'static str {
            "test"
        }

        fn describe(&self) -> String {
            "a test".to_owned()
        }

        fn on_empty(&self) -> OnEmpty {
            OnEmpty::Drop
        }

        async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure> {
            sink.publish(self.0.clone());
            std::future::pending().await
        }
    }

    /// Says once where a name is, and fails at once whenever it is asked.
    #[derive(Debug, Default)]
    struct Fails {
        lists: Lists,
        has_told: AtomicBool,
    }

    #[async_trait]
    impl Source for Fails {
        fn kind(&self) -> &'static str {
            "test"
        }

        fn describe(&self) -> String {
            "a test".to_owned()
        }

        fn on_empty(&self) -> OnEmpty {
            OnEmpty::Drop
        }

        async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure> {
            if !self.has_told.swap(true, Ordering::Relaxed) {
                let text = "endpoints = ['localhost:1']";
                self.lists.tell(of_toml("a list", text).unwrap(), sink);
            }
            Err(Failure::refused("no"))
        }

        async fn publish(&self, sink: &Sink) -> Infallible {
            self.lists.publish(sink).await
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_while_the_registry_fails() {
        let metrics = Metrics::new().discovery("u", "test");
        let discovery = Arc::new(Discovery {
            source: Arc::new(Fails::default()),
            on_empty: OnEmpty::Drop,
            kept: None,
            standing: Arc::new(Standing::new("u", "a test".to_owned(), metrics)),
            set: watch::Sender::new(None),
            has_begun: watch::Sender::new(false),
        });
        let mut set = discovery.set.subscribe();
        let is_known = |set: &Published| set.as_ref().is_some_and(|set| !set.is_empty());
        tokio::select! {
            () = discovery.clone().run(|_| {}) => {}
            known = timeout(GOOD * 6, set.wait_for(is_known)) => {
                known.expect("it is looked up").unwrap();
            }
        }
    }

    /// The folder is not there yet, as it may be where it is mounted.
    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let kept = Kept::new(&state, "u", "a test");
        let members = vec![Member::at("10.0.0.1:80".parse().unwrap(), 1)];
        let metrics = Metrics::new().discovery("u", "test");
        let discovery = Arc::new(Discovery {
            source: Arc::new(Once(members.clone())),
            on_empty: OnEmpty::Drop,
            kept: Some(kept.clone()),
            standing: Arc::new(Standing::new("u", "a test".to_owned(), metrics)),
            set: watch::Sender::new(None),
            has_begun: watch::Sender::new(false),
        });
        let waiting = async {
            discovery.begun().await;
            sleep(KEEP_AGAIN / 2).await;
            std::fs::create_dir(&state).unwrap();
            sleep(KEEP_AGAIN).await;
            let (written, heard) = kept.read().unwrap().expect("it is written");
            assert_eq!(written, members);
            assert_eq!(Some(heard), discovery.standing.heard_at());
            // It is heard of again, and nothing changes but the age of what is written.
            discovery.standing.heard();
            sleep(KEEP_AGAIN).await;
            let (_, later) = kept.read().unwrap().expect("it is written");
            assert!(later > heard && Some(later) == discovery.standing.heard_at());
        };
        tokio::select! {
            () = discovery.clone().run(|_| {}) => {}
            () = waiting => {}
        }
    }
}
