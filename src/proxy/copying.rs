//! What watches an exchange as it goes by: the copy for the mirror of its route, and the guard of its branch.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;

use super::exchange::Exchange;
use crate::actions::{Action, Mirror, Original};
use crate::response::Fault;

/// What has been seen so far of a request that is to be mirrored, and of what it was answered with.
pub(super) struct Copy {
    mirror: Arc<Mirror>,
    /// As the route's own upstream gets it; gone once the copy has been sent.
    head: Option<Parts>,
    body: BytesMut,
    /// Whom to tell of the response, where it is compared.
    compared: Option<oneshot::Sender<Original>>,
    answer: Option<Original>,
    content: BytesMut,
    is_sent: bool,
}

impl Exchange {
    /// Begins a copy where the request is one of its route's sample. Tunnels are not copied.
    pub(super) fn sample(&mut self, headers: &HeaderMap) {
        let Action::Proxy(proxy) = &*self.route.action else {
            return;
        };
        if let Some(mirror) = &proxy.mirror
            && mirror.samples()
            && !headers.contains_key(UPGRADE)
        {
            self.copy = Some(Box::new(Copy {
                mirror: mirror.clone(),
                head: None,
                body: BytesMut::new(),
                compared: None,
                answer: None,
                content: BytesMut::new(),
                is_sent: false,
            }));
        }
    }

    /// Tells who watches the upstream that it has failed, where it has, and has not answered.
    pub(super) fn blame_canary(&mut self) {
        if let Some(canary) = self.canary.take()
            && let Some(code) = self.outcome
            && code.fault() == Fault::Upstream
        {
            canary.observe(Instant::now(), true, None);
        }
    }

    /// A part of the request's body has gone up; `ends` where it was the last.
    pub(super) fn copy_request(&mut self, part: Option<&Bytes>, ends: bool) {
        let Some(copy) = self.copy.as_mut().filter(|copy| !copy.is_sent) else {
            return;
        };
        let part = part.map_or(&[][..], |part| part);
        if copy.body.len() + part.len() > copy.mirror.largest_body() {
            copy.mirror.too_large();
            self.copy = None;
            return;
        }
        copy.body.extend_from_slice(part);
        if ends {
            copy.send();
        }
    }

    /// A part of the response's body has come down, as the upstream sent it.
    pub(super) fn copy_response(&mut self, part: Option<&Bytes>) {
        let Some(copy) = self.copy.as_mut().filter(|copy| copy.mirror.compares()) else {
            return;
        };
        let (Some(part), Some(answer)) = (part, &mut copy.answer) else {
            return;
        };
        if copy.content.len() + part.len() > copy.mirror.largest_body() {
            copy.content = BytesMut::new();
            answer.body = None;
        } else if answer.body.is_some() {
            copy.content.extend_from_slice(part);
        }
    }

    /// The exchange is over; `is_whole` where all of the response was sent.
    pub(super) fn end_copy(&mut self, is_whole: bool) {
        let Some(mut copy) = self.copy.take() else {
            return;
        };
        if !copy.is_sent {
            copy.mirror.incomplete();
        }
        if let (Some(compared), Some(mut answer), true) =
            (copy.compared.take(), copy.answer.take(), is_whole)
        {
            answer.body = answer.body.map(|_| copy.content.split().freeze());
            // Nobody listens where the copy has failed.
            let _ = compared.send(answer);
        }
    }
}

impl Copy {
    /// An attempt begins with this header, and sends the body from its beginning.
    pub(super) fn begin(&mut self, head: &Parts) {
        if !self.is_sent {
            self.head = Some(head.clone());
            self.body.clear();
        }
    }

    /// The header of the response has come.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        if self.mirror.compares() {
            self.content.clear();
            self.answer = Some(Original {
                status,
                is_encoded: headers.contains_key(CONTENT_ENCODING),
                body: Some(Bytes::new()),
            });
        }
    }

    fn send(&mut self) {
        let Some(head) = self.head.take() else {
            return;
        };
        self.is_sent = true;
        let original = self.mirror.compares().then(|| {
            let (compared, original) = oneshot::channel();
            self.compared = Some(compared);
            original
        });
        self.mirror.send(head, self.body.split().freeze(), original);
    }
}

/// Whether a guard counts an answer as a failure.
pub(super) fn is_error(status: StatusCode, grpc: Option<u8>) -> bool {
    // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
    status.is_server_error() || matches!(grpc, Some(2 | 4 | 13 | 14 | 15))
}
