//! A real Redis, in a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::wait::{eventually, within};

/// A server on a loopback port. Dropping it ends it.
pub struct Redis {
    address: SocketAddr,
    child: Child,
}

impl Redis {
    pub async fn start() -> Redis {
        // It takes no port from the kernel; one that was free a moment ago is.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = spawn(address);
        let redis = Redis { address, child };
        redis.is_ready().await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and everything that it had.
    pub async fn stop(&mut self) {
        self.child.start_kill().expect("it runs");
        let ended = within("Redis ends", self.child.wait()).await;
        ended.expect("it was ours");
    }

    /// Starts it at the same address, empty.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.address);
        self.is_ready().await;
    }

    /// Everything that it has, as it would be written to a file: all keys, with their values.
    pub async fn dump(&self) -> Vec<u8> {
        let keys = self.ask("*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n").await;
        let text = String::from_utf8_lossy(&keys).into_owned();
        let mut all = keys;
        for key in text.lines().filter(|line| line.starts_with("northgate:")) {
            for command in ["GET", "ZRANGE"] {
                let more = if command == "ZRANGE" {
                    "$1\r\n0\r\n$2\r\n-1\r\n"
                } else {
                    ""
                };
                let parts = if command == "ZRANGE" { 4 } else { 2 };
                let ask = format!(
                    "*{parts}\r\n${}\r\n{command}\r\n${}\r\n{key}\r\n{more}",
                    command.len(),
                    key.len()
                );
                all.extend(self.ask(&ask).await);
            }
        }
        all
    }

    /// How often a command was called.
    pub async fn calls(&self, command: &str) -> u64 {
        let stats = self
            .ask("*2\r\n$4\r\nINFO\r\n$12\r\ncommandstats\r\n")
            .await;
        let stats = String::from_utf8_lossy(&stats).into_owned();
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        let count = line.and_then(|line| line.split(',').next());
        count.map_or(0, |count| count.parse().expect("a number"))
    }

    async fn is_ready(&self) {
        eventually("Redis answers", async || {
            let mut stream = TcpStream::connect(self.address).await.ok()?;
            stream.write_all(b"PING\r\n").await.ok()?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await.ok()?;
            (answer == *b"+PONG\r\n").then_some(())
        })
        .await;
    }

    /// Sends a command, then one whose answer is known, and gives what came before that.
    async fn ask(&self, command: &str) -> Vec<u8> {
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await.expect("Redis");
            let echo = "*2\r\n$4\r\nECHO\r\n$17\r\nthe-end-of-it-all\r\n";
            let all = format!("{command}{echo}");
            stream.write_all(all.as_bytes()).await.expect("Redis");
            let end = b"the-end-of-it-all\r\n";
            let mut answer = Vec::new();
            while !answer.ends_with(end) {
                assert!(stream.read_buf(&mut answer).await.expect("Redis") > 0);
            }
            answer
        };
        within("Redis answers", asked).await
    }
}

fn spawn(address: SocketAddr) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no"]);
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command
        .spawn()
        .expect("redis-server; .ci/install installs it")
}
