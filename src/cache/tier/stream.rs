//! The body of an entry on its way from the disk to those who read it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::Tier;
use crate::cache::Cache;
use crate::cache::body::{Broken, Reader, Writer};
use crate::cache::disk::Found;
use crate::cache::entry::Entry;

/// What is read at a time: what costs least, and less than what a body that is let go keeps of itself.
const PART: usize = 256 << 10;
/// How often it looks whether there is still somebody who may begin to read. Of who begins it hears at once.
const LOOK: Duration = Duration::from_millis(100);
/// How long a body waits for its first reader, who may have to ask the upstream whether it is still good.
const FIRST_READER: Duration = Duration::from_secs(60);
/// How long others have after the first to begin.
const OTHERS: Duration = Duration::from_millis(100);
/// How long a reader may take for a part. Those that are slower are ended by their client's deadlines long before.
const SLOWEST: Duration = Duration::from_secs(300);

/// A body on its way from the disk.
#[derive(Debug)]
pub(super) struct Stream {
    cache: Arc<Cache>,
    entry: Arc<Entry>,
    found: Found,
    writer: Writer,
    /// Keeps the beginning of what is let go for those who have yet to begin reading.
    first: Option<Reader>,
    /// Whether others than who has begun it may read it.
    is_shared: bool,
    is_let_go: bool,
}

impl Stream {
    pub(super) fn new(
        cache: Arc<Cache>,
        entry: Arc<Entry>,
        found: Found,
        writer: Writer,
    ) -> Stream {
        Stream {
            first: entry.body.read_from(0),
            cache,
            entry,
            found,
            writer,
            is_shared: true,
            is_let_go: false,
        }
    }

    /// It is for one reader, and not for the memory: no more of it is there than a window.
    pub(super) fn is_for_one(&mut self) {
        self.is_shared = false;
        self.let_go();
    }

    fn let_go(&mut self) {
        self.writer.let_go();
        self.is_let_go = true;
    }

    /// Reads the first part. True where there is no more.
    pub(super) async fn begin(&mut self) -> Result<bool, Broken> {
        self.pass_on().await?;
        let is_whole = self.is_whole();
        if is_whole {
            self.writer.end();
        }
        Ok(is_whole)
    }

    fn is_whole(&self) -> bool {
        self.writer.length() >= self.found.body_length()
    }

    async fn pass_on(&mut self) -> Result<(), Broken> {
        if self.is_whole() {
            return Ok(());
        }
        let part = self.found.read(self.writer.length(), PART).await;
        let part = part.ok().filter(|part| !part.is_empty()).ok_or(Broken)?;
        if !self.is_let_go {
            if self.writer.push(&part).is_ok() {
                return Ok(());
            }
            // There is no room. Whoever reads it may do so to its end.
            self.cache.forget_loaded(&self.entry);
            self.let_go();
        }
        self.pass(&part).await
    }

    async fn pass(&mut self, part: &Bytes) -> Result<(), Broken> {
        let has_begun = self.writer.length() > 0;
        if has_begun && self.first.is_some() {
            self.await_readers().await?;
            self.first = None;
        }
        let passed = tokio::time::timeout(SLOWEST, self.writer.pass(part)).await;
        passed.unwrap_or(Err(Broken))
    }

    /// Waits until somebody reads it; an error where nobody will.
    async fn await_readers(&self) -> Result<(), Broken> {
        let begun = async {
            // One is its own.
            while self.entry.body.readers() < 2 {
                if self.is_alone() {
                    return Err(Broken);
                }
                let _ = tokio::time::timeout(LOOK, self.entry.body.readers_moved()).await;
            }
            if self.is_shared {
                tokio::time::sleep(OTHERS).await;
            }
            Ok(())
        };
        let begun = tokio::time::timeout(FIRST_READER, begun).await;
        begun.unwrap_or(Err(Broken))
    }

    /// Whether nobody has the entry, nor another with its body.
    fn is_alone(&self) -> bool {
        // The entry, the writer and the reader of the stream have it.
        Arc::strong_count(&self.entry) == 1 && Arc::strong_count(&self.entry.body) <= 3
    }

    /// Reads what is left. What breaks off breaks off for its readers as well, and is not in memory any more.
    async fn run(mut self) {
        while !self.is_whole() {
            if self.pass_on().await.is_err() {
                return self.cache.forget_loaded(&self.entry);
            }
        }
        self.writer.end();
        if !self.is_let_go {
            self.cache.memory.weigh_again(&self.entry.key);
        }
    }
}

impl Tier {
    /// Has the rest of a body read by a task, which ends with the cache at the latest.
    pub(super) fn stream(&self, stream: Stream) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream.run());
    }
}
