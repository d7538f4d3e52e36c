//! Upgrades that succeed: nobody notices.

#[path = "../gateway/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests of the gateway, which use more of it"
)]
mod harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use self::harness::{Client, Origin, Protocol, RawOrigin, channel, get, reply, text, within};
use crate::running::until;
use crate::service::{Service, lives, post};

const UPGRADES: usize = 3;
const SOCKETS: usize = 20;
const STREAMS: usize = 20;

/// Says everything back.
fn echo() -> RawOrigin {
    RawOrigin::serving(|stream, _| async move {
        let mut socket = accept_async(stream).await.expect("a WebSocket");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

async fn open_socket(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let connecting = client_async("ws://shop.test/chat", stream);
    within("the handshake", connecting).await.unwrap().0
}

async fn assert_echoes(socket: &mut WebSocketStream<TcpStream>) {
    socket.send(Message::text("still here")).await.unwrap();
    let answer = within("an echo", socket.next()).await;
    assert_eq!(answer.unwrap().unwrap(), Message::text("still here"));
}

/// Asks again and again until it is told to stop; how often it was answered. Any failure is one too many.
async fn ask(
    address: SocketAddr,
    protocol: Protocol,
    is_kept: bool,
    is_over: Arc<AtomicBool>,
) -> usize {
    let mut client = Client::of(address, protocol);
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        if !is_kept {
            client = Client::of(address, protocol);
        }
        let answer = loop {
            match within("a response", client.try_send(get("/shop"))).await {
                Ok(answer) => break answer,
                // The client's own word for a request that it has not sent: its connection was told to end just before.
                Err(error) if error.starts_with("operation was canceled") => {}
                Err(error) => panic!("{protocol:?}, kept: {is_kept}: {error}"),
            }
        };
        assert_eq!((answer.status, &*answer.text()), (200, "ok"));
        answered += 1;
    }
    answered
}

/// The whole of it in small: steady requests over kept and new connections of both protocols, open WebSockets and
/// streams of events, and one upgrade after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_under_load() {
    let shop = Origin::http1(|_| text("ok"));
    let chat = echo();
    let (sources, taken) = std::sync::mpsc::channel();
    let events = Origin::http1(move |_| {
        let (source, body) = channel();
        sources.send(source).unwrap();
        reply(200, &[("content-type", "text/event-stream")], body)
    });
    let toml = format!(
        r#"
[gateway]
access_log = "off"
shutdown_grace = "60s"

[admin]
bind = "127.0.0.1:0"

[listeners.public]
bind = "127.0.0.1:0"

[upstreams.shop]
endpoints = ["{shop}"]

[upstreams.chat]
endpoints = ["{chat}"]

[upstreams.events]
endpoints = ["{events}"]

[routes.ping]
match = {{ path = "/ping" }}
respond = {{ body = "pong" }}

[routes.shop]
match = {{ path = "/shop" }}
upstream = "shop"

[routes.chat]
match = {{ path = "/chat" }}
upstream = "chat"

[routes.events]
match = {{ path = "/events" }}
upstream = "events"
"#
    );
    let start = tokio::task::spawn_blocking(move || Service::start(&toml));
    let mut service = start.await.unwrap();
    let address: SocketAddr = service.address.parse().unwrap();

    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = open_socket(address).await;
        assert_echoes(&mut socket).await;
        sockets.push(socket);
    }
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let client = Client::of(address, Protocol::Http1);
        streams.push((client.open(get("/events")).await, client));
    }
    let sources: Vec<_> = (0..STREAMS).map(|_| taken.recv().unwrap()).collect();

    let is_over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for protocol in [Protocol::Http1, Protocol::H2] {
        for is_kept in [true, true, false] {
            load.spawn(ask(address, protocol, is_kept, is_over.clone()));
        }
    }

    for upgrade in 0..UPGRADES {
        let upgraded = tokio::task::spawn_blocking(move || {
            service.upgraded();
            service
        });
        service = upgraded.await.unwrap();
        for socket in &mut sockets {
            assert_echoes(socket).await;
        }
        for (source, (stream, _)) in sources.iter().zip(&mut streams) {
            let event = format!("data: {upgrade}\n\n");
            assert!(source.send(event.clone()).await);
            assert_eq!(stream.chunk().await.unwrap(), event);
        }
        // Under the new process for a while, and kept connections have come over.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let counts = AtomicUsize::new(0);
    while let Some(answered) = load.join_next().await {
        let answered = answered.expect("no request has failed");
        assert!(answered > UPGRADES, "{answered}");
        counts.fetch_add(answered, Ordering::Relaxed);
    }
    eprintln!(
        "{} requests over {UPGRADES} upgrades",
        counts.load(Ordering::Relaxed)
    );

    // Streams end by themselves, and with the last of them the first process.
    for mut socket in sockets {
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = within("the end", socket.next()).await {}
    }
    drop(sources);
    for (mut stream, _client) in streams {
        assert_eq!(stream.chunk().await, None, "a proper end");
    }
    let ended = tokio::task::spawn_blocking(move || {
        assert_eq!(service.first.exit_code_of_itself(), Some(0));
        service.assert_serves();
    });
    ended.await.unwrap();
}

