//! Active health checks, by `pingora-load-balancing`'s checkers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Uri;
use pingora::lb::Backend;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::upstreams::peer::HttpPeer;
use rand::Rng;
use tokio::task::JoinSet;

use super::config::{Config, HealthConfig};
use super::endpoint::Endpoint;
use super::{Upstream, alive};

/// Checks of one upstream that run at the same time.
const MAX_CONCURRENT: usize = 64;

/// How the endpoints of an upstream are checked.
#[derive(Clone, Debug)]
pub(super) struct Checks {
    path: Option<Uri>,
    interval: Duration,
    timeout: Duration,
    healthy_after: u32,
    unhealthy_after: u32,
    host: Option<Box<str>>,
}

impl Checks {
    pub(super) fn new(health: &HealthConfig, config: &Config) -> Checks {
        Checks {
            path: health
                .http
                .as_ref()
                .map(|path| path.as_str().parse().expect("checked when it was parsed")),
            interval: health.interval.as_std(),
            timeout: health.timeout.as_std(),
            healthy_after: u32::from(health.healthy_after.get()),
            unhealthy_after: u32::from(health.unhealthy_after.get()),
            host: config.tls.as_ref().and_then(|tls| tls.sni.clone()),
        }
    }

    /// It opens a connection each time: one that was kept says little about whether new ones are accepted.
    fn checker(&self, endpoint: &Endpoint) -> Box<dyn HealthCheck + Send + Sync> {
        let mut peer: HttpPeer = endpoint.direct().clone();
        peer.options.connection_timeout = Some(self.timeout);
        peer.options.total_connection_timeout = Some(self.timeout);
        peer.options.read_timeout = Some(self.timeout);
        peer.options.write_timeout = Some(self.timeout);
        match &self.path {
            None => {
                let mut check = TcpHealthCheck::default();
                check.peer_template.options.connection_timeout = Some(self.timeout);
                Box::new(check)
            }
            Some(path) => {
                let member = endpoint.member();
                let host = self.host.as_deref().unwrap_or(&member.host);
                let mut check = HttpHealthCheck::new(host, false);
                check.req.set_uri(path.clone());
                // A header of a constant name and value is always accepted.
                let _ = check.req.insert_header("user-agent", "northgate-health");
                check.peer_template = peer;
                check.validator = Some(Box::new(|response| {
                    if response.status.is_success() {
                        Ok(())
                    } else {
                        pingora::Error::e_explain(
                            pingora::ErrorType::HTTPStatus(response.status.as_u16()),
                            "the health check",
                        )
                    }
                }));
                Box::new(check)
            }
        }
    }
}

/// Checks every endpoint again and again until the upstream is dropped. The first round starts at once.
pub(super) async fn watch(upstream: Weak<Upstream>) {
    loop {
        let wait = {
            let Some(upstream) = alive(&upstream) else {
                return;
            };
            let Some(checks) = upstream.health.clone() else {
                return;
            };
            check_all(&upstream, &checks).await;
            checks.interval.mul_f64(rand::rng().random_range(0.9..1.1))
        };
        tokio::time::sleep(wait).await;
    }
}

async fn check_all(upstream: &Arc<Upstream>, checks: &Checks) {
    let mut running = JoinSet::new();
    let mut has_changed = false;
    for endpoint in upstream.current() {
        if running.len() >= MAX_CONCURRENT
            && let Some(Ok(changed)) = running.join_next().await
        {
            has_changed |= changed;
        }
        let (name, checks) = (upstream.name.clone(), checks.clone());
        running.spawn(async move { check(&name, &endpoint, &checks).await });
    }
    while let Some(result) = running.join_next().await {
        has_changed |= result.unwrap_or(false);
    }
    if has_changed {
        upstream.refresh();
    }
}

/// Checks one endpoint; true where its state changed.
async fn check(upstream: &str, endpoint: &Endpoint, checks: &Checks) -> bool {
    let target = Backend {
        addr: endpoint.direct()._address.clone(),
        weight: 1,
        ext: http::Extensions::new(),
    };
    let checker = checks.checker(endpoint);
    let result = match tokio::time::timeout(checks.timeout, checker.check(&target)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {:?}", checks.timeout)),
    };
    let needed = if result.is_ok() {
        checks.healthy_after
    } else {
        checks.unhealthy_after
    };
    let has_changed = endpoint.observe(result.is_ok(), needed);
    match (has_changed, result) {
        (true, Ok(())) => log::info!(
            "upstream {upstream}: endpoint {} is healthy again",
            endpoint.address()
        ),
        (true, Err(cause)) => log::warn!(
            "upstream {upstream}: endpoint {} is unhealthy: {cause}",
            endpoint.address()
        ),
        (false, _) => {}
    }
    has_changed
}
