//! Listeners: where clients come in.
//!
//! In: addresses, certificates and limits from configuration. Out: [`pingora::protocols::Stream`]s, each carrying
//! the [`Connection`] it belongs to, handed to whatever serves them. This room must never know HTTP beyond the
//! bytes that tell HTTP/2 from HTTP/1.1, the framing of HTTP/1.1 and the heads of the frames of HTTP/2, and nothing
//! of routes.
//!
//! The accept loop is ours and not Pingora's, because Pingora's has no cap on connections, no deadline for the
//! whole header of a request, waits for ever for the preface of cleartext HTTP/2, and cannot add a listener at
//! run time. What comes in goes through, in this order: the caps, the PROXY header and the TLS handshake under one
//! deadline, the look at the preface, and then the stream wrapper that keeps the deadlines of headers and idle
//! connections.

mod accept;
mod allowance;
mod bind;
mod caps;
mod config;
mod connection;
mod dated;
mod drain;
mod framed;
mod h2_frames;
mod h2_heads;
mod intake;
mod pace;
mod proxy_protocol;
mod stream;
mod tls;
mod websocket;

#[cfg(test)]
mod fuzz;

use std::sync::Arc;

use crate::observability::ListenerMetrics;
use crate::text::{BindAddress, Cidr, PathRules, Subject};

pub use accept::{Serve, accept, connect};
pub use allowance::Allowance;
pub use bind::{Socket, bind};
pub use caps::{AllClosed, OpenConnections};
pub use config::{
    Config, Limits, OverrideHeaders, Protocol, ProxyProtocol, Timeouts, TrustedHeader, Underscores,
};
pub use connection::{Connection, Rest};
pub use drain::{Drain, End, LAST_WORDS};
pub use framed::next_request;
pub use h2_frames::{Alarm, Offence, watch_frames};
pub use pace::Pace;
pub use tls::{CertificateConfig, ClientAuthConfig, ClientAuthMode, Handshake, TlsConfig};

/// A listener as compiled. Connections keep the one that they came in by.
#[derive(Debug)]
pub struct Listener {
    pub name: Box<str>,
    /// Its number among the listeners of a snapshot; one that comes after it under the same name has the same.
    pub id: usize,
    pub bind: BindAddress,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub paths: PathRules,
    pub override_headers: OverrideHeaders,
    pub trusted_proxies: Box<[Cidr]>,
    pub trusted_header: Option<TrustedHeader>,
    pub underscores: Underscores,
    pub metrics: ListenerMetrics,
    /// As written, and the folder that its paths are relative to.
    definition: (Config<()>, Box<std::path::Path>),
    counts: Arc<caps::Counts>,
    proxy_protocol: ProxyProtocol,
    allows_http1: bool,
    allows_h2: bool,
    tls: Option<tls::Terminator>,
}

impl Listener {
    /// Compiles a listener. `None` after diagnostics.
    ///
    /// One that ran under this name before goes on as it is where nothing of it has changed, with its tickets and
    /// certificates; where something has, the counts of its open connections are those of both.
    pub fn build<Policies: Default>(
        name: &str,
        id: usize,
        config: &Config<Policies>,
        before: Option<&Arc<Listener>>,
        context: Build<'_, '_>,
    ) -> Option<Arc<Listener>> {
        let Build {
            base,
            metrics,
            subject,
        } = context;
        let allows = |protocol: Protocol| {
            config.protocols.is_empty() || config.protocols.contains(&protocol)
        };
        let proxy_protocol = config
            .proxy_protocol
            .as_ref()
            .map_or_else(ProxyProtocol::default, |said| said.value);
        if let Some(said) = &config.proxy_protocol
            && proxy_protocol != ProxyProtocol::Off
            && config.trusted_proxies.is_empty()
        {
            subject
                .key("proxy_protocol")
                .error(
                    said.span,
                    "needs trusted_proxies: a PROXY header is believed of nobody else",
                )
                .help("list the load balancers, as in trusted_proxies = [\"10.0.0.0/8\"]");
            return None;
        }
        let (allows_http1, allows_h2) = (allows(Protocol::Http11), allows(Protocol::H2));
        let tls = match &config.tls {
            None => None,
            Some(tls) => Some(tls::Terminator::build(
                tls,
                preferred(allows_http1, allows_h2),
                base,
                metrics.certificates.clone(),
                &mut subject.key("tls"),
            )?),
        };
        let definition = (config.without_policies(), base.into());
        if let Some(before) = before.filter(|before| before.definition == definition) {
            return Some(before.clone());
        }
        Some(Arc::new(Listener {
            name: name.into(),
            id,
            bind: config.bind.value.clone(),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            paths: config.paths,
            override_headers: config.override_headers,
            trusted_proxies: config.trusted_proxies.clone().into(),
            trusted_header: config.trusted_header,
            underscores: config.underscores,
            metrics,
            definition,
            counts: before.map_or_else(Arc::default, |before| before.counts.clone()),
            proxy_protocol,
            allows_http1,
            allows_h2,
            tls,
        }))
    }

    /// Whether connections are open that have come in by it, or by another of its number.
    pub fn is_in_use(&self) -> bool {
        self.counts.are_open()
    }

    /// What it speaks, the better first.
    pub fn protocols(&self) -> Vec<Protocol> {
        preferred(self.allows_http1, self.allows_h2)
    }

    /// Whether nobody comes in without a certificate.
    pub fn requires_certificates(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(tls::Terminator::requires_certificates)
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether anything that it serves with comes from files that may change.
    pub fn has_certificate_files(&self) -> bool {
        self.tls.as_ref().is_some_and(tls::Terminator::has_files)
    }

    /// Takes up certificates, keys, authorities, revocation lists and OCSP responses whose files have changed
    /// since the last call. Connections that are open stay as they are. Blocks on the file system.
    pub fn renew_certificates(&self) {
        if let Some(tls) = &self.tls {
            tls.renew(&self.name);
        }
    }

    /// Whether forwarding headers and PROXY headers from this peer are believed.
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(peer))
    }
}

/// What compiling a listener needs from around it.
pub struct Build<'a, 's> {
    pub base: &'a std::path::Path,
    pub metrics: ListenerMetrics,
    /// The listener in the configuration.
    pub subject: &'a mut Subject<'s>,
}

/// The better protocol first.
fn preferred(allows_http1: bool, allows_h2: bool) -> Vec<Protocol> {
    let each = [(Protocol::H2, allows_h2), (Protocol::Http11, allows_http1)];
    let allowed = each.into_iter().filter(|(_, is_allowed)| *is_allowed);
    allowed.map(|(protocol, _)| protocol).collect()
}

/// The connection behind a session, from the digest that the engine shows with every request on it.
pub fn connection_of(digest: &pingora::protocols::Digest) -> Option<&Arc<Connection>> {
    digest
        .proxy_digest
        .as_ref()?
        .user_data
        .as_ref()?
        .downcast_ref::<Arc<Connection>>()
}
