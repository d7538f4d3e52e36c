//! `mirror`: copies of requests for another upstream, whose answers no client ever sees.
//!
//! A copy is what the route's own upstream gets, credentials and all: whoever runs the mirror sees what the upstream
//! sees. It is sent once the whole request is known, on a task of its own, and nothing of the exchange with the client
//! ever waits for it. There are `max_in_flight` copies at a time, and one for which there is no place is dropped.

mod differences;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::upstream_name::upstream;
use crate::observability::MirrorMetrics;
use crate::text::{self, ByteSize, Name, Ratio, Spanned, Subject};
use crate::upstream::{Heard, Upstream};

use differences::differences;

/// Sends copies of requests elsewhere: `mirror = { upstream = "checkout-next", sample = "1%" }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to. It gets what the route's own upstream gets, credentials included.
    #[serde(deserialize_with = "upstream")]
    pub upstream: Spanned<Name>,
    /// Of how many requests. Default: of all.
    pub sample: Option<Ratio>,
    /// The largest body that is copied; a request with a larger one is not mirrored. With `compare`, also the largest
    /// response that is compared. At most `"1MiB"`. Default `"64KiB"`.
    pub body: Option<Spanned<ByteSize>>,
    /// For all of a copy: connection, request and answer. That it is over is not held against the endpoint; what else becomes
    /// of a copy is, as for requests of clients. Default `"5s"`.
    pub timeout: Option<text::Duration>,
    /// How many copies there may be at a time; one too many is dropped. 1 to 1000. Default 100.
    pub max_in_flight: Option<text::Bounded<1, 1000>>,
    /// Compares the two responses: their status, and their content where both are JSON. Differences are counted, and told
    /// in the log once a second at most, by their places and without values. Default: no.
    #[serde(default)]
    pub compare: bool,
    /// JSON pointers (RFC 6901) to what is not compared, such as `"/time"`.
    #[serde(default)]
    pub ignore: Vec<Spanned<String>>,
}

const USUAL_BODY: usize = 64 << 10;
const LARGEST_BODY: usize = 1 << 20;

/// Where copies of a route's requests go.
#[derive(Debug)]
pub struct Mirror {
    route: Box<str>,
    upstream: Arc<Upstream>,
    sample: Ratio,
    body: usize,
    timeout: Duration,
    compares: bool,
    ignored: Box<[Box<str>]>,
    places: Arc<Semaphore>,
    /// The copies that are on their way. They end with the route.
    tasks: Mutex<JoinSet<()>>,
    metrics: MirrorMetrics,
    /// The second in which differences were last told in the log.
    told: AtomicU64,
}

/// What the route's own upstream has answered.
#[derive(Clone, Debug)]
pub struct Original {
    pub status: StatusCode,
    pub is_encoded: bool,
    /// `None` where it is larger than what is compared.
    pub body: Option<Bytes>,
}

impl Mirror {
    /// `None` after diagnostics. `find` resolves the upstream's name.
    pub fn build(
        config: &Config,
        (route, metrics): (&str, MirrorMetrics),
        find: impl FnOnce(&Spanned<Name>, &mut Subject<'_>) -> Option<Arc<Upstream>>,
        subject: &mut Subject<'_>,
    ) -> Option<Mirror> {
        let errors = subject.error_count();
        let body = config.body.as_ref().map_or(USUAL_BODY, |it| it.as_usize());
        if let Some(written) = config.body.as_ref().filter(|_| body > LARGEST_BODY) {
            let what = "is too much to keep of every request that is copied";
            let mut subject = subject.key("body");
            subject
                .error(written.span, what)
                .help("write \"1MiB\" or less");
        }
        for (index, pointer) in config.ignore.iter().enumerate() {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                let mut list = subject.key("ignore");
                let mut subject = list.index(index);
                let problem = subject.error(pointer.span, "must be a JSON pointer");
                problem.help(format!("write \"/{}\"", pointer.value));
            }
        }
        if let Some(first) = config.ignore.first().filter(|_| !config.compare) {
            let mut subject = subject.key("ignore");
            let problem = subject.error(first.span, "is of use only with compare = true");
            problem.help("add compare = true, or remove it");
        }
        let upstream = find(&config.upstream, &mut subject.key("upstream"));
        if subject.error_count() > errors {
            return None;
        }
        let places = config.max_in_flight.map_or(100, |most| most.get());
        Some(Mirror {
            route: route.into(),
            upstream: upstream?,
            sample: config.sample.unwrap_or(Ratio::ALL),
            body,
            timeout: config
                .timeout
                .as_ref()
                .map_or(Duration::from_secs(5), |it| it.as_std()),
            compares: config.compare,
            ignored: config
                .ignore
                .iter()
                .map(|it| it.value.as_str().into())
                .collect(),
            places: Arc::new(Semaphore::new(usize::from(places))),
            tasks: Mutex::default(),
            metrics,
            told: AtomicU64::new(0),
        })
    }

    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Whether this request is one of the sample.
    pub fn samples(&self) -> bool {
        self.sample == Ratio::ALL || rand::random_range(0..1_000_000) < self.sample.millionths()
    }

