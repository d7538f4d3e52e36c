//! What has become of a fill.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::body::Reader;
use super::entry::Entry;
use super::rfc::WhyNot;
use crate::response::{Code, Reply};

/// What has become of a fill, for everybody who waits for it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is kept, and may be read while it is written.
    Kept(Arc<Entry>),
    /// What was kept is good again (RFC 9111 section 4.3.4).
    Confirmed(Arc<Entry>),
    /// It is for whoever has asked for it, and for nobody else.
    Once(Arc<Once>),
    /// The upstream has failed, and a stale response has to do.
    Spare(Arc<Entry>, Spared),
    /// It was no answer to what was asked, and has to be asked for as if nothing were kept.
    Again,
    /// There is no response but one of the gateway's own.
    Failed(Arc<Failure>),
}

/// Why a stale response has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    Status(StatusCode),
    Code(Code),
}

/// A response that is not kept.
#[derive(Debug)]
pub struct Once {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub why: WhyNot,
    pub told: Told,
    pub(super) body: Mutex<Option<Reader>>,
}

impl Once {
    /// Its body, once.
    pub fn take(&self) -> Option<Reader> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.take()
    }
}

/// A reply of the gateway in the place of a response.
#[derive(Debug)]
pub struct Failure {
    pub reply: Reply,
    pub told: Told,
}

/// What is to be said of the upstream's part in it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub upstream: Box<str>,
    pub endpoint: Box<str>,
    pub attempts: u32,
    /// How long it took to answer.
    pub time: Option<Duration>,
    /// Why a step of the route's fallback has answered, and which.
    pub degraded: Option<(HeaderValue, Box<str>)>,
}
