//! The keys of one provider, wherever they come from.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::fetch::{Fetcher, Publisher};
use super::local::{self, Place};
use super::unknown::Unknown;
use super::{Config, KeySet, renewal};
use crate::identity::{Build, Client, Kind, Url};
use crate::observability::KeyMetrics;
use crate::text::{Look, Span, Spanned, Subject};

/// Requests that wait for keys at the same time, for each provider; those beyond it are told at once that it cannot
/// be known who calls.
const MOST_WAITING: usize = 1024;

/// The keys that verify a provider's tokens, now.
#[derive(Debug)]
pub struct Source {
    state: Arc<State>,
    /// What asks from the start of this source on.
    client: Option<Client>,
    local: Option<(Place, Option<Look>)>,
}

/// There are no keys with which it could be told who calls: the provider gives no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the issuer are not to be had")]
pub struct Unavailable;

/// What a later document is to bring.
#[derive(Clone, Debug)]
pub enum Wanted<'t> {
    /// A key of this name; any key for a token that says none.
    Named(Option<&'t str>),
    /// Other keys than these, none of which has signed the token of this hash. Providers that give their keys no names,
    /// or the next one the name of the last, rotate like that.
    Other { than: Arc<KeySet>, token: u64 },
}

/// What reloads do not touch.
#[derive(Debug)]
pub(super) struct State {
    /// `jwt.main`
    pub(super) name: Box<str>,
    keys: ArcSwap<KeySet>,
    pub(super) metrics: KeyMetrics,
    pub(super) remote: Option<Remote>,
    /// Whether the document that was taken up last has no key.
    is_empty: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
}

/// Of keys that a provider publishes.
#[derive(Debug)]
pub(super) struct Remote {
    publisher: Publisher,
    pub(super) refresh: Duration,
    pub(super) max_stale: Duration,
    pub(super) cooldown: Duration,
    pub(super) client: ArcSwapOption<Client>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) is_failing: AtomicBool,
    wanted: Arc<Notify>,
    unknown: Unknown,
    waiting: Semaphore,
}

/// Fetches, as they are counted from the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) started: u64,
    pub(super) finished: u64,
    /// Whether the last one that has finished brought nothing.
    pub(super) has_failed: bool,
}

impl Source {
    /// Compiles what says where the keys are, `config`, which is the value of `key` in the provider; without it they
    /// are what `issuer` publishes. `before` is the source in place of which this one comes. `None` after diagnostics.
    pub fn build<K: Kind>(
        key: &str,
        config: Option<&Spanned<Config>>,
        issuer: Option<&Spanned<String>>,
        before: Option<&Source>,
        context: &mut Build<'_, K>,
    ) -> Option<Source> {
        let usual = Spanned::new(Config::default(), context.span);
        let config = config.unwrap_or(&usual);
        let folder = match config.reads_files() {
            true => context.folder(),
            false => Path::new(""),
        };
        let name = format!("{}.{}", K::NAME, context.name);
        let parts = Parts {
            key,
            metrics: context.metrics.keys(&name),
            name: name.into(),
            folder,
            before,
        };
        Source::compile(config, issuer, parts, &mut context.subject)
    }

    /// What `issuer` publishes, as usual, asked for with a client that may ask it.
    pub fn published<K: Kind>(
        issuer: &Url,
        client: &Client,
        before: Option<&Source>,
        context: &Build<'_, K>,
    ) -> Source {
        let (config, publisher) = (Config::default(), Publisher::Issuer(issuer.clone()));
        let name = format!("{}.{}", K::NAME, context.name);
        let metrics = context.metrics.keys(&name);
        Source::remote(&config, publisher, client.clone(), before, || {
            (name.into(), metrics)
        })
    }

