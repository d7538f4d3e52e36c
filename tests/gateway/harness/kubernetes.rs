//! A double of the API server of Kubernetes, since no package registry has a real one. It knows `endpointslices` of
//! `discovery.k8s.io/v1` and does with them what a real one does, strictly: what it does not know it refuses.
//!
//! - One resource version counts all changes. A list is as of one, with `limit` and `continue`; a watch begins behind one.
//! - What is older than the last compaction is gone: a list that goes on gets 410, a watch 200 and an `ERROR` event of 410.
//!   A server that was started again knows nothing older than its start.
//! - Events come as lines of JSON in chunks that end anywhere; a watch ends at its `timeoutSeconds`, with a bookmark before.
//! - TLS, and a bearer token that is looked at for each request. A watch that has begun outlives its token.
//! - Label selectors are equality; paths, methods and parameters that it does not know are errors.
//!
//! Unlike a real one it takes loopback addresses, which those of tests are, and has no API to write: tests write directly.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use super::body::{Body, full};
use super::origin::{Origin, Seen};
use super::pair::Protocol;
use super::redis::own_address;
use super::tls::Authority;
use super::wait::eventually;

const NAMESPACE: &str = "shop";
const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
const SERVICE: &str = "kubernetes.io/service-name";

/// The server, which runs until it is stopped or dropped.
pub struct Kubernetes {
    address: SocketAddr,
    store: Arc<Store>,
    tls: ServerConfig,
    server: Option<Origin>,
    authority: Authority,
    folder: TempDir,
}

#[derive(Default)]
struct Store {
    inner: Mutex<Inner>,
    /// That something has happened.
    turn: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    version: u64,
    /// Nothing up to here is known but its outcome.
    compacted: u64,
    slices: BTreeMap<String, Value>,
    log: VecDeque<(u64, &'static str, Value)>,
    token: String,
    bookmarks: u64,
    lists: u64,
    watches: u64,
}

impl Kubernetes {
    pub async fn start() -> Kubernetes {
        let authority = Authority::new();
        let address = own_address();
        // Relays to it are at the other one.
        let names = [&*address.ip().to_string(), "127.0.0.1"];
        let tls = authority.issue(&names).server_config();
        let mut api = Kubernetes {
            address,
            store: Arc::default(),
            tls,
            server: None,
            authority,
            folder: tempfile::tempdir().expect("a folder"),
        };
        api.rotate_token("the first");
        api.start_again().await;
        api
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, and takes no new ones. What it has stays.
    pub fn stop(&mut self) {
        self.server = None;
    }

    pub async fn start_again(&mut self) {
        let listener = eventually("its port is free", async || {
            TcpListener::bind(self.address).ok()
        })
        .await;
        let store = self.store.clone();
        store.compact();
        let tls = self.tls.clone();
        let answer = move |seen: Seen| store.answer(&seen);
        self.server = Some(Origin::over_tls_at(listener, Protocol::Http1, tls, answer));
    }

    /// A kubeconfig for it as if it were at this address.
    pub fn kubeconfig(&self, address: SocketAddr) -> PathBuf {
        let path = self.folder.path().join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "broken",
            "clusters": [
                {"name": "it", "cluster": {
                    "server": format!("https://{address}"),
                    "certificate-authority": self.authority.path(),
                }},
            ],
            "users": [{"name": "gateway", "user": {"tokenFile": "token"}}],
            "contexts": [
                {"name": "it", "context": {"cluster": "it", "user": "gateway", "namespace": NAMESPACE}},
                {"name": "broken", "context": {"cluster": "none", "user": "none"}},
            ],
        });
        std::fs::write(&path, text.to_string()).expect("writable");
        path
    }

    /// A folder with what a pod has of its service account.
    pub fn service_account(&self) -> PathBuf {
        let folder = self.folder.path().join("serviceaccount");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::copy(self.authority.path(), folder.join("ca.crt")).expect("a file");
        std::fs::copy(self.folder.path().join("token"), folder.join("token")).expect("a file");
        std::fs::write(folder.join("namespace"), NAMESPACE).expect("writable");
        folder
    }

    /// From now on only this token is good, which stands in the file that the kubeconfig names.
    pub fn rotate_token(&self, token: &str) {
        // As editors leave it.
        std::fs::write(self.folder.path().join("token"), format!("{token}\n")).expect("writable");
        token.clone_into(&mut self.store.inner().token);
    }

    /// Writes a slice of a service: its ports, and each endpoint as the API has it.
    pub fn put(&self, name: &str, service: &str, ports: Value, endpoints: Value) {
        self.put_of("IPv4", name, service, ports, endpoints);
    }

