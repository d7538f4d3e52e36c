//! Takes in the answers of exchanges of the gateway's own, for whoever puts them together.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use super::own::{Taker, Unwanted};
use crate::response::Code;

/// How asking goes.
#[derive(Debug, Default)]
pub(super) struct Asked {
    response: Mutex<Taken>,
    /// The failure that the engine has reported.
    failure: OnceLock<Code>,
}

/// What has come.
#[derive(Debug, Default)]
struct Taken {
    head: Option<(StatusCode, HeaderMap)>,
    body: BytesMut,
    is_too_large: bool,
    is_whole: bool,
}

/// How asking has ended.
#[derive(Debug)]
pub(super) enum Answered {
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    TooLarge,
    /// It was broken off, whether or not its header had come; with the failure that was reported, if one was.
    Not(Option<Code>),
}

/// Takes one response in, up to so many bytes.
pub(super) struct Collecting {
    asked: Arc<Asked>,
    most: usize,
}

impl Asked {
    fn response(&self) -> MutexGuard<'_, Taken> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exchange is over.
    pub(super) fn ends(&self, failure: Option<Code>) {
        if let Some(code) = failure {
            // There is one end.
            let _ = self.failure.set(code);
        }
    }

    /// There is no room for what comes.
    pub(super) fn overflows(&self) {
        self.response().is_too_large = true;
    }

    /// What has become of it, once.
    pub(super) fn answered(&self) -> Answered {
        let taken = std::mem::take(&mut *self.response());
        match taken.head {
            _ if taken.is_too_large => Answered::TooLarge,
            Some((status, headers)) if taken.is_whole => Answered::Whole {
                status,
                headers,
                body: taken.body.freeze(),
            },
            _ => Answered::Not(self.failure.get().copied()),
        }
    }
}

impl Collecting {
    pub(super) fn new(asked: Arc<Asked>, most: usize) -> Collecting {
        Collecting { asked, most }
    }
}

#[async_trait]
impl Taker for Collecting {
    fn begin(&mut self, status: StatusCode, headers: HeaderMap) {
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let mut taken = self.asked.response();
        // RFC 9110 section 8.6: it is then the length of what is not sent.
        let has_body = status != StatusCode::NOT_MODIFIED;
        taken.is_too_large = has_body && length.is_some_and(|length: usize| length > self.most);
        taken.head = Some((status, headers));
    }

    async fn push(&mut self, part: Bytes) -> Result<(), Unwanted> {
        let mut taken = self.asked.response();
        taken.is_too_large |= taken.body.len() + part.len() > self.most;
        match taken.is_too_large {
            true => Err(Unwanted),
            false => {
                taken.body.extend_from_slice(&part);
                Ok(())
            }
        }
    }

    fn finish(&mut self) {
        self.asked.response().is_whole = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_large_is_not_taken_in() {
        async fn check(
            status: u16,
            length: Option<&str>,
            parts: &[usize],
            expected: Option<usize>,
        ) {
            let asked: Arc<Asked> = Arc::default();
            let mut collecting = Collecting::new(asked.clone(), 10);
            let mut headers = HeaderMap::new();
            if let Some(length) = length {
                headers.insert(CONTENT_LENGTH, length.parse().unwrap());
            }
            collecting.begin(StatusCode::from_u16(status).unwrap(), headers);
            for part in parts {
                let part = Bytes::from(vec![0; *part]);
                if collecting.push(part).await.is_err() {
                    break;
                }
            }
            collecting.finish();
            let taken = match asked.answered() {
                Answered::Whole { body, .. } => Some(body.len()),
                Answered::TooLarge => None,
                Answered::Not(code) => panic!("{code:?}"),
            };
            assert_eq!(taken, expected, "{status} {length:?} {parts:?}");
        }
        check(200, None, &[4, 6], Some(10)).await;
        check(200, None, &[4, 7], None).await;
        check(200, Some("11"), &[4], None).await;
        check(200, Some("10"), &[10], Some(10)).await;
        // It is the length of what is not sent.
        check(304, Some("11"), &[], Some(0)).await;
    }

    #[test]
    fn what_breaks_off_is_no_answer() {
        let check = |failure: Option<Code>| {
            let asked: Arc<Asked> = Arc::default();
            Collecting::new(asked.clone(), 10).begin(StatusCode::OK, HeaderMap::new());
            asked.ends(failure);
            assert!(matches!(asked.answered(), Answered::Not(code) if code == failure));
        };
        check(None);
        check(Some(Code::UpstreamReset));
    }
}
