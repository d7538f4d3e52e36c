//! Bodies of requests and responses, whole or a piece at a time.

use std::io;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

pub type Body = BoxBody<Bytes, io::Error>;

pub fn empty() -> Body {
    full(Bytes::new())
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body that the test writes as it goes; it ends when the [`Chunks`] are dropped.
pub fn channel() -> (Chunks, Body) {
    let (sender, receiver) = mpsc::channel(16);
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    (Chunks(sender), BodyExt::boxed(StreamBody::new(frames)))
}

/// The writing end of a [`channel`].
#[derive(Clone)]
pub struct Chunks(mpsc::Sender<io::Result<Frame<Bytes>>>);

impl Chunks {
    /// False where nobody reads any more.
    pub async fn send(&self, chunk: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(chunk.into()))).await.is_ok()
    }

    /// Breaks the body off.
    pub async fn fail(self) {
        let _ = self
            .0
            .send(Err(io::ErrorKind::ConnectionReset.into()))
            .await;
    }

    pub async fn trailers(self, trailers: HeaderMap) {
        let _ = self.0.send(Ok(Frame::trailers(trailers))).await;
    }
}
