//! The client of the shop's own tests: a shop on ports from the kernel, and HTTP/1.1 by hand over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Addresses, Ports, Shop, start};

pub(super) const KEY_SET: &str = r#"{"keys":[]}"#;

/// Far more than any answer takes; a test that waits this long has found a bug.
const PATIENCE: Duration = Duration::from_secs(10);

/// A test's own shop, open until the value is dropped.
pub(super) struct Shopper {
    pub(super) addresses: Addresses,
    shop: Shop,
    stop: watch::Sender<bool>,
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    head: String,
}

impl Shopper {
    pub(super) async fn enter() -> Self {
        let (stop, shutdown) = watch::channel(false);
        let ports = Ports {
            users: 0,
            orders: 0,
            products: 0,
            payments: 0,
        };
        let shop = start(ports, KEY_SET.to_owned(), shutdown)
            .await
            .expect("the kernel has four ports left");
        Self {
            addresses: shop.addresses(),
            shop,
            stop,
        }
    }

    /// Sends the shutdown signal and waits for the shop to close.
    pub(super) async fn leave(self) {
        self.stop.send_replace(true);
        within_patience(self.shop.closed()).await;
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(this, _)| this.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

pub(super) async fn get(to: SocketAddr, path: &str) -> Reply {
    send(to, &format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).await
}

pub(super) async fn delete(to: SocketAddr, path: &str) -> Reply {
    send(to, &format!("DELETE {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).await
}

/// Posts `body` as JSON.
pub(super) async fn post(to: SocketAddr, path: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: {length}"
    );
    send(to, &format!("{head}\r\n\r\n{body}")).await
}

/// Sends the bytes of one request and reads its answer, which must have a Content-Length.
pub(super) async fn send(to: SocketAddr, request: &str) -> Reply {
    within_patience(async {
        let mut stream = TcpStream::connect(to).await.expect("the service listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the service reads");
        let head = read_head(&mut stream).await;
        let mut reply = Reply {
            status: head[9..12].parse().expect("a status line"),
            body: String::new(),
            head,
        };
        let length = reply
            .header("content-length")
            .expect("a length")
            .parse()
            .expect("a number");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a whole body");
        reply.body = String::from_utf8(body).expect("text");
        reply
    })
    .await
}

/// Asks for `path` and returns what has come by the time that `mark` has.
pub(super) async fn get_until(to: SocketAddr, path: &str, mark: &str) -> String {
    within_patience(async {
        let mut stream = TcpStream::connect(to).await.expect("the service listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the service reads");
        let mut received = String::new();
        while !received.contains(mark) {
            let mut some = [0; 1024];
            let length = stream.read(&mut some).await.expect("the stream goes on");
            assert_ne!(length, 0, "the stream ended before {mark:?}: {received}");
            received.push_str(std::str::from_utf8(&some[..length]).expect("ASCII"));
        }
        received
    })
    .await
}

/// Asks for `path` and returns all there is, until the service closes the connection.
pub(super) async fn get_all(to: SocketAddr, path: &str) -> String {
    within_patience(async {
        let mut stream = TcpStream::connect(to).await.expect("the service listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the service reads");
        let mut received = Vec::new();
        stream
            .read_to_end(&mut received)
            .await
            .expect("a clean end");
        String::from_utf8_lossy(&received).into_owned()
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("an ASCII head")
}

async fn within_patience<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("an answer in time")
}
