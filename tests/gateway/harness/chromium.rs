//! A real browser, driven over its DevTools protocol.

use std::net::SocketAddr;
use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::wait::{eventually, within};

/// A browser with one page. Dropping it ends it.
pub struct Chromium {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    page: String,
    last: u64,
    _stderr: tokio::io::Lines<BufReader<ChildStderr>>,
    _child: Child,
    _folder: TempDir,
}

impl Chromium {
    /// Whatever it asks `host` for is asked at `address`, and any certificate will do.
    pub async fn start(host: &str, address: SocketAddr) -> Chromium {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--ignore-certificate-errors", "--remote-debugging-port=0"])
            .arg(format!("--host-resolver-rules=MAP {host} {address}"))
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium; .ci/install installs it");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let listens = async {
            loop {
                let line = lines.next_line().await.expect("a line").expect("it runs");
                if let Some(place) = line.strip_prefix("DevTools listening on ") {
                    return place.to_owned();
                }
            }
        };
        let place = within("chromium starts", listens).await;
        let (socket, _) = within("chromium answers", connect_async(&place))
            .await
            .expect("a WebSocket");
        let mut chromium = Chromium {
            socket,
            page: String::new(),
            last: 0,
            _stderr: lines,
            _child: child,
            _folder: folder,
        };
        let target = chromium
            .ask("Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = chromium.ask("Target.attachToTarget", attach).await;
        chromium.page = attached["sessionId"].as_str().expect("a page").to_owned();
        chromium
    }

    /// As if somebody had typed the address.
    pub async fn open(&mut self, url: &str) {
        let opened = self.ask("Page.navigate", json!({ "url": url })).await;
        assert!(opened.get("errorText").is_none(), "{opened}");
    }

    /// What a script of the page says; `null` where it fails, as while the page changes.
    pub async fn run(&mut self, script: &str) -> Value {
        let ask = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", ask).await;
        answer["result"]["value"].clone()
    }

    /// Waits for something to be on the page, as a script tells.
    pub async fn wait_for(&mut self, script: &str) {
        let is_there = async || (self.run(script).await == true).then_some(());
        eventually(script, is_there).await;
    }

    async fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.page.is_empty() {
            order["sessionId"] = json!(self.page);
        }
        let order = Message::text(order.to_string());
        let asked = async {
            self.socket.send(order).await.expect("the browser runs");
            loop {
                let message = self.socket.next().await.expect("the browser runs");
                let Message::Text(text) = message.expect("a message") else {
                    continue;
                };
                let answer: Value = serde_json::from_str(&text).expect("JSON");
                // The others tell of what happens.
                if answer["id"] == self.last {
                    return answer;
                }
            }
        };
        let answer = within(method, asked).await;
        match method {
            "Runtime.evaluate" => answer["result"].clone(),
            _ => {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                answer["result"].clone()
            }
        }
    }
}
