//! Where the parts of a body go that is being fetched.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Cache;
use super::body::{Broken, Writer};
use super::entry::Entry;

/// How long whoever has asked has to wake up: a second in all.
const WAKES: u32 = 100;
const WAKE: Duration = Duration::from_millis(10);

/// Where the parts of a body go.
#[derive(Debug, Default)]
pub enum Sink {
    Kept(Keeping),
    Once(Writer),
    /// Nobody needs it.
    #[default]
    Nowhere,
}

/// An entry that is being written. It is kept once all of it is there.
#[derive(Debug)]
pub struct Keeping {
    cache: Arc<Cache>,
    entry: Arc<Entry>,
    writer: Option<Writer>,
    /// As much as may be kept of it.
    most: u64,
    is_let_go: bool,
}

impl Sink {
    /// Takes in a part. It waits only where that is for its readers to take.
    pub async fn push(&mut self, part: Bytes) -> Result<(), Broken> {
        match self {
            Sink::Kept(keeping) => keeping.push(part).await,
            Sink::Once(writer) => writer.pass(&part).await,
            Sink::Nowhere => Ok(()),
        }
    }

    /// All of it has come.
    pub fn finish(&mut self) {
        match std::mem::take(self) {
            Sink::Kept(mut keeping) => keeping.finish(),
            Sink::Once(writer) => writer.finish(),
            Sink::Nowhere => {}
        }
    }
}

impl Keeping {
    pub(super) fn new(cache: Arc<Cache>, entry: Arc<Entry>, writer: Writer, most: u64) -> Keeping {
        Keeping {
            cache,
            entry,
            writer: Some(writer),
            most,
            is_let_go: false,
        }
    }

    async fn push(&mut self, part: Bytes) -> Result<(), Broken> {
        let Some(writer) = &mut self.writer else {
            return Err(Broken);
        };
        if !self.is_let_go {
            let is_small = writer.length() + part.len() as u64 <= self.most;
            if is_small && writer.push(&part).is_ok() {
                return Ok(());
            }
            // Whoever reads it may do so to its end, and nobody begins to.
            self.cache.forget(&self.entry);
            self.cache.pass(self.entry.key);
            // Who has asked for it may not have come to read it yet.
            for _ in 0..WAKES {
                if writer.has_readers() {
                    break;
                }
                tokio::time::sleep(WAKE).await;
            }
            writer.let_go();
            self.is_let_go = true;
        }
        writer.pass(&part).await
    }

    fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish();
            if !self.is_let_go {
                self.cache.settle(&self.entry);
            }
        }
    }
}

/// What was broken off is not kept.
impl Drop for Keeping {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            self.cache.forget(&self.entry);
        }
    }
}
