//! Several real Redis servers that belong together.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::redis::{Redis, free_address};
use super::wait::{eventually, within};

/// A master, its replica, and three sentinels that know a password and call the master `main`.
pub struct Watched {
    pub master: Redis,
    pub replica: Redis,
    sentinels: Vec<(SocketAddr, Child)>,
    /// Sentinels that the others know nothing of.
    cut_off: Vec<Child>,
    folder: TempDir,
}

/// What the sentinels, and the servers, want to be told.
pub const SENTINEL_PASSWORD: &str = "watching";
pub const SERVER_PASSWORD: &str = "serving";

impl Watched {
    pub async fn start() -> Watched {
        let auth = [
            "--requirepass",
            SERVER_PASSWORD,
            "--masterauth",
            SERVER_PASSWORD,
        ];
        let cli = ["-a", SERVER_PASSWORD];
        let master = Redis::run("redis-server", &auth, &cli).await;
        let port = master.address().port().to_string();
        let follow = [&auth[..], &["--replicaof", "127.0.0.1", &port]].concat();
        let replica = Redis::run("redis-server", &follow, &cli).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sentinels = (0..3).map(|_| sentinel(folder.path(), &port, SERVER_PASSWORD));
        let watched = Watched {
            master,
            replica,
            sentinels: sentinels.collect(),
            cut_off: Vec::new(),
            folder,
        };
        eventually("the replica has everything", async || {
            let said = watched.replica.ask(&["INFO", "replication"]).await;
            said.contains("master_link_status:up").then_some(())
        })
        .await;
        for (address, _) in &watched.sentinels {
            // Two of three can decide only where they know of each other.
            eventually("the sentinels know all", async || {
                let said = watched
                    .of_sentinel(*address, &["SENTINEL", "MASTER", "main"])
                    .await;
                let said: Vec<&str> = said.lines().collect();
                let is = |key: &str, value: &str| said.windows(2).any(|pair| pair == [key, value]);
                (is("num-other-sentinels", "2") && is("num-slaves", "1")).then_some(())
            })
            .await;
        }
        watched
    }

    /// Their URLs, as a list of TOML.
    pub fn sentinels(&self) -> String {
        let urls = self.sentinels.iter();
        let urls: Vec<String> = urls.map(|(at, _)| format!("\"redis://{at}\"")).collect();
        format!("[{}]", urls.join(", "))
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(|(address, _)| *address).collect()
    }

    /// Where another sentinel is, which no server lets in: whatever becomes of them, it says that this one is the master.
    pub async fn cut_off(&mut self, master: SocketAddr) -> SocketAddr {
        let port = master.port().to_string();
        let (address, child) = sentinel(self.folder.path(), &port, "guessed");
        self.cut_off.push(child);
        let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
        eventually("it says where the master is", async || {
            let said = self.of_sentinel(address, &question).await;
            said.contains(&port).then_some(())
        })
        .await;
        address
    }

    /// Until another server is the master.
    pub async fn has_failed_over(&self) {
        eventually("the replica is the master", async || {
            let role = self.replica.ask(&["ROLE"]).await;
            role.starts_with("master").then_some(())
        })
        .await;
    }

    async fn of_sentinel(&self, address: SocketAddr, command: &[&str]) -> String {
        let port = address.port().to_string();
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &port, "-a", SENTINEL_PASSWORD, "--no-auth-warning"]);
        let output = within("redis-cli", cli.args(command).kill_on_drop(true).output()).await;
        String::from_utf8_lossy(&output.expect("redis-cli").stdout).into_owned()
    }
}

fn sentinel(folder: &Path, master: &str, password: &str) -> (SocketAddr, Child) {
    let address = free_address();
    let file = folder.join(format!("sentinel-{}.conf", address.port()));
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nrequirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n\
         sentinel monitor main 127.0.0.1 {master} 2\nsentinel auth-pass main {password}\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
        address.port(),
        folder.display(),
    );
    std::fs::write(&file, text).expect("writable");
    let mut command = Command::new("redis-server");
    let command = command.arg(&file).arg("--sentinel");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    (
        address,
        child
            .spawn()
            .expect("redis-server; .ci/install installs it"),
    )
}

/// A cluster of three masters, which serves what it has also where one is gone.
pub struct RedisCluster {
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    pub async fn start() -> RedisCluster {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--cluster-require-full-coverage",
            "no",
        ];
        let mut nodes = Vec::new();
        while nodes.len() < 3 {
            let node = Redis::with(&options).await;
            // They talk to each other at a port 10000 above this one.
            if node.address().port() < 55_000 {
                nodes.push(node);
            }
        }
        let cluster = RedisCluster { nodes };
        let mut create = vec!["--cluster".to_owned(), "create".to_owned()];
        create.extend(cluster.nodes.iter().map(|node| node.address().to_string()));
        create.push("--cluster-yes".to_owned());
        cluster.manage(&create).await;
        for node in &cluster.nodes {
            eventually("the cluster is whole", async || {
                let said = node.ask(&["CLUSTER", "INFO"]).await;
                let is_whole =
                    said.contains("cluster_state:ok") && said.contains("cluster_known_nodes:3");
                is_whole.then_some(())
            })
            .await;
        }
        cluster
    }

    /// The URL of one node, as a list of TOML: the others are to be learned from it.
    pub fn seed(&self) -> String {
        format!("[\"{}\"]", self.nodes[0].url())
    }

    /// The number of a key's slot.
    pub async fn slot(&self, key: &str) -> String {
        self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// The node that has a key, by its place.
    pub async fn owner(&self, key: &str) -> usize {
        let slot: u64 = self.slot(key).await.parse().expect("a slot");
        for (index, node) in self.nodes.iter().enumerate() {
            let said = node.ask(&["CLUSTER", "NODES"]).await;
            let own = said
                .lines()
                .find(|line| line.contains("myself"))
                .expect("itself");
            let has = own
                .split(' ')
                .skip(8)
                .filter(|it| !it.starts_with('['))
                .any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    let first: u64 = first.parse().expect("a slot");
                    (first..=last.parse().expect("a slot")).contains(&slot)
                });
            if has {
                return index;
            }
        }
        panic!("nobody has {key}");
    }

    /// Moves slots from one node to another, as operators do.
    pub async fn move_slots(&self, count: usize, from: usize, to: usize) {
        let mut ids = Vec::new();
        for node in &self.nodes {
            ids.push(node.ask(&["CLUSTER", "MYID"]).await);
        }
        let any = self.nodes[0].address().to_string();
        let (count, from, to) = (count.to_string(), &ids[from], &ids[to]);
        let args = [
            "--cluster",
            "reshard",
            &any,
            "--cluster-from",
            from,
            "--cluster-to",
            to,
        ];
        let rest = ["--cluster-slots", &count, "--cluster-yes"];
        let args: Vec<String> = args
            .iter()
            .chain(&rest)
            .map(|&arg| arg.to_owned())
            .collect();
        self.manage(&args).await;
    }

    async fn manage(&self, args: &[String]) {
        let mut cli = Command::new("redis-cli");
        let output = within(
            "redis-cli --cluster",
            cli.args(args).kill_on_drop(true).output(),
        )
        .await;
        let output = output.expect("redis-cli");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}
