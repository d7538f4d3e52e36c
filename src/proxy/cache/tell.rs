//! What is said of what the cache has done: to the client in `Cache-Status` (RFC 9211), and in the access log.

use std::sync::Arc;

use http::HeaderMap;
use http::response::Parts;

use crate::cache::rfc::{Forward, Status};
use crate::cache::{Entry, Failure, Once, Past, Rules, Spared, Told, Use};
use crate::proxy::exchange::Exchange;
use crate::proxy::fallback::Degraded;

/// What the cache has done about a request.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Cached {
    pub(super) rules: Arc<Rules>,
    /// As the access log has it.
    pub(in crate::proxy) word: &'static str,
    /// In seconds, of what was kept before it was asked for.
    pub(in crate::proxy) age: Option<u64>,
    pub(super) status: Status,
    /// What the upstream's part in it was, where it was asked for this request.
    pub(in crate::proxy) told: Option<Box<Told>>,
    /// What of the header only the one gets who asked first.
    pub(super) for_first: Option<HeaderMap>,
}

impl Cached {
    pub(super) fn new(rules: Arc<Rules>) -> Cached {
        Cached {
            rules,
            word: "miss",
            age: None,
            status: Status::default(),
            told: None,
            for_first: None,
        }
    }

    /// The cache has nothing to do with it.
    pub(super) fn past(&mut self, past: Past) {
        self.passes();
        self.forward(match past {
            Past::Method => Forward::Method,
            Past::Request | Past::Bypass => Forward::Bypass,
        });
    }

    /// It goes on to the upstream by itself.
    pub(super) fn passes(&mut self) {
        self.word = "pass";
    }

    pub(super) fn forward(&mut self, why: Forward) {
        self.status.forward = Some(why);
    }

    pub(super) fn hit(&mut self, good: Use) {
        self.status.forward = None;
        self.word = match good {
            Use::Fresh { .. } => "hit",
            _ => "stale",
        };
    }

    pub(super) fn stored(&mut self, entry: &Entry, is_own: bool) {
        self.status.forward_status = Some(entry.status());
        self.status.is_stored = true;
        self.collapsed(is_own);
    }

    pub(super) fn confirmed(&mut self, is_own: bool) {
        self.word = "revalidated";
        self.status.forward_status = Some(http::StatusCode::NOT_MODIFIED);
        self.collapsed(is_own);
    }

    fn collapsed(&mut self, is_own: bool) {
        if !is_own {
            self.word = "collapsed";
            self.status.is_collapsed = true;
        }
    }

    /// A stale response stands in for one that cannot be had.
    pub(super) fn spared(&mut self, exchange: &mut Exchange, why: Spared) {
        self.word = "stale";
        let reason = match why {
            Spared::Status(status) => {
                self.status.forward_status = Some(status);
                format!("upstream_{}", status.as_u16())
            }
            Spared::Code(code) => {
                self.status.detail = Some(code.slug());
                code.slug().to_owned()
            }
        };
        if let Some(degraded) = Degraded::by_cache(&reason) {
            exchange
                .route
                .metrics
                .count_fallback(&reason, &degraded.answer);
            exchange.degraded = Some(Box::new(degraded));
        }
    }

    pub(super) fn not_stored(&mut self, exchange: &mut Exchange, once: &Once) {
        self.status.forward_status = Some(once.status);
        self.status.detail = Some(once.why.as_str());
        take_over(exchange, &once.told);
    }

    pub(super) fn failed(&mut self, exchange: &mut Exchange, failure: &Failure) {
        take_over(exchange, &failure.told);
    }

    /// Whether the response was there before it was asked for.
    pub(super) fn is_from_before(&self) -> bool {
        matches!(self.word, "hit" | "stale" | "revalidated")
    }

    /// Adds it to a response.
    pub(in crate::proxy) fn tell(&self, response: &mut Parts) {
        let name = self.rules.cache.name();
        self.status.add(&name, &mut response.headers);
    }
}

/// What the upstream's part was is told of the client's exchange.
fn take_over(exchange: &mut Exchange, told: &Told) {
    if let Some((reason, answer)) = &told.degraded {
        let degraded = Degraded::told(reason.clone(), answer.clone());
        exchange.degraded = Some(Box::new(degraded));
    }
}
