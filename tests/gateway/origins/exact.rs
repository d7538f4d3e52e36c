//! Takes nothing but requests that keep every rule, and remembers them byte for byte.

use std::sync::{Arc, Mutex};

use northgate::http1::{Body, Chunks, RequestLimits, RequestScanner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::RawOrigin;

const LIMITS: RequestLimits = RequestLimits {
    target_bytes: 8 << 10,
    field_bytes: 64 << 10,
    fields: 200,
};

pub struct Exact {
    pub origin: RawOrigin,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// A request as it came. The body of a request in chunks has its chunks.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn line(&self) -> &str {
        self.head.lines().next().expect("a request line")
    }

    /// Every value of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let wanted = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        wanted.map(|(_, value)| value).collect()
    }
}

impl Exact {
    pub fn start() -> Exact {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let origin = RawOrigin::serving(move |mut stream, _| {
            let record = record.clone();
            async move {
                let mut read = Vec::new();
                loop {
                    match take(&read) {
                        Err(reason) => panic!("{reason}: {:?}", String::from_utf8_lossy(&read)),
                        Ok(None) => {
                            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        Ok(Some((head, end))) => {
                            let rest = read.split_off(end);
                            let body = read.split_off(head);
                            let head = String::from_utf8_lossy(&read).into_owned();
                            record
                                .lock()
                                .expect("no panic")
                                .push(Request { head, body });
                            read = rest;
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                            if stream.write_all(answer).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        });
        Exact { origin, seen }
    }

    /// The one request so far, which is then forgotten.
    pub fn only(&self) -> Request {
        let mut seen = self.seen.lock().expect("a request that keeps every rule");
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

/// Where the first request's head and body end, once it is complete.
fn take(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let scanned = RequestScanner::default().advance(bytes, &LIMITS);
    let Some(head) = scanned.map_err(|refusal| refusal.reason)? else {
        return Ok(None);
    };
    let body = &bytes[head.length..];
    let length = match head.body {
        Body::None => 0,
        Body::Length(length) => usize::try_from(length).expect("a length"),
        Body::Chunked => {
            let mut chunks = Chunks::default();
            let length = chunks.advance(body).map_err(|refusal| refusal.reason)?;
            if !chunks.is_done() {
                return Ok(None);
            }
            length
        }
    };
    Ok((body.len() >= length).then_some((head.length, head.length + length)))
}