    pub(super) fn compile(
        config: &Spanned<Config>,
        issuer: Option<&Spanned<String>>,
        parts: Parts<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Source> {
        let mut deeper = subject.key(parts.key);
        if !config.check(config.span, &mut deeper) {
            return None;
        }
        if let Some((kind, span, place)) = Place::of(config, parts.folder) {
            return Source::local(place, span, parts, &mut deeper.key(kind));
        }
        let client = Client::build(&config.client, parts.folder, &mut deeper.key("client"))?;
        let publisher = match &config.url {
            Some(url) => {
                let is_good = client.check(url, &mut deeper.key("url"));
                is_good.then(|| Publisher::Url(url.value.clone()))?
            }
            None => Publisher::Issuer(issuer_url(issuer, config.span, &parts, &client, subject)?),
        };
        let named = || (parts.name, parts.metrics);
        Some(Source::remote(
            config,
            publisher,
            client,
            parts.before,
            named,
        ))
    }

    #[cfg(test)]
    pub(super) fn weak(&self) -> std::sync::Weak<State> {
        Arc::downgrade(&self.state)
    }

    fn remote(
        config: &Config,
        publisher: Publisher,
        client: Client,
        before: Option<&Source>,
        named: impl FnOnce() -> (Box<str>, KeyMetrics),
    ) -> Source {
        let same = before.filter(|it| it.state.is_same(config, &publisher));
        let state = same.map(|same| same.state.clone()).unwrap_or_else(|| {
            let (name, metrics) = named();
            let remote = Remote::new(config, publisher);
            Arc::new(State::new(name, metrics, Some(remote)))
        });
        Source {
            state,
            client: Some(client),
            local: None,
        }
    }

    fn local(
        place: Place,
        span: Span,
        parts: Parts<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Source> {
        // Before it is read: what changes in between is seen at the next look.
        let look = place.path().and_then(|path| Look::at(&path));
        let set = place.load(span, subject)?;
        let state = State::new(parts.name, parts.metrics, None);
        // The same set as before where nothing has changed, so that what was verified with it stays so.
        let same = parts.before.map(|before| before.state.keys.load_full());
        let same = same.filter(|before| **before == set);
        state.keys.store(same.unwrap_or_else(|| Arc::new(set)));
        Some(Source {
            state: Arc::new(state),
            client: None,
            local: Some((place, look)),
        })
    }

    /// The keys, where nothing newer is worth waiting for: among them is one of the name that a token says, or no
    /// newer ones are to be had. Otherwise `None`, and [`Source::renewed`] waits for newer ones.
    pub fn keys(&self, kid: Option<&str>) -> Option<Guard<Arc<KeySet>>> {
        let set = self.state.keys.load();
        let Some(remote) = &self.state.remote else {
            return Some(set);
        };
        let is_final = !set.lacks(kid) || remote.unknown.has(Wanted::Named(kid).name());
        is_final.then_some(set)
    }

    /// Whether a later document may have the key of a token that none of the keys has signed; `token` is its hash.
    pub fn may_change(&self, token: u64) -> bool {
        let remote = self.state.remote.as_ref();
        remote.is_some_and(|it| !it.unknown.has((None::<Option<&str>>, Some(token))))
    }

    /// The keys as they are now, whatever is asked of them. Others are another `Arc`, and the same ones never are.
    pub fn current(&self) -> Guard<Arc<KeySet>> {
        self.state.keys.load()
    }

    /// Waits until there is what is wanted, or until a fetch that began later than this call has shown that it is not
    /// there; it then gives the keys without it. All who wait share one fetch, and there is none before the cool-down
    /// is over. Waits for the cool-down and a fetch at most.
    pub async fn renewed(&self, wanted: Wanted<'_>) -> Result<Arc<KeySet>, Unavailable> {
        let Some(remote) = &self.state.remote else {
            return Ok(self.state.keys.load_full());
        };
        let Ok(_place) = remote.waiting.try_acquire() else {
            return Err(Unavailable);
        };
        let client = remote.client.load();
        let fetch = client.as_ref().map_or(Duration::ZERO, |it| it.timeout());
        // Discovery is an exchange more.
        let longest = remote.cooldown + 2 * fetch;
        let newer = tokio::time::timeout(longest, self.state.newer(remote, &wanted));
        newer.await.unwrap_or(Err(Unavailable))
    }

    /// Takes it into service: keys are fetched, or files watched, from now on until the last source of this state is
    /// gone. On the gateway's runtime.
    pub fn start(&self) {
        let state = &self.state;
        let mut tasks = state.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let weak = Arc::downgrade(state);
        if let (Some(remote), Some(client)) = (&state.remote, &self.client) {
            remote.client.store(Some(Arc::new(client.clone())));
            if tasks.is_empty() {
                let fetcher = Fetcher::new(remote.publisher.clone());
                tasks.spawn(renewal::renew(weak, remote.wanted.clone(), fetcher));
            }
        } else if let Some((place, look)) = &self.local
            && tasks.is_empty()
        {
            state.metrics.used(state.keys.load().keys().len());
            tasks.spawn(local::watch(weak, place.clone(), *look));
        }
    }
}

/// What a source is compiled with.
pub(super) struct Parts<'a> {
    /// What the provider calls its configuration.
    pub(super) key: &'a str,
    /// `jwt.main`
    pub(super) name: Box<str>,
    pub(super) metrics: KeyMetrics,
    pub(super) folder: &'a Path,
    pub(super) before: Option<&'a Source>,
}

fn issuer_url(
    issuer: Option<&Spanned<String>>,
    span: Span,
    parts: &Parts<'_>,
    client: &Client,
    subject: &mut Subject<'_>,
) -> Option<Url> {
    let key = parts.key;
    let Some(issuer) = issuer else {
        let what = format!("needs issuer, which publishes its keys, or {key}");
        subject
            .error(span, what)
            .help("write issuer = \"https://id.example.com/\"");
        return None;
    };
    let mut subject = subject.key("issuer");
    match issuer.parse::<Url>() {
        Ok(url) => {
            let url = Spanned::new(url, issuer.span);
            client.check(&url, &mut subject).then_some(url.value)
        }
        Err(error) => {
            subject.error(issuer.span, error).help(format!(
                "it is asked for its keys; those that are here need {key} = {{ file = \"…\" }}"
            ));
            None
        }
    }
}

impl State {
    fn new(name: Box<str>, metrics: KeyMetrics, remote: Option<Remote>) -> State {
        State {
            name,
            keys: ArcSwap::default(),
            metrics,
            remote,
            is_empty: AtomicBool::new(false),
            tasks: Mutex::default(),
        }
    }

