//! A session without a client: an exchange of the gateway's own, whose response goes to the cache.
//!
//! The engine takes it for one of a foreign protocol, and does for it all that it does for a client's: tries, retries,
//! fallbacks, deadlines. Who waits for the response reads it from the cache, each at its own pace, so that no client holds up
//! the upstream or another client, and none that leaves takes the response away from the others.

use std::any::Any;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as Foreign;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::{Error, ErrorType, Result};

use crate::cache::{Filler, Sink};
use crate::proxy::exchange::Exchange;
use crate::proxy::timed::{Messages, NoMessages};

/// What an exchange of the cache begins with, on its way through the engine.
struct Start(Mutex<Option<Box<Exchange>>>);

/// What the engine is given to serve `request`; `exchange` is what [`begun`] will give.
pub(super) fn session(
    request: RequestHeader,
    exchange: Box<Exchange>,
    filler: Arc<Filler>,
) -> ServerSession {
    let start: Box<dyn Any + Send + Sync> = Box::new(Start(Mutex::new(Some(exchange))));
    let response = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let proxy_digest = ProxyDigest::new(Box::new(response), Some(start));
    let digest = Digest {
        proxy_digest: Some(Arc::new(proxy_digest)),
        ..Digest::default()
    };
    ServerSession::new_custom(Box::new(Filling {
        request,
        digest,
        filler,
        sink: Sink::Nowhere,
        written: None,
        sent: 0,
        is_over: false,
    }))
}

/// The exchange that a session was made for; `None` where it is a client's.
pub(in crate::proxy) fn begun(session: &ServerSession) -> Option<Box<Exchange>> {
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

struct Filling {
    request: RequestHeader,
    digest: Digest,
    filler: Arc<Filler>,
    sink: Sink,
    written: Option<Box<ResponseHeader>>,
    /// Bytes of the body.
    sent: usize,
    is_over: bool,
}

impl Filling {
    fn header(&mut self, header: Box<ResponseHeader>, ends: bool) {
        if header.status.is_informational() {
            return;
        }
        self.sink = self.filler.begin(header.status, header.headers.clone());
        self.written = Some(header);
        if ends {
            self.end();
        }
    }

    async fn body(&mut self, part: Option<Bytes>, ends: bool) -> Result<()> {
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            self.sent += part.len();
            if self.sink.push(part).await.is_err() {
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
        self.is_over = true;
        self.sink.finish();
    }
}

#[async_trait]
impl Foreign for Filling {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    /// There is no client that could leave.
    async fn read_body_or_idle(&mut self, _: bool) -> Result<Option<Bytes>> {
        pending().await
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
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
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
        format!("{} for the cache", self.request.uri.path())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _reason: &str) {}

    fn is_body_done(&mut self) -> bool {
        true
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        true
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        0
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
        None
    }

    fn is_upgrade_req(&self) -> bool {
        false
    }

    fn was_upgraded(&self) -> bool {
        false
    }
}
