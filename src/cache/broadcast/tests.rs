//! Gateways that tell each other over a real server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use redis::{Cmd, Value, cmd};
use tempfile::TempDir;

use super::stream::Message;
use super::*;
use crate::observability::Metrics;
use crate::stores::RedisConfig;
use crate::text::{Diagnostics, Sources, Span, Spanned, Subject};

const TIMEOUT: Duration = Duration::from_millis(500);
const WITHIN: Duration = Duration::from_secs(20);

/// A server that ends with the test.
struct Server {
    address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Server {
    async fn start() -> Server {
        Server::with(&[]).await
    }

    async fn follow(other: &Server) -> Server {
        let (ip, port) = (other.address.ip().to_string(), other.address.port());
        Server::with(&["--replicaof", &ip, &port.to_string()]).await
    }

    async fn with(options: &[&str]) -> Server {
        // Of this process alone: nobody takes the port while what was there is stopped.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
        let free = TcpListener::bind((ip, 0)).expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server {
            address,
            child: spawn(address, folder.path(), options),
            folder,
        };
        server.is_ready().await;
        server
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// At the same address, empty.
    async fn start_again(&mut self) {
        self.child = spawn(self.address, self.folder.path(), &[]);
        self.is_ready().await;
    }

    fn store(&self) -> Arc<Redis> {
        store_at(self.address)
    }

    async fn ask(&self, command: &Cmd) -> Value {
        let answer = self.store().command(command).await;
        answer.expect("it answers")
    }

    async fn is_ready(&self) {
        eventually("the server answers", async || {
            let answer = self.store().command::<Value>(&cmd("PING")).await;
            answer.is_ok()
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(at: SocketAddr, folder: &Path, options: &[&str]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", &at.ip().to_string(), "--save", ""]);
    command.args(["--port", &at.port().to_string(), "--dir"]);
    command.arg(folder).args(options);
    // Streams are cut where they should be, and who follows need not wait.
    command.args(["--stream-node-max-entries", "1"]);
    command.args(["--repl-diskless-sync-delay", "0"]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command
        .spawn()
        .expect("redis-server; .ci/install installs it")
}

fn store_at(address: SocketAddr) -> Arc<Redis> {
    let span = Span::start_of(Sources::new().add("a.toml", ""));
    let config = RedisConfig {
        url: Some(Spanned::new(format!("redis://{address}"), span)),
        sentinel: None,
        cluster: None,
        username: None,
        password: None,
        ca: None,
        client_certificate: None,
        timeout: Some("500ms".parse().expect("a duration")),
    };
    let mut diagnostics = Diagnostics::new();
    let subject = &mut Subject::new(&mut diagnostics, "redis");
    let config = Spanned::new(config, span);
    let metrics = Metrics::new().store("a");
    let store = Redis::build(&config, Path::new("."), metrics, subject);
    Arc::new(store.expect("a store"))
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let all = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, all).await.expect(what);
}

/// One that writes down what it hears.
#[derive(Default)]
struct Notes(Mutex<Vec<Purge>>);

impl Audience for Notes {
    fn hear(&self, purge: &Purge) {
        self.0.lock().expect("a list").push(*purge);
    }
}

/// A gateway.
struct Node {
    notes: Arc<Notes>,
    broadcast: Broadcast,
}

impl Node {
    fn with(store: Arc<Redis>, kept: usize, memory: Memory) -> Node {
        let notes = Arc::new(Notes::default());
        let channel = Channel {
            store,
            name: "test".into(),
            kept,
        };
        let broadcast = Broadcast::start(channel, notes.clone(), memory);
        Node { notes, broadcast }
    }

    /// One that listens and has forgotten that it began.
    async fn start(server: &Server) -> Node {
        let node = Node::with(server.store(), KEPT, Memory::default());
        node.hears(&[Purge::all()]).await;
        node
    }

    /// It has heard this, and nothing else, since the last time.
    async fn hears(&self, expected: &[Purge]) {
        eventually(&format!("{expected:?} is heard"), async || {
            self.notes.0.lock().expect("a list").len() >= expected.len()
        })
        .await;
        let mut notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(std::mem::take(&mut *notes), expected);
    }

    /// It has heard this by now, and gives all that it has.
    async fn hears_at_last(&self, purge: Purge) -> Vec<Purge> {
        let heard = || self.notes.0.lock().expect("a list").clone();
        let what = format!("{purge:?} is heard");
        eventually(&what, async || heard().contains(&purge)).await;
        heard()
    }

    fn forgets(&self) {
        self.notes.0.lock().expect("a list").clear();
    }

    async fn tells(&self, purge: Purge) {
        let told = self.broadcast.publish(&purge).await;
        assert!(matches!(told, Told::All), "{told:?}");
    }

    /// Whatever is on its way has come.
    async fn has_heard_all_of(&self, other: &Node) {
        eventually("all is heard", async || {
            self.broadcast.last() == other.broadcast.last()
        })
        .await;
    }

    fn has_heard_nothing(&self) {
        assert_eq!(*self.notes.0.lock().expect("a list"), []);
    }
}

fn tag(number: usize) -> Purge {
    Purge::tag(number.to_string().as_bytes())
}

fn tags(numbers: std::ops::Range<usize>) -> Vec<Purge> {
    numbers.map(tag).collect()
}

#[tokio::test]
async fn what_one_tells_the_others_hear_in_order_and_once() {
    let server = Server::start().await;
    let (a, b) = (Node::start(&server).await, Node::start(&server).await);
    let c = Node::start(&server).await;
    for number in 0..50 {
        a.tells(tag(number)).await;
    }
    b.hears(&tags(0..50)).await;
    c.hears(&tags(0..50)).await;
    b.tells(tag(50).soft()).await;
    a.hears(&[tag(50).soft()]).await;
    a.has_heard_all_of(&b).await;
    b.has_heard_nothing();
    let counts = a.broadcast.counts();
    assert_eq!((counts.told, counts.received, counts.missed), (50, 1, 0));
    assert_eq!((counts.failed, counts.untold, counts.caught_up), (0, 0, 0));
    assert!(counts.heard.is_some());
}

#[tokio::test]
async fn who_was_away_catches_up_where_he_was() {
    let server = Server::start().await;
    let (a, b) = (Node::start(&server).await, Node::start(&server).await);
    a.tells(tag(0)).await;
    b.hears(&[tag(0)]).await;
    b.has_heard_all_of(&a).await;
    let memory = b.broadcast.memory();
    drop(b);
    for number in 1..600 {
        a.tells(tag(number)).await;
    }
    let b = Node::with(server.store(), KEPT, memory);
    b.hears(&tags(1..600)).await;
    b.has_heard_all_of(&a).await;
    let counts = b.broadcast.counts();
    assert_eq!((counts.caught_up, counts.missed), (599, 0));
}

#[tokio::test]
async fn who_was_away_for_too_long_purges_everything() {
    let server = Server::start().await;
    let a = Node::with(server.store(), 10, Memory::default());
    let b = Node::start(&server).await;
    a.tells(tag(0)).await;
    b.hears(&[tag(0)]).await;
    b.has_heard_all_of(&a).await;
    let memory = b.broadcast.memory();
    drop(b);
    for number in 1..40 {
        a.tells(tag(number)).await;
    }
    let b = Node::with(server.store(), 10, memory);
    b.hears(&[Purge::all()]).await;
    a.tells(tag(40)).await;
    b.hears(&[tag(40)]).await;
    assert_eq!(b.broadcast.counts().missed, 1);
}

#[tokio::test]
async fn a_store_that_loses_everything_is_noticed_by_whoever_listens() {
    let server = Server::start().await;
    let (a, b) = (Node::start(&server).await, Node::start(&server).await);
    a.tells(tag(0)).await;
    b.hears(&[tag(0)]).await;
    server.ask(&cmd("FLUSHALL")).await;
    // Both without a word of anybody, and by the next that is told.
    for node in [&a, &b] {
        assert_eq!(node.hears_at_last(Purge::all()).await[0], Purge::all());
    }
    a.tells(tag(1)).await;
    b.hears_at_last(tag(1)).await;
    b.has_heard_all_of(&a).await;
    b.forgets();
    server.ask(&cmd("FLUSHALL")).await;
    a.tells(tag(2)).await;
    assert_eq!(b.hears_at_last(Purge::all()).await[0], Purge::all());
    assert!(b.broadcast.counts().missed >= 2);
}

#[tokio::test]
async fn what_cannot_be_told_is_told_later_and_nobody_waits() {
    let mut server = Server::start().await;
    let (a, b) = (Node::start(&server).await, Node::start(&server).await);
    server.stop();
    let began = std::time::Instant::now();
    for number in 0..20 {
        let told = a.broadcast.publish(&tag(number)).await;
        assert!(matches!(told, Told::LocalOnly(_)), "{told:?}");
    }
    assert!(began.elapsed() < TIMEOUT * 4, "{:?}", began.elapsed());
    assert_eq!(a.broadcast.counts().untold, 20);
    assert_eq!(a.broadcast.drain(Duration::ZERO).await, 20);
    assert_eq!(a.broadcast.memory().untold, tags(0..20));
    server.start_again().await;
    assert_eq!(a.broadcast.drain(WITHIN).await, 0);
    // The server is another one, so that something may have been missed.
    b.hears_at_last(Purge::all()).await;
    a.tells(tag(20)).await;
    b.hears_at_last(tag(20)).await;
    assert!(a.broadcast.counts().failed > 0);
}

#[tokio::test]
async fn what_a_failover_loses_is_told_again() {
    let old = Server::start().await;
    let new = Server::follow(&old).await;
    // Gateways go by an address that leads to the one, and then to the other.
    let gate = Gate::to(old.address).await;
    let (a, b) = (gate.node().await, gate.node().await);
    a.tells(tag(0)).await;
    b.hears(&[tag(0)]).await;
    let (replica, mut length) = (new.store(), cmd("XLEN"));
    length.arg("northgate:purges:test");
    let copied = async || {
        let length = replica.command::<u64>(&length).await;
        length.is_ok_and(|length| length == 2)
    };
    eventually("the replica has it", copied).await;
    // It hears nothing any more, and B is away, when A tells the next.
    let mut promote = cmd("REPLICAOF");
    promote.arg("NO").arg("ONE");
    new.ask(&promote).await;
    let memory = b.broadcast.memory();
    drop(b);
    a.tells(tag(1)).await;
    gate.lead_to(new.address);
    let b = Node::with(gate.store(), KEPT, memory);
    b.hears_at_last(tag(1)).await;
}

/// As by a failover before the one who told it has read it himself: for him there is no gap.
#[tokio::test]
async fn what_does_not_come_back_is_told_again() {
    let id = |number: u64| format!("{number}-0").parse::<MessageId>().expect("an id");
    let outbox = Arc::new(Outbox::new(&tags(0..4)));
    let stream = Stream::new("test", KEPT);
    let store = store_at(([127, 0, 0, 1], 1).into());
    let notes = Arc::new(Notes::default());
    let ear = Ear::new((store, stream), outbox.clone(), notes.clone(), Some(id(1)));
    let tells = async |number| {
        let next = outbox.next().await;
        outbox.was_told(&next, id(number));
    };
    let message = |number, before, node| Message {
        id: id(number),
        before: Some(id(before)),
        node,
        purge: Some(tag(9)),
    };
    // The first is read before and the second after it is known that it was told; the third never.
    let heard = ear.take(id(1), &message(2, 1, ear.node()));
    tells(2).await;
    tells(3).await;
    let heard = ear.take(heard, &message(3, 2, ear.node()));
    tells(4).await;
    assert_eq!(outbox.untold(), [tag(3)]);
    let heard = ear.take(heard, &message(5, 3, ear.node() ^ 1));
    assert_eq!(outbox.untold(), [tag(2), tag(3)]);
    // Told again it comes back, and is not told once more.
    tells(6).await;
    let heard = ear.take(heard, &message(6, 5, ear.node()));
    ear.take(heard, &message(7, 6, ear.node() ^ 1));
    assert_eq!(outbox.untold(), [tag(3)]);
    assert_eq!(*notes.0.lock().expect("a list"), [tag(9), tag(9)]);
    assert_eq!(ear.counts().missed, 0);
}

#[tokio::test]
async fn what_a_later_version_tells_is_about_everything() {
    let server = Server::start().await;
    let a = Node::start(&server).await;
    let last = a.broadcast.last().expect("it listens").to_string();
    let mut add = cmd("XADD");
    add.arg("northgate:purges:test").arg("*");
    add.arg("b")
        .arg(last)
        .arg("n")
        .arg(7)
        .arg("d")
        .arg(b"\x09what");
    server.ask(&add).await;
    a.hears(&[Purge::all()]).await;
    assert_eq!(a.broadcast.counts().missed, 0);
}

#[tokio::test]
async fn who_ends_leaves_nothing_behind() {
    let server = Server::start().await;
    let a = Node::start(&server).await;
    let clients = async || {
        let mut list = cmd("CLIENT");
        list.arg("LIST");
        let list = server.store().command::<String>(&list).await;
        list.expect("it answers").matches("cmd=xread").count()
    };
    eventually("it listens", async || clients().await == 1).await;
    drop(a);
    eventually("it listens no more", async || clients().await == 0).await;
}

/// A port that leads to a server, which can be another one later.
struct Gate {
    own: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    lines: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Gate {
    async fn to(target: SocketAddr) -> Gate {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let own = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(target));
        let lines: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
        let (to, open) = (target.clone(), lines.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let to = *to.lock().expect("an address");
                let line = tokio::spawn(async move {
                    if let Ok(mut server) = tokio::net::TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                open.lock().expect("a list").push(line.abort_handle());
            }
        });
        Gate { own, target, lines }
    }

    fn store(&self) -> Arc<Redis> {
        store_at(self.own)
    }

    async fn node(&self) -> Node {
        let node = Node::with(self.store(), KEPT, Memory::default());
        node.hears(&[Purge::all()]).await;
        node
    }

    /// What is open is cut.
    fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().expect("an address") = target;
        let mut lines = self.lines.lock().expect("a list");
        lines.drain(..).for_each(|line| line.abort());
    }
}