    /// The largest body that is copied or compared.
    pub fn largest_body(&self) -> usize {
        self.body
    }

    pub fn compares(&self) -> bool {
        self.compares
    }

    /// For people.
    pub fn describe(&self) -> String {
        let compared = if self.compares { ", compared" } else { "" };
        let (upstream, sample) = (self.upstream.name(), self.sample);
        format!("upstream {upstream}, {sample} of the requests{compared}")
    }

    /// A request of the sample had a larger body than is copied.
    pub fn too_large(&self) {
        self.metrics.count("too_large");
    }

    /// A request of the sample was not sent whole.
    pub fn incomplete(&self) {
        self.metrics.count("incomplete");
    }

    /// Sends a copy, if there is a place for it. `original` is to say what the route's own upstream has answered, where
    /// that is compared.
    pub fn send(
        self: &Arc<Self>,
        head: Parts,
        body: Bytes,
        original: Option<oneshot::Receiver<Original>>,
    ) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.metrics.count("dropped");
            return;
        };
        // Weak would do for the route, but the copy needs its upstream until its end.
        let (upstream, metrics) = (self.upstream.clone(), self.metrics.clone());
        let (timeout, largest) = (self.timeout, self.body);
        let mirror = Arc::downgrade(self);
        let copying = async move {
            // Until the comparison: what was heard takes memory for as long.
            let _place = place;
            let sending = upstream.send(head, body, timeout, largest);
            let heard = match sending.await {
                Ok(heard) => heard,
                Err(code) => {
                    metrics.count("failed");
                    log::debug!("mirror {}: {}", upstream.name(), code.slug());
                    return;
                }
            };
            metrics.count("sent");
            let Some(original) = original else { return };
            // What the client does not take has no end, and is not waited for.
            let waiting = tokio::time::timeout(timeout, original);
            if let (Ok(Ok(original)), Some(mirror)) = (waiting.await, mirror.upgrade()) {
                mirror.compare(&original, &heard);
            }
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(copying);
    }

    fn compare(&self, original: &Original, heard: &Heard) {
        if original.status != heard.status {
            self.metrics.compared("status");
            let (one, other) = (original.status.as_u16(), heard.status.as_u16());
            return self.tell(format_args!("the status is {one}, and {other} there"));
        }
        let is_encoded = |headers: &HeaderMap| headers.contains_key(CONTENT_ENCODING);
        let (Some(one), Some(other)) = (&original.body, &heard.body) else {
            return self.metrics.compared("too_large");
        };
        if one == other {
            return self.metrics.compared("same");
        }
        if original.is_encoded || is_encoded(&heard.headers) {
            return self.metrics.compared("unknown");
        }
        let json = |body: &Bytes| serde_json::from_slice::<Value>(body).ok();
        let (Some(one), Some(other)) = (json(one), json(other)) else {
            return self.metrics.compared("unknown");
        };
        let different = differences(&one, &other, &self.ignored);
        if different.is_empty() {
            return self.metrics.compared("same");
        }
        self.metrics.compared("content");
        self.tell(format_args!("the content differs at {different:?}"));
    }

    /// Once a second at most: every request may be another.
    fn tell(&self, what: std::fmt::Arguments<'_>) {
        let second = text::Timestamp::now().unix();
        if self.told.swap(second, Ordering::Relaxed) != second {
            let (route, upstream) = (&self.route, self.upstream.name());
            log::warn!("route {route}, mirror {upstream}: {what}");
        }
    }
}
