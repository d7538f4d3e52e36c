//! Where regions are read that are bytes of a target's.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::TempDir;

use super::super::counters::Counters;
use super::super::index::{Index, Regions, Whereabouts};
use super::super::limits::Limits;
use super::super::place::Place;
use super::super::queue::Queue;
use super::super::reads::Reads;
use super::super::record::{BLOCK, Entry};
use super::super::region::{Contents, Region};
use super::super::tests::read;
use super::super::{Found, Inner, Key, Position};

/// In bytes.
pub(super) const MOST_REGION: u64 = 4 << 20;

pub(super) struct Bench {
    pub(super) folder: TempDir,
    inner: Arc<Inner>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let limits = Limits::of(4 * MOST_REGION).unwrap();
        let inner = Inner {
            index: Index::new(0),
            regions: Regions::default(),
            reads: Reads::new(),
            counters: Counters::default(),
            work: Queue::new(0),
            marks: Queue::new(0),
            position: Mutex::new(Position::default()),
            bytes: 0.into(),
            limits,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        Bench {
            folder: tempfile::tempdir().unwrap(),
            inner: Arc::new(inner),
            runtime,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("region.0000000000000001")
    }

    pub(super) fn contents(&self, bytes: &[u8]) -> Option<(Arc<Region>, Contents)> {
        // A file that is emptied first is written through to the disk by some file systems.
        let mut file = File::options();
        let file = file.write(true).create(true).truncate(false);
        let file = file.open(self.path()).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let region = Region::open(self.path(), 0).unwrap().ok()?;
        let contents = region.contents().unwrap();
        Some((Arc::new(region), contents))
    }

    /// What is there of an object; its body only where all of it is.
    pub(super) fn find(&self, region: &Arc<Region>, key: &Key, entry: Entry) -> Option<Object> {
        let place = Place {
            slot: 0,
            offset: entry.offset,
            length: entry.length,
        };
        let at = Whereabouts::Written(region.clone(), place);
        self.runtime.block_on(async {
            let found = Found::open(&self.inner, key, at).await?;
            let body = read(&found, 3 * BLOCK).await.ok();
            Some((found.meta().clone(), body))
        })
    }
}

/// Meta, and the body where all of it can be read.
pub(super) type Object = (Bytes, Option<Vec<u8>>);
