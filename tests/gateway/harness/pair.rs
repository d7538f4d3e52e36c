//! A feature over every pair of protocols.

use std::fmt;
use std::future::Future;

/// What one side speaks, in clear text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    H2,
}

/// As `upstreams.NAME.protocol` wants it.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Http1 => "http/1.1",
            Protocol::H2 => "h2c",
        })
    }
}

/// What the client and what the origin speaks.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub client: Protocol,
    pub origin: Protocol,
}

/// Runs a test over all four pairs, and says which one it was that failed.
pub async fn over_each_pair<F: Future<Output = ()>>(test: impl Fn(Pair) -> F) {
    for client in [Protocol::Http1, Protocol::H2] {
        for origin in [Protocol::Http1, Protocol::H2] {
            let pair = Pair { client, origin };
            let named = Named(pair);
            test(pair).await;
            std::mem::forget(named);
        }
    }
}

/// Tells the pair when a test unwinds through it.
struct Named(Pair);

impl Drop for Named {
    fn drop(&mut self) {
        eprintln!("over {:?}", self.0);
    }
}
