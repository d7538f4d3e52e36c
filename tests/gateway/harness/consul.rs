//! A real Consul, in a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::client::{Answer, Client};
use super::message::{Ask, request};
use super::pair::Protocol;
use super::redis::own_address;
use super::wait::{eventually, within};

/// As `make test` installs it.
const CONSUL: &str = concat!(
    env!("CARGO_TARGET_TMPDIR"),
    "/../tools/bullseye/usr/bin/consul"
);

/// An agent that is a server too, alone, on loopback ports. What it knows is on its disk. Dropping it ends it.
pub struct Consul {
    http: SocketAddr,
    args: Vec<String>,
    token: String,
    _folder: TempDir,
    child: Child,
}

impl Consul {
    pub async fn start() -> Consul {
        Consul::with("", "").await
    }

    /// With more settings, and a token that may do everything where they ask for one.
    pub async fn with(settings: &str, token: &str) -> Consul {
        assert!(
            Path::new(CONSUL).exists(),
            "{CONSUL}; make test installs it"
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let http = own_address();
        let ports = ["serf-lan", "serf-wan", "server"];
        let ports = ports.map(|name| format!("-{name}-port={}", own_address().port()));
        let unused = ["dns", "grpc"].map(|name| format!("-{name}-port=-1"));
        let place = format!("-data-dir={}", folder.path().display());
        let http_port = format!("-http-port={}", http.port());
        let own = ["bind", "client"].map(|name| format!("-{name}={}", http.ip()));
        let settings = format!(
            "disable_update_check = true\nperformance {{ raft_multiplier = 1 }}\n{settings}"
        );
        let file = folder.path().join("settings.hcl");
        std::fs::write(&file, settings).expect("a file");
        let file = format!("-config-file={}", file.display());
        let usual = [
            "agent",
            "-server",
            "-bootstrap-expect=1",
            "-disable-host-node-id",
            "-node=here",
        ];
        let args = usual.into_iter().map(str::to_owned);
        let args = args
            .chain(ports)
            .chain(unused)
            .chain(own)
            .chain([place, http_port, file]);
        let args: Vec<String> = args.collect();
        let consul = Consul {
            http,
            child: spawn(&args),
            args,
            token: token.to_owned(),
            _folder: folder,
        };
        consul.is_ready().await;
        consul
    }

    pub fn address(&self) -> SocketAddr {
        self.http
    }

    pub async fn stop(&mut self) {
        self.child.start_kill().expect("it runs");
        let ended = within("Consul ends", self.child.wait()).await;
        ended.expect("it was ours");
    }

    /// At the same address, with what it knew.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.args);
        self.is_ready().await;
    }

    /// Registers an instance of `users` that listens there, healthy until something else is said.
    pub async fn register(&self, at: &str) {
        self.register_with(at, json!({})).await;
    }

    /// As [`Consul::register`], with more said of it.
    pub async fn register_with(&self, at: &str, more: Value) {
        let (address, port) = at.rsplit_once(':').expect("an address");
        let port: u16 = port.parse().expect("a port");
        let mut service = json!({
            "Name": "users",
            "ID": at,
            "Address": address,
            "Port": port,
            "Check": { "CheckID": format!("check {at}"), "TTL": "1h", "Status": "passing" },
        });
        let more = more.as_object().expect("an object").clone();
        service.as_object_mut().expect("an object").extend(more);
        self.put("/v1/agent/service/register", service).await;
        // Only what was said of a check since is remembered over a restart.
        self.check(at, "passing").await;
    }

    pub async fn deregister(&self, at: &str) {
        let target = format!("/v1/agent/service/deregister/{at}");
        self.put(&target, json!(null)).await;
    }

    /// Its check says `passing`, `warning` or `critical` from now on.
    pub async fn check(&self, at: &str, status: &str) {
        let target = format!("/v1/agent/check/update/check%20{at}");
        self.put(&target, json!({ "Status": status })).await;
    }

    async fn put(&self, target: &str, body: Value) {
        let ask = request("PUT", target).body(super::body::full(body.to_string()));
        let answer = self.ask(ask).await.expect("Consul answers");
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, String> {
        let client = Client::of(self.http, Protocol::Http1);
        let ask = match self.token.is_empty() {
            true => ask,
            false => ask.header("x-consul-token", &self.token),
        };
        client.try_send(ask.host("localhost")).await
    }

    /// It has a leader, and the agent is in the catalog.
    async fn is_ready(&self) {
        eventually("Consul is ready", async || {
            let target = "/v1/health/service/consul?passing=1";
            let answer = self.ask(request("GET", target)).await.ok()?;
            let known = (answer.status == 200).then(|| answer.json())?;
            (known.as_array()?.len() == 1).then_some(())
        })
        .await;
    }
}

fn spawn(args: &[String]) -> Child {
    let mut command = Command::new(CONSUL);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("consul")
}