    fn is_same(&self, config: &Config, publisher: &Publisher) -> bool {
        self.remote.as_ref().is_some_and(|it| {
            it.publisher == *publisher
                && it.refresh == config.refresh.as_std()
                && it.max_stale == config.max_stale.as_std()
                && it.cooldown == config.cooldown.as_std()
        })
    }

    /// Uses a set from now on; one that is the same changes nothing. Tells of what is new about it.
    pub(super) fn adopt(&self, set: KeySet) {
        let is_same = **self.keys.load() == set;
        // There may have been none before, either.
        let was_empty = self.is_empty.swap(set.is_empty(), Ordering::Relaxed);
        if !is_same || set.is_empty() && !was_empty {
            self.tell(&set);
        }
        match is_same {
            true => self.metrics.used(set.keys().len()),
            false => self.set(Arc::new(set)),
        }
    }

    fn tell(&self, set: &KeySet) {
        for skipped in set.skipped() {
            let (key, why) = (&skipped.key, skipped.why);
            log::info!("identity.{}: the key {key:?} is not used: {why}", self.name);
        }
        if set.is_empty() {
            log::warn!("identity.{}: there is no key that could be used", self.name);
        }
    }

    pub(super) fn set(&self, set: Arc<KeySet>) {
        self.metrics.used(set.keys().len());
        self.keys.store(set);
        if let Some(remote) = &self.remote {
            remote.unknown.forget();
        }
    }

    async fn newer(
        &self,
        remote: &Remote,
        wanted: &Wanted<'_>,
    ) -> Result<Arc<KeySet>, Unavailable> {
        let mut progress = remote.progress.subscribe();
        let enough = progress.borrow().started + 1;
        loop {
            // Before the keys: a fetch that ends in between is seen the next time.
            let now = *progress.borrow_and_update();
            let set = self.keys.load_full();
            if wanted.is_in(&set) {
                return Ok(set);
            }
            if now.finished >= enough {
                return match now.has_failed {
                    true => Err(Unavailable),
                    false => {
                        remote.unknown.remember(wanted.name(), remote.cooldown);
                        Ok(set)
                    }
                };
            }
            if now.finished == now.started {
                remote.wanted.notify_one();
            }
            progress.changed().await.map_err(|_| Unavailable)?;
        }
    }
}

impl<'t> Wanted<'t> {
    fn is_in(&self, set: &Arc<KeySet>) -> bool {
        match self {
            Wanted::Named(kid) => !set.lacks(*kid),
            // Keys that have become too old are gone, and nothing is known in their place.
            Wanted::Other { than, .. } => !set.is_empty() && !Arc::ptr_eq(than, set),
        }
    }

    /// What it is remembered by where it is not there.
    fn name(&self) -> (Option<Option<&'t str>>, Option<u64>) {
        match self {
            Wanted::Named(kid) => (Some(*kid), None),
            Wanted::Other { token, .. } => (None, Some(*token)),
        }
    }
}

impl Remote {
    fn new(config: &Config, publisher: Publisher) -> Remote {
        Remote {
            publisher,
            refresh: config.refresh.as_std(),
            max_stale: config.max_stale.as_std(),
            cooldown: config.cooldown.as_std(),
            client: ArcSwapOption::empty(),
            progress: watch::Sender::new(Progress::default()),
            is_failing: AtomicBool::new(false),
            wanted: Arc::new(Notify::new()),
            unknown: Unknown::default(),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }
}
