//! The gateway under test, in this process.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

use northgate::config::{Configuration, load_text, recompile};
use northgate::observability::Metrics;
use northgate::routing::Snapshot;
use northgate::text::BindAddress;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Client};
use super::message::Ask;
use super::pair::Protocol;
use super::wait::{eventually, within};

/// A running gateway. Dropping it ends it at once.
pub struct Gateway {
    inner: northgate::gateway::Gateway,
    metrics: Metrics,
    folder: TempDir,
}

/// A configuration whose `$names` are being filled in.
pub struct Draft {
    toml: String,
    names: Vec<(String, String)>,
}

impl Gateway {
    /// Starts from a configuration. What it leaves unsaid is added: a listener `public` and the admin listener,
    /// both on ports that the kernel hands out. The access log goes to a file that [`Gateway::log_of`] reads.
    pub async fn start(toml: &str) -> Gateway {
        Gateway::draft(toml).start().await
    }

    /// A configuration with `$name`s in it, each to be filled in by [`Draft::with`].
    pub fn draft(toml: &str) -> Draft {
        Draft {
            toml: toml.to_owned(),
            names: Vec::new(),
        }
    }

    /// What serves now, without holding it.
    pub fn snapshot(&self) -> std::sync::Weak<Snapshot> {
        std::sync::Arc::downgrade(&self.inner.snapshot())
    }

    /// The address of the listener of this name.
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        let mut addresses = self.inner.addresses().into_iter();
        match addresses.find(|(name, _)| **name == *listener) {
            Some((_, BindAddress::Socket(address))) => address,
            other => panic!("listener {listener} is at {other:?}"),
        }
    }

    /// The address of the listener `public`.
    pub fn address(&self) -> SocketAddr {
        self.address_of("public")
    }

    /// A client of the listener `public`, in clear text.
    pub fn client(&self, protocol: Protocol) -> Client {
        Client::of(self.address(), protocol)
    }

    pub fn http1(&self) -> Client {
        self.client(Protocol::Http1)
    }

    pub fn http2(&self) -> Client {
        self.client(Protocol::H2)
    }

    /// Asks the admin listener, by the name that this machine has for itself.
    pub async fn admin(&self, ask: Ask) -> Answer {
        self.admin_client().send(ask.host("localhost")).await
    }

    pub fn admin_address(&self) -> SocketAddr {
        let Some(BindAddress::Socket(address)) = self.inner.admin_address() else {
            panic!("there is no admin listener");
        };
        address
    }

    pub fn admin_client(&self) -> Client {
        Client::of(self.admin_address(), Protocol::Http1)
    }

    pub async fn metrics(&self) -> String {
        self.admin(super::get("/metrics")).await.text()
    }

    /// Connections of the listener `public` that were closed for this reason.
    pub async fn closed(&self, reason: &str) -> u64 {
        let series = format!(
            "northgate_connections_closed_total{{northgate_listener=\"public\",reason=\"{reason}\"}} "
        );
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.expect("the series").parse().expect("a number")
    }

    /// The access log's line of the request that was answered so.
    pub async fn log_of(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").expect("x-request-id");
        self.log_where("the line of the request", |line| line["request_id"] == id)
            .await
    }

    /// The first line of the access log that is as wanted.
    pub async fn log_where(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("access log: {what}"), async || {
            self.log().into_iter().find(&is_wanted)
        })
        .await
    }

    /// The complete lines that the access log has now.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log"));
        let text = text.unwrap_or_default();
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
            .collect()
    }

    /// Stops it; true where every request in flight has ended.
    pub async fn stop(self) -> bool {
        within("the gateway stops", self.inner.stop()).await
    }
}

impl Draft {
    /// Fills in `$name`.
    pub fn with(mut self, name: &str, value: impl Display) -> Draft {
        self.names.push((format!("${name}"), value.to_string()));
        // Longer names first: `$shop` must not take the beginning of `$shop_ca`.
        self.names
            .sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        self
    }

    pub async fn start(self) -> Gateway {
        self.try_start()
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Draft::start`], where the start may fail. A configuration that is no good panics either way.
    pub async fn try_start(self) -> Result<Gateway, String> {
        super::install_cryptography();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let metrics = Metrics::new();
        let configuration = self.compile(folder.path(), &metrics, None);
        let started = northgate::gateway::Gateway::start(configuration, metrics.clone(), 2);
        let inner = within("the gateway starts", started)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Gateway {
            inner,
            metrics,
            folder,
        })
    }

    /// Has a gateway that runs serve this from now on, as a reload does. The error where that is refused; a
    /// configuration that is no good panics.
    pub async fn apply(self, gateway: &mut Gateway) -> Result<(), String> {
        let before = gateway.inner.snapshot();
        let configuration = self.compile(gateway.folder.path(), &gateway.metrics, Some(&before));
        let applied = gateway.inner.apply(configuration);
        within("it is applied", applied)
            .await
            .map_err(|error| error.to_string())
    }

    fn compile(self, folder: &Path, metrics: &Metrics, before: Option<&Snapshot>) -> Configuration {
        let mut toml = self.toml;
        for (name, value) in &self.names {
            assert!(toml.contains(name.as_str()), "there is no {name} in {toml}");
            toml = toml.replace(name.as_str(), value);
        }
        let path = folder.join("access.log").display().to_string();
        if !toml.contains("[gateway]") {
            toml.push_str("\n[gateway]\n");
        }
        if !toml.contains("access_log") {
            let log = "[gateway]\naccess_log = { path = \"access.log\" }\n";
            toml = toml.replacen("[gateway]\n", &log.replace("access.log", &path), 1);
        }
        if !toml.contains("[listeners.") {
            toml.push_str("\n[listeners.public]\nbind = \"127.0.0.1:0\"\n");
        }
        if !toml.contains("[admin]") {
            toml.push_str("\n[admin]\nbind = \"127.0.0.1:0\"\n");
        }
        let name = folder.join("gateway.toml").display().to_string();
        let mut loaded = load_text(&name, &toml);
        let compiled = recompile(&mut loaded, metrics, before);
        compiled.unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(&loaded.sources, false)))
    }
}
