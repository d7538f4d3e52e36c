//! Everything that is changed in the middle of the day, under load: nobody may notice.
//!
//! The real program runs, with clients that ask all the time, and with WebSockets and event streams that stay open.
//! The short form is a test like the others. `NORTHGATE_CHANGES=full` has it do as much as an operator does in a year;
//! how that is run stands in `loadtest/README.md`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use crate::harness::*;

/// How much of each is done.
#[derive(Clone, Copy, Debug)]
struct Extent {
    reloads: usize,
    upgrades: usize,
    certificates: usize,
    listeners: usize,
    /// WebSockets, and as many event streams.
    streams: usize,
}

impl Extent {
    fn wanted() -> Extent {
        let is_full = std::env::var("NORTHGATE_CHANGES").is_ok_and(|it| it == "full");
        match is_full {
            true => Extent {
                reloads: 100,
                upgrades: 10,
                certificates: 10,
                listeners: 5,
                streams: 200,
            },
            false => Extent {
                reloads: 10,
                upgrades: 2,
                certificates: 2,
                listeners: 2,
                streams: 20,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices() {
    let extent = Extent::wanted();
    let shop = Origin::http1(|seen| match &*seen.target {
        "/events" => events(),
        _ => text("shop"),
    });
    let chat = chat();
    let mut site = Site::open(&shop, &chat).await;
    let load = Load::begin(&site);
    let streams = Streams::open(&site, extent.streams).await;
    for number in 1..=extent.reloads {
        site.version += 1;
        site.reload().await;
        site.until_served(&format!("reload {number}")).await;
    }
    for number in 1..=extent.listeners {
        site.has_second = !site.has_second;
        site.idle = 30 + number;
        site.reload().await;
        site.until_second_is(site.has_second).await;
    }
    for _ in 1..=extent.certificates {
        let next = site.authority.issue(&["shop.test"]);
        site.certificate.replace_by(&next);
        site.until_shown(&next).await;
    }
    for number in 1..=extent.upgrades {
        site.version += 1;
        site.write();
        site.upgrade().await;
        site.until_served(&format!("upgrade {number}")).await;
    }
    let (asked, failures) = load.end().await;
    let cut = streams.end().await;
    println!(
        "{extent:?}: {asked} requests, {} failed; {} streams cut of {}",
        failures.len(),
        cut.len(),
        2 * extent.streams
    );
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(cut, Vec::<String>::new());
    assert!(asked > 100 * extent.upgrades, "there was no load: {asked}");
}

/// A gateway of several files and processes, and what is to be served.
struct Site {
    folder: tempfile::TempDir,
    authority: Authority,
    certificate: Certificate,
    shop: String,
    chat: String,
    version: usize,
    has_second: bool,
    idle: usize,
    plain: SocketAddr,
    tls: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    child: Child,
}

impl Site {
    async fn open(shop: &Origin, chat: &RawOrigin) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let certificate = authority.issue(&["shop.test"]);
        // Held until the gateway has them, so that nobody else is given these ports.
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (plain, tls) = (free(), free());
        let [plain_at, tls_at] = [&plain, &tls].map(|it| it.local_addr().unwrap());
        drop((plain, tls));
        let mut site = Site {
            authority,
            certificate,
            shop: shop.to_string(),
            chat: chat.to_string(),
            version: 1,
            has_second: false,
            idle: 30,
            plain: plain_at,
            tls: tls_at,
            log: Arc::default(),
            child: Command::new("true").spawn().unwrap(),
            folder,
        };
        site.write();
        site.child = site.start();
        site.until_served("the start").await;
        site
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("site.toml")
    }

    fn second(&self) -> PathBuf {
        self.folder.path().join("second.sock")
    }

    fn write(&self) {
        let folder = self.folder.path().display();
        let second = match self.has_second {
            true => format!("[listeners.second]\nbind = \"unix:{folder}/second.sock\"\n"),
            false => String::new(),
        };
        let text = format!(
            "[gateway]\naccess_log = \"off\"\nshutdown_grace = \"10m\"\n\
             [admin]\nbind = \"unix:{folder}/admin.sock\"\n\
             [listeners.plain]\nbind = \"{}\"\nlimits = {{ connections_per_ip = 10000 }}\n\
             [listeners.tls]\nbind = \"{}\"\nlimits = {{ connections_per_ip = 10000 }}\ntls = {{ certificates = [{}] }}\n\
             timeouts = {{ keepalive = \"{}s\" }}\n{second}\
             [upstreams.shop]\nendpoints = [\"{}\"]\n[upstreams.chat]\nendpoints = [\"{}\"]\n\
             [routes.shop]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n\
             [routes.shop.policies]\nresponse_headers = {{ set = {{ x-version = \"{}\" }} }}\n\
             [routes.chat]\nmatch = {{ path = \"/chat\" }}\nupstream = \"chat\"\n",
            self.plain,
            self.tls,
            self.certificate.entry(),
            self.idle,
            self.shop,
            self.chat,
            self.version
        );
        let beside = self.folder.path().join("site.toml.part");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, self.file()).unwrap();
    }

    fn start(&self) -> Child {
        let mut child = northgate(&["run"], &self.file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        child
    }

    async fn reload(&self) {
        self.write();
        self.command("reload").await;
    }

    async fn upgrade(&self) {
        self.command("upgrade").await;
    }

    async fn command(&self, command: &str) {
        let mut command = northgate(&[command], &self.file());
        let run = tokio::task::spawn_blocking(move || command.output().unwrap());
        let run = within("the command ends", run).await.unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(
            run.status.success(),
            "{said}\n{}",
            self.log.lock().unwrap().join("\n")
        );
    }

    async fn until_served(&self, after: &str) {
        let client = Client::of(self.plain, Protocol::Http1);
        let version = self.version.to_string();
        eventually(&format!("version {version} after {after}"), async || {
            // Before the first start nobody answers.
            let answer = client.try_send(get("/version")).await.ok()?;
            (answer.header("x-version") == Some(&version)).then_some(())
        })
        .await;
    }

    async fn until_second_is(&self, there: bool) {
        let socket = self.second();
        eventually("the second listener", async || {
            let client = Client::of_socket(&socket, Protocol::Http1);
            let is_there = client
                .try_send(get("/"))
                .await
                .is_ok_and(|it| it.status == 200);
            (is_there == there).then_some(())
        })
        .await;
    }

    async fn until_shown(&self, certificate: &Certificate) {
        let config = Arc::new(self.authority.client_config());
        eventually("the new certificate", async || {
            let stream = TcpStream::connect(self.tls).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(config.clone());
            let stream = connector
                .connect("shop.test".try_into().unwrap(), stream)
                .await
                .unwrap();
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            (shown == certificate.der).then_some(())
        })
        .await;
    }
}

impl Drop for Site {
    /// Ends every process that has come of the first, which they are told apart by the name of their file.
    fn drop(&mut self) {
        let file = self.file();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let path = file.as_os_str().as_encoded_bytes();
            if arguments.windows(path.len()).any(|it| it == path) {
                let id = process.file_name();
                let _ = Command::new("kill").arg("-9").arg(id).status();
            }
        }
        let _ = self.child.wait();
    }
}

fn northgate(arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_northgate"));
    command.args(arguments).arg("-c").arg(file);
    command.env_remove("NORTHGATE_LOG");
    command
}

/// Clients that ask one thing after the other: on kept connections and on new ones, in both protocols.
struct Load {
    is_over: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    fn begin(site: &Site) -> Load {
        let mut load = Load {
            is_over: Arc::default(),
            asked: Arc::default(),
            clients: JoinSet::new(),
        };
        let (plain, tls, config) = (site.plain, site.tls, site.authority.client_config());
        for keeps in [true, false] {
            for protocol in [Protocol::Http1, Protocol::H2] {
                let config = config.clone();
                load.ask(keeps, move || Client::of(plain, protocol));
                load.ask(keeps, move || {
                    Client::over_tls(tls, protocol, "shop.test", config.clone())
                });
            }
        }
        load
    }

    fn ask(&mut self, keeps: bool, connect: impl Fn() -> Client + Send + 'static) {
        let (is_over, asked) = (self.is_over.clone(), self.asked.clone());
        self.clients.spawn(async move {
            let mut failures = Vec::new();
            let mut client = connect();
            while !is_over.load(Ordering::Relaxed) {
                if !keeps {
                    client = connect();
                }
                let ask = get("/small").host("shop.test");
                match tokio::time::timeout(PATIENCE, client.try_send(ask)).await {
                    Ok(Ok(answer)) if answer.status == 200 && answer.text() == "shop" => {}
                    other => failures.push(format!("{other:?}")),
                }
                asked.fetch_add(1, Ordering::Relaxed);
                // A steady load and not the heaviest.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            failures
        });
    }

    /// How many requests there were, and what became of those that failed.
    async fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let failures = within("the clients end", self.clients.join_all()).await;
        (self.asked.load(Ordering::Relaxed), failures.concat())
    }
}

/// Streams that stay open until they are told otherwise.
struct Streams {
    is_over: Arc<AtomicBool>,
    open: JoinSet<Option<String>>,
}

impl Streams {
    async fn open(site: &Site, count: usize) -> Streams {
        let mut streams = Streams {
            is_over: Arc::default(),
            open: JoinSet::new(),
        };
        for number in 0..count {
            let stream = TcpStream::connect(site.plain).await.unwrap();
            let connecting = client_async("ws://shop.test/chat", stream);
            let (socket, _) = within("a WebSocket", connecting).await.unwrap();
            streams.open.spawn(talk(socket, streams.is_over.clone()));
            let protocol = [Protocol::Http1, Protocol::H2][number % 2];
            let client = Client::of(site.plain, protocol);
            let events = client.open(get("/events")).await;
            let is_over = streams.is_over.clone();
            streams.open.spawn(async move {
                let cut = listen(events, is_over).await;
                drop(client);
                cut
            });
        }
        streams
    }

    /// Why streams ended that should not have.
    async fn end(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = within("the streams end", self.open.join_all()).await;
        ended.into_iter().flatten().collect()
    }
}

async fn talk(
    mut socket: tokio_tungstenite::WebSocketStream<TcpStream>,
    is_over: Arc<AtomicBool>,
) -> Option<String> {
    let mut said = 0;
    while !is_over.load(Ordering::Relaxed) {
        said += 1;
        let word = Message::text(said.to_string());
        if let Err(error) = socket.send(word.clone()).await {
            return Some(format!("WebSocket: {error}"));
        }
        match tokio::time::timeout(PATIENCE, socket.next()).await {
            Ok(Some(Ok(echo))) if echo == word => {}
            other => return Some(format!("WebSocket: {other:?}")),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

async fn listen(mut events: Incoming, is_over: Arc<AtomicBool>) -> Option<String> {
    while !is_over.load(Ordering::Relaxed) {
        match tokio::time::timeout(PATIENCE, events.try_chunk()).await {
            Ok(Ok(Some(_))) => {}
            other => return Some(format!("event stream: {other:?}")),
        }
    }
    None
}

/// An event every tenth of a second, for as long as anybody listens.
fn events() -> http::Response<Body> {
    let (sender, body) = channel();
    tokio::spawn(async move {
        while sender.send(Bytes::from_static(b"data: tick\n\n")).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    reply(200, &[("content-type", "text/event-stream")], body)
}

/// Says everything again.
fn chat() -> RawOrigin {
    RawOrigin::serving(move |stream, _| async move {
        let mut socket = accept_async(stream).await.expect("a WebSocket");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                break;
            }
        }
    })
}
