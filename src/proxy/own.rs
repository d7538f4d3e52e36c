//! A session without a client: an exchange of the gateway's own, whose response goes to whoever has wanted it.
//!
//! The engine takes it for one of a foreign protocol, and does for it all that it does for a client's: tries, retries,
//! fallbacks, deadlines.

use std::any::Any;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as Foreign;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::{Error, ErrorType, Result};

use super::exchange::Exchange;
use super::timed::{Messages, NoMessages};

/// What takes in the response.
#[async_trait]
pub(super) trait Taker: Send + Sync {
    /// The header has come; once.
    fn begin(&mut self, status: StatusCode, headers: HeaderMap);

    /// A part of the body has come. It waits as long as whoever reads it does.
    async fn push(&mut self, part: Bytes) -> Result<(), Unwanted>;

    /// All of it has come. Where this is not called, it has broken off.
    fn finish(&mut self);

    /// Ends once nobody waits for it any more, as where a client leaves. It may be asked again and again.
    async fn left(&mut self) {
        pending().await
    }
}

/// Nobody wants the rest of it, or there is no room: the exchange ends.
#[derive(Debug)]
pub(super) struct Unwanted;

/// What an exchange of the gateway's own begins with, on its way through the engine.
struct Start(Mutex<Option<Box<Exchange>>>);

/// What the engine is given to serve `request`, whose body may be empty; `exchange` is what [`begun`] will give.
pub(super) fn session(
    (request, body): (RequestHeader, Bytes),
    exchange: Box<Exchange>,
    taker: Box<dyn Taker>,
) -> ServerSession {
    let start: Box<dyn Any + Send + Sync> = Box::new(Start(Mutex::new(Some(exchange))));
    let response = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let proxy_digest = ProxyDigest::new(Box::new(response), Some(start));
    let digest = Digest {
        proxy_digest: Some(Arc::new(proxy_digest)),
        ..Digest::default()
    };
    ServerSession::new_custom(Box::new(Own {
        request,
        is_read: body.is_empty(),
        body,
        digest,
        taker,
        written: None,
        sent: 0,
        is_over: false,
    }))
}

/// The exchange that a session was made for; `None` where it is a client's.
pub(super) fn begun(session: &ServerSession) -> Option<Box<Exchange>> {
    if !session.is_custom() {
        return None;
    }
    let digest = session.digest()?.proxy_digest.as_ref()?;
    let start = digest.user_data.as_ref()?.downcast_ref::<Start>()?;
    start
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

struct Own {
    request: RequestHeader,
    /// Of the request.
    body: Bytes,
    is_read: bool,
    digest: Digest,
    taker: Box<dyn Taker>,
    written: Option<Box<ResponseHeader>>,
    /// Bytes of the body.
    sent: usize,
    is_over: bool,
}

impl Own {
    /// The request's body, once.
    fn take_body(&mut self) -> Option<Bytes> {
        let is_read = std::mem::replace(&mut self.is_read, true);
        (!is_read).then(|| self.body.clone())
    }

    fn header(&mut self, header: Box<ResponseHeader>, ends: bool) {
        if header.status.is_informational() {
            return;
        }
        self.taker.begin(header.status, header.headers.clone());
        self.written = Some(header);
        if ends {
            self.end();
        }
    }

    async fn body(&mut self, part: Option<Bytes>, ends: bool) -> Result<()> {
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            self.sent += part.len();
            if self.taker.push(part).await.is_err() {
                let what = "nobody wants the rest of it, or there is no room";
                return Error::e_explain(ErrorType::ConnectionClosed, what);
            }
        }
        if ends {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.taker.finish();
        }
    }
}

#[async_trait]
impl Foreign for Own {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_or_idle(&mut self, is_done: bool) -> Result<Option<Bytes>> {
        let body = (!is_done).then(|| self.take_body()).flatten();
        match body {
            Some(body) => Ok(Some(body)),
            None => {
                self.taker.left().await;
                Error::e_explain(ErrorType::ConnectionClosed, "nobody waits for it any more")
            }
        }
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        for task in tasks {
            match task {
                HttpTask::Header(header, ends) => self.header(header, ends),
                HttpTask::Body(part, ends) => self.body(part, ends).await?,
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(
                        ErrorType::InternalError,
                        "nobody has asked for a tunnel",
                    );
                }
                // They end the message, and are not kept (RFC 9111 section 3.1).
                HttpTask::Trailer(_) | HttpTask::Done => self.end(),
                HttpTask::Failed(error) => return Err(error),
            }
        }
        Ok(self.is_over)
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        Some(Box::new(NoMessages))
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        Ok(())
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(self.take_body())
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.is_read = true;
        Ok(())
    }

    async fn write_response_header(
        &mut self,
        header: Box<ResponseHeader>,
        end: bool,
    ) -> Result<()> {
        self.header(header, end);
        Ok(())
    }

    async fn write_response_header_ref(
        &mut self,
        header: &ResponseHeader,
        end: bool,
    ) -> Result<()> {
        self.header(Box::new(header.clone()), end);
        Ok(())
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.body(Some(data), end).await
    }

    async fn write_trailers(&mut self, _: HeaderMap) -> Result<()> {
        self.end();
        Ok(())
    }

    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        format!("{} for the gateway itself", self.request.uri.path())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _reason: &str) {}

    fn is_body_done(&mut self) -> bool {
        self.is_read
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        self.body.is_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        match self.is_read {
            true => self.body.len(),
            false => 0,
        }
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let is_taken = self.is_read && !self.body.is_empty();
        is_taken.then(|| self.body.clone())
    }

    fn is_upgrade_req(&self) -> bool {
        false
    }

    fn was_upgraded(&self) -> bool {
        false
    }
}
