//! Following a registry: what all sources need, done once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::changes::Changes;
use super::kept::Kept;
use super::pause::Pauses;
use super::sink::{Published, Sink};
use super::standing::{Shown, Standing};
use super::{Build, Config, Member, OnEmpty, Source};
use crate::text::Spanned;

/// After a set was taken over, so long for more to come: a burst of changes is few sets. The first of them is taken over
/// at once, and the last one so much later at most.
const REST: Duration = Duration::from_millis(20);
/// Whoever has followed for so long, and heard something, begins again soon.
const GOOD: Duration = Duration::from_secs(5);
/// For the first answer of a registry. Who starts waits for so long.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// As long as the waiting above, and the reading of what is kept.
const BEGINNING: Duration = Duration::from_secs(7);

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
        let sink = Sink::new(self.standing.clone(), published);
        tokio::select! {
            () = self.follow(&sink) => {}
            () = self.take_over(sets, &take) => {}
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
        take: &(impl Fn(Vec<Member>) + Sync),
    ) {
        if !*self.has_begun.borrow() {
            self.begin(&mut sets, take).await;
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
        if !said.as_ref().is_some_and(is_believed) {
            self.begin_with_kept(take).await;
        }
        if let Some(said) = said {
            self.settle(&said, take);
        }
    }

    async fn begin_with_kept(&self, take: &(impl Fn(Vec<Member>) + Sync)) {
        let Some(kept) = self.kept.clone() else {
            return;
        };
        let path = kept.path();
        let read = tokio::task::spawn_blocking(move || kept.read()).await;
        match read.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(Some((members, at))) => {
                self.standing.begun_from_disk(members.len(), at);
                self.set.send_replace(Some(members.as_slice().into()));
                take(members);
            }
            Ok(None) => {}
            Err(error) => log::error!(
                "upstream {}: {} cannot be read: {error}",
                self.standing.upstream(),
                path.display()
            ),
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

    /// Writes each set that is in force, and of several that wait only the last. That one cannot be written is told,
    /// and stops nothing.
    async fn keep(&self) {
        let Some(kept) = &self.kept else {
            return std::future::pending().await;
        };
        let here = kept.clone();
        // The folder may come later; what matters is said when something cannot be written.
        let _ = tokio::task::spawn_blocking(move || here.clear_up()).await;
        let mut sets = self.set.subscribe();
        sets.mark_changed();
        while sets.changed().await.is_ok() {
            let set = sets.borrow_and_update().clone();
            // What was read from there keeps its age.
            let Some(set) = set.filter(|_| !self.standing.is_from_disk()) else {
                continue;
            };
            let here = kept.clone();
            let written = tokio::task::spawn_blocking(move || here.write(&set)).await;
            if let Ok(Err(error)) = written {
                let (upstream, path) = (self.standing.upstream(), kept.path());
                log::error!(
                    "upstream {upstream}: {} cannot be written: {error}",
                    path.display()
                );
            }
        }
    }
}
