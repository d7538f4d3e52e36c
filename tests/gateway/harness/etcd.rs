//! A real etcd, one server or several of a cluster, each in a process of its own.

use std::fmt;
use std::net::SocketAddr;
use std::process::Stdio;

use etcd_client::{
    Certificate as Pem, Client, CompactionOptions, ConnectOptions, Identity, Permission,
    PutOptions, TlsOptions,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::redis::own_address;
use super::tls::Authority;
use super::wait::{PATIENCE, eventually, within};

/// A server on a loopback port, told as its URL. Dropping it ends it.
pub struct Etcd {
    address: SocketAddr,
    scheme: &'static str,
    args: Vec<String>,
    /// How tests ask it.
    options: ConnectOptions,
    folder: TempDir,
    child: Child,
}

/// Who may read what is below `/services/`, once [`Etcd::lock`] was called.
pub const USER: (&str, &str) = ("gateway", "of the gateway");
const ROOT: (&str, &str) = ("root", "of root");

impl Etcd {
    pub async fn start() -> Etcd {
        Etcd::with(&[]).await
    }

    /// With more options of its own.
    pub async fn with(options: &[&str]) -> Etcd {
        let etcd = Etcd::spawn("http", own_address(), &[own_address()], 0, options);
        etcd.is_ready().await;
        etcd
    }

    /// Several that are one cluster.
    pub async fn cluster(size: usize) -> Vec<Etcd> {
        let peers: Vec<_> = (0..size).map(|_| own_address()).collect();
        let each = (0..size).map(|number| Etcd::spawn("http", own_address(), &peers, number, &[]));
        let cluster: Vec<Etcd> = each.collect();
        for etcd in &cluster {
            etcd.is_ready().await;
        }
        cluster
    }

    /// One that speaks TLS alone, to those who show a certificate of the authority, and whose tokens are good for so many
    /// seconds.
    pub async fn guarded(authority: &Authority, token_seconds: u32) -> Etcd {
        let address = own_address();
        // Relays to it are at the other one.
        let own = authority.issue(&[&address.ip().to_string(), "127.0.0.1"]);
        let (cert, key) = (own.cert_path.display(), own.key_path.display());
        let (cert, key, ca) = (cert.to_string(), key.to_string(), authority.path());
        let seconds = token_seconds.to_string();
        let files = ["--cert-file", &cert, "--key-file", &key];
        let clients = ["--client-cert-auth", "--trusted-ca-file", &ca];
        let options = [&files[..], &clients, &["--auth-token-ttl", &seconds]].concat();
        let mut etcd = Etcd::spawn("https", address, &[own_address()], 0, &options);
        let read = |path| std::fs::read(path).expect("a file");
        let tls = TlsOptions::new()
            .ca_certificate(Pem::from_pem(read(&ca)))
            .identity(Identity::from_pem(read(&cert), read(&key)));
        etcd.options = ConnectOptions::new().with_tls(tls);
        etcd.is_ready().await;
        etcd
    }

    /// The one of this number among those who speak to each other at these addresses.
    fn spawn(
        scheme: &'static str,
        address: SocketAddr,
        peers: &[SocketAddr],
        number: usize,
        options: &[&str],
    ) -> Etcd {
        super::install_cryptography();
        let folder = tempfile::tempdir().expect("a folder");
        let (url, peer) = (
            format!("{scheme}://{address}"),
            format!("http://{}", peers[number]),
        );
        let named = peers.iter().enumerate();
        let named: Vec<String> = named.map(|(of, at)| format!("n{of}=http://{at}")).collect();
        let (name, all) = (format!("n{number}"), named.join(","));
        let path = folder.path().display().to_string();
        let own = [
            ["--name", &name],
            ["--data-dir", &path],
            ["--listen-client-urls", &url],
            ["--advertise-client-urls", &url],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &all],
        ];
        let args: Vec<String> = [own.as_flattened(), &["--unsafe-no-fsync"], options]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        Etcd {
            address,
            scheme,
            child: run(&args),
            args,
            options: ConnectOptions::new(),
            folder,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it. What it has stays.
    pub async fn stop(&mut self) {
        self.child.start_kill().expect("it runs");
        let ended = within("etcd ends", self.child.wait()).await;
        ended.expect("it was ours");
    }

    /// Starts it at the same address, with what it had.
    pub async fn start_again(&mut self) {
        self.child = run(&self.args);
        self.is_ready().await;
    }

    /// Starts it at the same address, once it was stopped, as if it had never known anything.
    pub async fn start_empty(&mut self) {
        std::fs::remove_dir_all(self.folder.path().join("member")).expect("what it had");
        self.start_again().await;
    }

    /// It does nothing any more, and its connections stay.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on with what it was doing.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process(pid.expect("it runs"), signal).expect("it is ours");
    }

    async fn client(&self) -> Client {
        let connected = Client::connect([self.to_string()], Some(self.options.clone()));
        within("etcd", connected).await.expect("etcd")
    }

    /// Again and again, as a cluster that has lost its leader needs a while.
    pub async fn put(&self, key: &str, value: impl fmt::Display) {
        let mut client = self.client().await;
        let value = value.to_string();
        eventually("it is put", async || {
            client.put(key, value.clone(), None).await.ok()
        })
        .await;
    }

    /// A key that ends after so many seconds, unless its lease, whose number this gives, is kept.
    pub async fn put_for(&self, key: &str, value: impl fmt::Display, seconds: i64) -> i64 {
        let mut client = self.client().await;
        let lease = within("a lease", client.lease_grant(seconds, None)).await;
        let lease = lease.expect("a lease").id();
        let options = PutOptions::new().with_lease(lease);
        let put = client.put(key, value.to_string(), Some(options));
        within("it is put", put).await.expect("it is put");
        lease
    }

    pub async fn delete(&self, key: &str) {
        let mut client = self.client().await;
        let gone = within("it is deleted", client.delete(key, None)).await;
        assert_eq!(gone.expect("it is deleted").deleted(), 1, "{key}");
    }

    /// Forgets everything that happened until now.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let now = within("a word", client.get("x", None))
            .await
            .expect("a word");
        let revision = now.header().expect("a header").revision();
        let options = CompactionOptions::new().with_physical();
        let compacted = client.compact(revision, Some(options));
        within("it is compacted", compacted).await.expect("it is");
    }

    /// From now on only who logs in is let in: [`USER`], and these tests.
    pub async fn lock(&mut self) {
        let mut auth = self.client().await.auth_client();
        for (name, password) in [ROOT, USER] {
            auth.user_add(name, password, None).await.expect("a user");
            auth.role_add(name).await.expect("a role");
            auth.user_grant_role(name, name).await.expect("a role");
        }
        let permission = Permission::read("/services/").with_prefix();
        let granted = auth.role_grant_permission(USER.0, permission).await;
        granted.expect("a permission");
        auth.auth_enable().await.expect("it is locked");
        self.options = self.options.clone().with_user(ROOT.0, ROOT.1);
    }

    pub async fn change_password(&self, password: &str) {
        let mut auth = self.client().await.auth_client();
        let changed = auth.user_change_password(USER.0, password);
        within("it is changed", changed).await.expect("a password");
    }

    /// What a metric of it is.
    pub async fn metric(&self, name: &str) -> u64 {
        let metrics = super::Client::of(self.address, super::Protocol::Http1);
        let metrics = metrics.send(super::get("/metrics")).await.text();
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {name}"));
        value.parse::<f64>().expect("a number") as u64
    }

    async fn is_ready(&self) {
        eventually("etcd answers", async || {
            let asked = async {
                let connected = Client::connect([self.to_string()], Some(self.options.clone()));
                let mut client = connected.await.ok()?;
                client.get("x", None).await.ok()
            };
            tokio::time::timeout(PATIENCE / 10, asked)
                .await
                .ok()
                .flatten()
        })
        .await;
    }
}

impl fmt::Display for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address)
    }
}

fn run(args: &[String]) -> Child {
    let mut command = Command::new("etcd");
    // It speaks the protocol of its third version by itself.
    let command = command.args(args).stdin(Stdio::null());
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.kill_on_drop(true).spawn();
    child.expect("etcd; .ci/install installs etcd-server")
}
