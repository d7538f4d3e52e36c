//! The slices of one service: listed once, then watched.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use rand::Rng as _;
use tokio::time::{Instant, timeout};

use super::access::Access;
use super::error::{Error, GONE};

/// For a list, and for the beginning of a watch.
const DEADLINE: Duration = Duration::from_secs(10);
/// The server ends each watch after so long, and it is begun anew where it was. One that does not end by then is of a server
/// that is gone, or cut off.
const WATCH_SECONDS: u32 = 25;
const SPREAD_SECONDS: u32 = 5;
const SHORTEST: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(5);
/// In one answer.
const PAGE: u32 = 500;
/// More slices of one service are refused; each has up to 1000 endpoints.
const MOST_SLICES: usize = 1000;

/// What is known of a service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) slices: BTreeMap<String, EndpointSlice>,
    /// What all of it is as of; `None` where it has to be listed.
    version: Option<String>,
    /// Which server says so, and of which namespace: what a kubeconfig says of both may change.
    of: Option<(String, String)>,
}

/// Called with what is known, and whether that may be something else than before.
pub(super) type Told<'a> = dyn FnMut(&Service, bool) + Send + 'a;

/// Which slices there are to be known.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) namespace: Option<Box<str>>,
    pub(super) service: Box<str>,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.service),
            None => f.write_str(&self.service),
        }
    }
}

impl Selection {
    fn labels(&self) -> String {
        format!("kubernetes.io/service-name={}", self.service)
    }
}

impl Service {
    /// Lists the slices where that is needed, then watches them until the watch ends.
    pub(super) async fn follow(
        &mut self,
        access: &Access,
        selection: &Selection,
        told: &mut Told<'_>,
    ) -> Result<(), Error> {
        let opened = access.open().await?;
        let namespace = selection.namespace.as_deref();
        let namespace = namespace.unwrap_or(&opened.namespace);
        let api = Api::namespaced(opened.client, namespace);
        let of = Some((opened.server, namespace.to_owned()));
        if self.of != of {
            (self.of, self.version) = (of, None);
        }
        let is_new = self.version.is_none();
        let version = match self.version.clone() {
            Some(version) => version,
            None => {
                let version = self.list(&api, selection).await?;
                self.version = Some(version.clone());
                told(self, true);
                version
            }
        };
        match self.watch(&api, selection, &version, told).await {
            // It is listed at once, but only once: a server for which its own list is too old is asked less often.
            Err(Error::Gone) if !is_new => {
                self.version = None;
                Ok(())
            }
            Err(error) => {
                // What cannot be read or told would be met again behind the same version.
                if matches!(
                    error,
                    Error::Gone | Error::Watch(_) | Error::Api(kube::Error::SerdeError(_))
                ) {
                    self.version = None;
                }
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Gives the version that the list is as of. What was known stays where it cannot be had.
    async fn list(
        &mut self,
        api: &Api<EndpointSlice>,
        selection: &Selection,
    ) -> Result<String, Error> {
        let mut params = ListParams::default()
            .labels(&selection.labels())
            .limit(PAGE);
        let mut slices = BTreeMap::new();
        loop {
            let listed = timeout(DEADLINE, api.list(&params)).await;
            let listed = listed.map_err(|_| Error::NoAnswer(DEADLINE))??;
            slices.extend(
                listed
                    .items
                    .into_iter()
                    .map(|slice| (slice.name_any(), slice)),
            );
            if slices.len() > MOST_SLICES {
                return Err(Error::TooMany(MOST_SLICES));
            }
            match listed.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(rest) => params = params.continue_token(&rest),
                None => {
                    self.slices = slices;
                    return listed.metadata.resource_version.ok_or(Error::Ended);
                }
            }
        }
    }

    async fn watch(
        &mut self,
        api: &Api<EndpointSlice>,
        selection: &Selection,
        version: &str,
        told: &mut Told<'_>,
    ) -> Result<(), Error> {
        // So that gateways, and the upstreams of one, do not come in step.
        let seconds = WATCH_SECONDS - rand::rng().random_range(0..=SPREAD_SECONDS);
        let params = WatchParams::default()
            .labels(&selection.labels())
            .timeout(seconds);
        let opened = timeout(DEADLINE, api.watch(&params, version)).await;
        let mut events = pin!(opened.map_err(|_| Error::NoAnswer(DEADLINE))??);
        told(self, false);
        let (began, longest) = (Instant::now(), Duration::from_secs(seconds.into()) + GRACE);
        let watching = async {
            while let Some(event) = events.next().await {
                let is_news = self.take(event?)?;
                told(self, is_news);
            }
            // One that ends at once time and again is not to be asked time and again.
            match began.elapsed() >= SHORTEST {
                true => Ok(()),
                false => Err(Error::Ended),
            }
        };
        match timeout(longest, watching).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::Silent(longest)),
        }
    }

    /// Whether something is known that was not.
    fn take(&mut self, event: WatchEvent<EndpointSlice>) -> Result<bool, Error> {
        let is_news = !matches!(event, WatchEvent::Bookmark(_));
        let version = match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                let version = slice.resource_version();
                self.slices.insert(slice.name_any(), slice);
                if self.slices.len() > MOST_SLICES {
                    self.version = None;
                    return Err(Error::TooMany(MOST_SLICES));
                }
                version
            }
            WatchEvent::Deleted(slice) => {
                self.slices.remove(&slice.name_any());
                slice.resource_version()
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) if status.code == GONE => return Err(Error::Gone),
            WatchEvent::Error(status) => {
                return Err(Error::Watch(
                    format!("{} {}", status.code, status.message).into(),
                ));
            }
        };
        if version.is_some() {
            self.version = version;
        }
        Ok(is_news)
    }
}
