//! Kubernetes: the endpoints of a service, as its EndpointSlices have them.
//!
//! The slices are listed once and watched from the version of the list on. The server ends each watch after 20 to 25 seconds,
//! as it was asked to; the next one goes on where the last was, with bookmarks for what did not concern it, so that a list
//! is only asked for again where the server no longer knows what happened since (410 Gone).
//!
//! ```toml
//! [upstreams.users]
//! discovery = { kubernetes = { namespace = "shop", service = "users", port = "http" } }
//!
//! [routes.users]
//! match = { path = "/users/{*rest}" }
//! upstream = "users"
//! ```
//!
//! # A server that is gone
//! A watch that says nothing and does not end when it should is of a server that has vanished: that is noticed within 30
//! seconds. Connections take five seconds and lists ten at most.
//!
//! A server that was put back to an old copy, or has lost what it had, counts once it is listed again, also with nothing:
//! `on_empty = "keep"` goes on with what was.
//!
//! # Credentials
//! Kubeconfig, token, authority and certificates are read anew for each watch. So one that is rotated is used within 25
//! seconds, and at once where the old one is refused. A kubeconfig that has come to lead to another cluster, or to another
//! namespace, has everything listed anew.
//!
//! # Which endpoints
//! Those that are `ready`. Where none is, those that are `serving` while they are `terminating`, as kube-proxy does. An
//! endpoint's weight is 1; its `zone` is that of the node; its label `node` is the node's name. Hints for zones are not
//! looked at: how requests are spread over zones is for the upstream's balancing to say.

mod access;
mod config;
mod error;
mod slices;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::access::Access;
use self::config::Port;
use self::watch::{Selection, Service};
use super::lists::Lists;
use super::{Build, Failure, OnEmpty, Sink, Source};
use crate::text::Spanned;

pub use config::Config;

/// A service of Kubernetes.
#[derive(Debug)]
struct Followed {
    described: String,
    access: Access,
    selection: Selection,
    port: Option<Port>,
    /// What is known of it, which outlives failures.
    service: Mutex<Service>,
    lists: Lists,
}

/// `None` after diagnostics. Blocks on the file system; no server is asked.
pub(super) fn build(config: &Spanned<Config>, context: &mut Build<'_>) -> Option<Arc<dyn Source>> {
    let errors = context.subject.error_count();
    let config = &config.value;
    config.check(context.base, &mut context.subject.key("kubernetes"));
    if context.subject.error_count() > errors {
        return None;
    }
    let access = Access::new(config, context.base);
    let selection = Selection {
        namespace: config.namespace.as_ref().map(|it| it.value.as_str().into()),
        service: config.service.value.as_str().into(),
    };
    Some(Arc::new(Followed {
        described: describe(&selection, config.port.as_ref(), &access),
        access,
        selection,
        port: config.port.clone(),
        service: Mutex::default(),
        lists: Lists::default(),
    }))
}

/// With the server as it is now: what was kept of another cluster is nothing of this one. Blocks on the file system.
fn describe(selection: &Selection, port: Option<&Port>, access: &Access) -> String {
    let port = port.map_or_else(String::new, |port| format!(" port {port}"));
    let server = access.server();
    let server = server.map_or_else(String::new, |server| format!(" at {server}"));
    format!("service {selection}{port} of Kubernetes{server}, {access}")
}

#[async_trait]
impl Source for Followed {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn describe(&self) -> String {
        self.described.clone()
    }

    /// A service that is scaled to nothing has none.
    fn on_empty(&self) -> OnEmpty {
        OnEmpty::Drop
    }

    async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure> {
        Err(self.watch(sink).await)
    }

    async fn publish(&self, sink: &Sink) -> Infallible {
        self.lists.publish(sink).await
    }
}

impl Followed {
    async fn watch(&self, sink: &Sink) -> Failure {
        let mut service = self.service.lock().await;
        let mut problems = Vec::new();
        let mut told = |service: &Service, is_news: bool| {
            if !is_news {
                return self.lists.alive(sink);
            }
            let before = std::mem::take(&mut problems);
            let slices = service.slices.values();
            let list = slices::endpoints(slices, self.port.as_ref(), &mut problems);
            if problems != before {
                for problem in &problems {
                    log::warn!("{}: {problem}", self.described);
                }
            }
            // There are endpoints, and none that can be used: that is no word of there being none.
            match problems.first().filter(|_| list.is_empty()) {
                Some(problem) => self.lists.unusable(problem, sink),
                None => self.lists.tell(list, sink),
            }
        };
        loop {
            let followed = service.follow(&self.access, &self.selection, &mut told);
            if let Err(error) = followed.await {
                return error.into();
            }
        }
    }
}
