//! Reading off the threads that serve.

use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::ReadWriteFlags;
use tokio::sync::Semaphore;

use super::region::Region;

/// How many threads may wait for the disk at a time.
const AT_A_TIME: usize = 16;
/// For a turn and for the disk. A disk that takes longer is of no use to anybody who waits for a response.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Reads {
    turns: Arc<Semaphore>,
}

impl Reads {
    pub(super) fn new() -> Reads {
        Reads {
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Exactly so many bytes. What the kernel has in memory is taken from there at once; for all else a thread waits.
    pub(super) async fn read(
        &self,
        region: &Arc<Region>,
        offset: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        if is_in_memory(region, offset, &mut bytes) {
            return Ok(bytes.into());
        }
        let region = region.clone();
        let in_turn = async {
            let turn = self.turns.clone().acquire_owned().await;
            let turn = turn.map_err(io::Error::other)?;
            let read = tokio::task::spawn_blocking(move || {
                let read = region.file.read_exact_at(&mut bytes, offset);
                // Kept for as long as the thread waits, also where nobody waits for it any more.
                drop(turn);
                read.map(|()| bytes.into())
            });
            read.await.map_err(io::Error::other)?
        };
        let read = tokio::time::timeout(PATIENCE, in_turn).await;
        read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Fills `bytes` where that takes no more than a copy. Not every file system can say so; then it does not.
fn is_in_memory(region: &Region, offset: u64, bytes: &mut [u8]) -> bool {
    let length = bytes.len();
    let mut slices = [IoSliceMut::new(bytes)];
    let read = rustix::io::preadv2(&region.file, &mut slices, offset, ReadWriteFlags::NOWAIT);
    read == Ok(length)
}