    pub fn put_of(&self, kind: &str, name: &str, service: &str, ports: Value, endpoints: Value) {
        let slice = json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {SERVICE: service}},
            "addressType": kind, "ports": ports, "endpoints": endpoints,
        });
        self.store.change(name, Some(slice));
    }

    pub fn delete(&self, name: &str) {
        self.store.change(name, None);
    }

    /// Something happens that concerns no watch here, many times.
    pub fn pass_time(&self) {
        self.store.inner().version += 100;
    }

    /// Watches are told how far it is.
    pub fn bookmark(&self) {
        self.store.inner().bookmarks += 1;
        self.store.turn.send_modify(|turn| *turn += 1);
    }

    /// Forgets what happened until now.
    pub fn compact(&self) {
        self.store.compact();
    }

    /// How many lists were asked for, and how many watches have begun.
    pub fn asked(&self) -> (u64, u64) {
        let inner = self.store.inner();
        (inner.lists, inner.watches)
    }
}

/// Why something is refused: code, reason, message.
type Refusal = (u16, &'static str, String);

impl Store {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }

    fn compact(&self) {
        let mut inner = self.inner();
        inner.log.clear();
        inner.compacted = inner.version;
        drop(inner);
        self.turn.send_modify(|turn| *turn += 1);
    }

    fn change(&self, name: &str, slice: Option<Value>) {
        let mut inner = self.inner();
        inner.version += 1;
        let version = inner.version;
        let before = inner.slices.remove(name);
        let (kind, mut slice) = match (before, slice) {
            (None, Some(now)) => ("ADDED", now),
            (Some(_), Some(now)) => ("MODIFIED", now),
            (Some(before), None) => ("DELETED", before),
            (None, None) => panic!("there is no {name}"),
        };
        slice["metadata"]["resourceVersion"] = version.to_string().into();
        if kind != "DELETED" {
            inner.slices.insert(name.to_owned(), slice.clone());
        }
        inner.log.push_back((version, kind, slice));
        drop(inner);
        self.turn.send_modify(|turn| *turn += 1);
    }

    fn answer(self: &Arc<Store>, seen: &Seen) -> Response<Body> {
        match self.try_answer(seen) {
            Ok(body) => answer(200, body),
            Err((code, reason, message)) => {
                answer(code, full(status(code, reason, &message).to_string()))
            }
        }
    }

    fn try_answer(self: &Arc<Store>, seen: &Seen) -> Result<Body, Refusal> {
        let token = format!("Bearer {}", self.inner().token);
        if seen.header("authorization") != Some(&token) {
            return Err((401, "Unauthorized", "Unauthorized".into()));
        }
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        if path != PATH {
            return Err((404, "NotFound", format!("there is no {path}")));
        }
        if seen.method != "GET" {
            return Err((
                405,
                "MethodNotAllowed",
                format!("{} is not for it", seen.method),
            ));
        }
        let query = Query::parse(query)?;
        match query.is_watch {
            true => self.watch(query),
            false => self.list(&query),
        }
    }

    fn list(&self, query: &Query) -> Result<Body, Refusal> {
        let mut inner = self.inner();
        inner.lists += 1;
        let (version, after) = match &query.rest {
            None => (inner.version, ""),
            Some((version, _)) if *version < inner.compacted => return Err(expired(*version)),
            Some((version, after)) => (*version, after.as_str()),
        };
        // A list that goes on is as of where it began: what has come since is not on it. What has changed since is, which
        // tests do not look for.
        let is_known = |slice: &&Value| {
            let of: u64 = text_of(&slice["metadata"]["resourceVersion"])
                .parse()
                .expect("ours");
            of <= version && query.is_for(slice)
        };
        let mut items = inner.slices.range(after.to_owned()..);
        let page: Vec<Value> = items
            .by_ref()
            .map(|(_, it)| it)
            .filter(is_known)
            .take(query.limit)
            .cloned()
            .collect();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if let Some((next, _)) = items.find(|(_, it)| is_known(it)) {
            metadata["continue"] = format!("{version}:{next}").into();
        }
        let list = json!({
            "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata, "items": page,
        });
        Ok(full(list.to_string()))
    }

    fn watch(self: &Arc<Store>, query: Query) -> Result<Body, Refusal> {
        let Some(from) = query.version else {
            return Err(bad("this double watches from a version alone"));
        };
        let mut inner = self.inner();
        inner.watches += 1;
        let watch = Watch {
            turns: self.turn.subscribe(),
            store: self.clone(),
            deadline: Instant::now() + query.timeout,
            bookmarks: inner.bookmarks,
            query,
            from,
            lines: VecDeque::new(),
            is_over: false,
        };
        drop(inner);
        let chunks = futures_util::stream::unfold(watch, async |mut watch| {
            let chunk = watch.next().await?;
            Some((Ok(Frame::data(chunk)), watch))
        });
        Ok(BodyExt::boxed(StreamBody::new(Box::pin(chunks))))
    }
}