const PING: &str = r#"
[gateway]
access_log = "off"

[admin]
bind = "unix:$folder/admin.sock"

[listeners.public]
bind = "127.0.0.1:0"
$more

[routes.ping]
match = { path = "/ping" }
respond = { body = "pong" }
"#;

/// With all that listeners can be, and the sandbox of one process in that of the other.
#[test]
fn every_kind_of_listener_is_handed_over() {
    let more = r#"
[listeners.tls]
bind = "127.0.0.1:0"
tls = { certificates = [{ self_signed = ["shop.test"] }] }

[listeners.h2]
bind = "127.0.0.1:0"
protocols = ["h2"]

[listeners.behind]
bind = "127.0.0.1:0"
proxy_protocol = "required"
trusted_proxies = ["127.0.0.0/8"]

[listeners.unix]
bind = "unix:$folder/public.sock"
"#;
    let toml = PING
        .replace("unix:$folder/admin.sock", "127.0.0.1:0")
        .replace("$more", more);
    let mut service = Service::start(&toml);
    let mut before = std::process::id();
    for _ in 0..3 {
        let pid = service.upgraded();
        assert_ne!(pid, before);
        before = pid;
        service.assert_serves();
        service.first.await_line("upgrade: ready");
        for name in ["behind", "h2", "public", "tls", "unix"] {
            service
                .first
                .await_line(&format!("listener {name}: serving "));
        }
    }
    let socket = service.folder.path().join("public.sock");
    std::os::unix::net::UnixStream::connect(socket).unwrap();
    assert_eq!(service.first.exit_code_of_itself(), Some(0));
}

#[test]
fn a_signal_does_it_as_well_and_what_is_new_is_bound() {
    let toml = PING.replace("unix:$folder/admin.sock", "127.0.0.1:0");
    let two = "[listeners.two]\nbind = \"127.0.0.1:0\"\n";
    let three = "[listeners.three]\nbind = \"127.0.0.1:0\"\n";
    let mut service = Service::start(&toml.replace("$more", two));
    service.write_config(&toml.replace("$more", three));
    service.first.signal("USR2");
    let pid = service.await_start();
    service
        .first
        .await_line("socket \"two\" at 127.0.0.1:0 was passed, and no listener wants it");
    service.first.await_line("listener three: serving ");
    until(|| lives(pid));
    service.assert_serves();
    // A reload is a matter of the new process now.
    assert_eq!(post(&service.admin, "/reload").status, 200);
    assert_eq!(service.first.exit_code_of_itself(), Some(0));
}
