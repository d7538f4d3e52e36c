//! A server whose documents the test writes.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::identity::tokens::{Signer, jwks};

/// A server that answers each path with what is written for it; with 404 where nothing is, and not at all with
/// nothing to say.
pub(super) struct Origin {
    address: String,
    documents: Arc<Mutex<Vec<(String, Answer)>>>,
    asked: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    pub(super) most_in_flight: Arc<AtomicUsize>,
    /// Holds answers back while all of it is taken.
    pub(super) gate: Arc<tokio::sync::Semaphore>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
pub(super) enum Answer {
    Json(String),
    Status(u16),
    Redirect(String),
}

impl Origin {
    pub(super) async fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut origin = Origin {
            address,
            documents: Arc::default(),
            asked: Arc::default(),
            in_flight: Arc::default(),
            most_in_flight: Arc::default(),
            gate: Arc::new(tokio::sync::Semaphore::new(1_000_000)),
            _serving: JoinSet::new(),
        };
        let answer = origin.service();
        origin._serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = answer.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let answer = answer.clone();
                        let path = request.uri().path().to_owned();
                        async move { Ok::<_, Infallible>(answer(path).await) }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        origin
    }

    fn service(
        &self,
    ) -> impl Fn(String) -> futures_util::future::BoxFuture<'static, Response<Full<Bytes>>>
    + Clone
    + Send
    + 'static {
        let documents = self.documents.clone();
        let counts = [&self.asked, &self.in_flight, &self.most_in_flight].map(Arc::clone);
        let gate = self.gate.clone();
        move |path| {
            let (documents, gate) = (documents.clone(), gate.clone());
            let [asked, in_flight, most] = counts.clone();
            Box::pin(async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                let place = gate.acquire().await.unwrap();
                let documents = documents.lock().unwrap();
                let found = documents.iter().find(|(known, _)| *known == path);
                let answer = found.map_or(Answer::Status(404), |(_, answer)| answer.clone());
                in_flight.fetch_sub(1, Ordering::SeqCst);
                drop(place);
                match answer {
                    Answer::Json(text) => Response::new(Full::new(text.into())),
                    Answer::Status(status) => Response::builder()
                        .status(status)
                        .body(Full::default())
                        .unwrap(),
                    Answer::Redirect(to) => Response::builder()
                        .status(302)
                        .header("location", to)
                        .body(Full::default())
                        .unwrap(),
                }
            })
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn answer(&self, path: &str, answer: Answer) {
        let mut documents = self.documents.lock().unwrap();
        documents.retain(|(known, _)| known != path);
        documents.push((path.to_owned(), answer));
    }

    pub(super) fn publish<'s>(&self, signers: impl IntoIterator<Item = &'s Signer>) {
        self.answer("/jwks", Answer::Json(jwks(signers)));
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