/// A watch that goes on.
struct Watch {
    store: Arc<Store>,
    turns: watch::Receiver<u64>,
    query: Query,
    from: u64,
    bookmarks: u64,
    deadline: Instant,
    lines: VecDeque<Bytes>,
    is_over: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.is_over {
                return None;
            }
            self.turns.mark_unchanged();
            self.look();
            if !self.lines.is_empty() {
                continue;
            }
            tokio::select! {
                _ = self.turns.changed() => {}
                () = tokio::time::sleep_until(self.deadline) => {
                    self.is_over = true;
                    self.say_bookmark();
                }
            }
        }
    }

    fn look(&mut self) {
        let store = self.store.clone();
        let inner = store.inner();
        if self.from < inner.compacted {
            let (code, reason, message) = expired(self.from);
            self.say("ERROR", status(code, reason, &message));
            self.is_over = true;
            return;
        }
        let from = self.from;
        for (version, kind, slice) in inner.log.iter().filter(|(of, ..)| *of > from) {
            if self.query.is_for(slice) {
                self.say(kind, slice.clone());
            }
            self.from = *version;
        }
        let asked = inner.bookmarks;
        drop(inner);
        if self.bookmarks < asked {
            self.bookmarks = asked;
            self.say_bookmark();
        }
    }

    fn say_bookmark(&mut self) {
        if self.query.wants_bookmarks {
            self.from = self.store.inner().version;
            let metadata =
                json!({"resourceVersion": self.from.to_string(), "creationTimestamp": null});
            self.say("BOOKMARK", json!({"metadata": metadata, "endpoints": null}));
        }
    }

    fn say(&mut self, kind: &str, mut object: Value) {
        if kind != "ERROR" {
            object["kind"] = "EndpointSlice".into();
            object["apiVersion"] = "discovery.k8s.io/v1".into();
        }
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        let line = Bytes::from(line);
        let middle = line.len() / 2;
        self.lines
            .extend([line.slice(..middle), line.slice(middle..)]);
    }
}

/// The parameters of a request.
struct Query {
    is_watch: bool,
    wants_bookmarks: bool,
    labels: HashMap<String, String>,
    limit: usize,
    /// Where a list goes on: as of which version, from which name.
    rest: Option<(u64, String)>,
    version: Option<u64>,
    timeout: Duration,
}

impl Query {
    fn parse(text: &str) -> Result<Query, Refusal> {
        let mut query = Query {
            is_watch: false,
            wants_bookmarks: false,
            labels: HashMap::new(),
            limit: usize::MAX,
            rest: None,
            version: None,
            timeout: Duration::from_secs(1800),
        };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| bad(&format!("{name}={value}")))
            };
            match &*name {
                "watch" => query.is_watch = matches!(&*value, "true" | "1"),
                "allowWatchBookmarks" => query.wants_bookmarks = &*value == "true",
                "timeoutSeconds" => query.timeout = Duration::from_secs(number()?),
                "resourceVersion" if value.is_empty() => {}
                "resourceVersion" => query.version = Some(number()?),
                // So that lists have several pages, whatever is asked for at most.
                "limit" => query.limit = usize::try_from(number()?).map_or(1, |it| it.min(2)),
                "continue" => {
                    let (version, name) = value.split_once(':').ok_or_else(|| bad("continue"))?;
                    let version = version.parse().map_err(|_| bad("continue"))?;
                    query.rest = Some((version, name.to_owned()));
                }
                "labelSelector" => {
                    for one in value.split(',') {
                        let (name, value) = one.split_once('=').ok_or_else(|| bad("selector"))?;
                        query.labels.insert(name.to_owned(), value.to_owned());
                    }
                }
                _ => return Err(bad(&format!("unknown parameter {name}"))),
            }
        }
        Ok(query)
    }

    fn is_for(&self, slice: &Value) -> bool {
        let labels = &slice["metadata"]["labels"];
        self.labels
            .iter()
            .all(|(name, value)| labels[name] == **value)
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn bad(message: &str) -> Refusal {
    (400, "BadRequest", message.to_owned())
}

fn expired(version: u64) -> Refusal {
    (
        410,
        "Expired",
        format!("too old resource version: {version}"),
    )
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn answer(code: u16, body: Body) -> Response<Body> {
    let response = Response::builder().status(code);
    let response = response.header("content-type", "application/json");
    response.body(body).expect("a response")
}
