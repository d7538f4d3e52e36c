//! What an exchange brings that fetches for the cache.
//!
//! Who waits for the response reads it from the cache, each at its own pace, so that no client holds up the upstream or another
//! client, and none that leaves takes the response away from the others.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::cache::{Filler, Sink};
use crate::proxy::own::{Taker, Unwanted};

/// Puts a response into the cache, or where the one is who has asked for it.
pub(super) struct Filling {
    filler: Arc<Filler>,
    sink: Sink,
}

impl Filling {
    pub(super) fn new(filler: Arc<Filler>) -> Filling {
        Filling {
            filler,
            sink: Sink::Nowhere,
        }
    }
}

#[async_trait]
impl Taker for Filling {
    fn begin(&mut self, status: StatusCode, headers: HeaderMap) {
        self.sink = self.filler.begin(status, headers);
    }

    async fn push(&mut self, part: Bytes) -> Result<(), Unwanted> {
        let Filling { filler, sink } = self;
        let pushing = sink.push(part);
        tokio::pin!(pushing);
        tokio::select! {
            biased;
            pushed = &mut pushing => return pushed.map_err(|_| Unwanted),
            () = filler.is_left_alone() => {}
        }
        pushing.await.map_err(|_| Unwanted)
    }

    fn finish(&mut self) {
        self.sink.finish();
    }
}
