//! The thread that writes: one record after the other, region after region.
//!
//! There are always at least `carried` bytes less than the bound on the disk, so that what is written again of a region
//! has its place before that region goes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::iter;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Inner;
use super::index::Parcel;
use super::limits::Limits;
use super::place::{MOST_REGIONS, Place};
use super::record::{HEAD, Head, Header, Key, Kind, is_whole, name_of, table_of};
use super::region::{Active, Region};

/// For so long nothing is written to a disk that would not take something.
const PAUSE: Duration = Duration::from_secs(1);
/// A larger object is not written again: it would take the share of many.
const MOST_CARRIED: u64 = 8 << 20;

/// What there is to write.
#[derive(Debug)]
pub(super) enum Work {
    Put(Arc<Parcel>),
    Remove(Key),
    /// Answered when all is written that was given before.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Writer {
    inner: Arc<Inner>,
    folder: PathBuf,
    limits: Limits,
    /// By their sequence numbers, the oldest first, and what each takes on the disk.
    sealed: BTreeMap<u64, (Arc<Region>, u64)>,
    /// Of them all.
    sealed_bytes: u64,
    active: Option<Active>,
    /// Deleted, with what they take for as long as somebody reads from them.
    leaving: VecDeque<(Weak<Region>, u64)>,
    next: u64,
    log: u64,
    failing_until: Option<Instant>,
}

/// What is there at the start.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) sealed: BTreeMap<u64, (Arc<Region>, u64)>,
    pub(super) active: Option<Active>,
    /// The sequence number of the region to come.
    pub(super) next: u64,
    /// The identity of the log of marks.
    pub(super) log: u64,
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, folder: PathBuf, limits: Limits, stock: Stock) -> Writer {
        let writer = Writer {
            inner,
            folder,
            limits,
            sealed_bytes: stock.sealed.values().map(|(_, bytes)| bytes).sum(),
            sealed: stock.sealed,
            active: stock.active,
            leaving: VecDeque::new(),
            next: stock.next,
            log: stock.log,
            failing_until: None,
        };
        writer.measure();
        writer
    }

    /// Until there is no more to come.
    pub(super) fn run(mut self) {
        while let Some(work) = self.inner.work.pop() {
            match work {
                Work::Put(parcel) => self.put(&parcel),
                Work::Remove(key) => self.remove(key),
                // Who has asked may have gone.
                Work::Flush(done) => drop(done.send(())),
            }
            self.measure();
        }
        self.seal();
    }

    fn put(&mut self, parcel: &Arc<Parcel>) {
        let counters = &self.inner.counters;
        if !self.inner.index.is_queued(parcel) {
            counters.dropped_superseded.add(1);
            return;
        }
        match self.write(parcel) {
            Ok(place) => {
                self.inner.index.settle(parcel, place);
                let counters = &self.inner.counters;
                counters.writes.add(1);
                counters.written_bytes.add(place.length());
            }
            Err(error) => {
                // What there was before it must not come back in its place; where that cannot be written either, it may
                // after a restart.
                if self.inner.index.discard(parcel) {
                    self.inner.log_removal(parcel.key);
                }
                self.inner.counters.dropped_failed.add(1);
                self.fail(error);
            }
        }
    }

    fn remove(&mut self, key: Key) {
        if let Err(error) = self.append(Head::removal(key), iter::empty()) {
            self.inner.counters.dropped_removals.add(1);
            self.fail(error);
        }
    }

    fn write(&mut self, parcel: &Parcel) -> io::Result<Place> {
        let table = table_of(&parcel.parts);
        let mut lead = crc32fast::Hasher::new();
        lead.update(&table);
        lead.update(&parcel.meta);
        let head = Head {
            kind: Kind::Object,
            meta_length: u32::try_from(parcel.meta.len()).map_err(io::Error::other)?,
            body_length: u32::try_from(parcel.body_length).map_err(io::Error::other)?,
            lead_crc: lead.finalize(),
            ..Head::removal(parcel.key)
        };
        let body = parcel.parts.iter().map(Bytes::as_ref);
        let pieces = [table.as_slice(), &parcel.meta].into_iter().chain(body);
        self.append(head, pieces)
    }

    fn append<'a>(
        &mut self,
        head: Head,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> io::Result<Place> {
        if let Some(until) = self.failing_until {
            if Instant::now() < until {
                return Err(io::Error::other("it has failed a moment ago"));
            }
            self.failing_until = None;
        }
        match self.append_once(head, pieces.clone()) {
            // The disk has less room than the bound: what is oldest goes, once.
            Err(error) if is_full(&error) && self.give_way() => self.append_once(head, pieces),
            appended => appended,
        }
    }

    /// `false` where there is nothing that could go.
    fn give_way(&mut self) -> bool {
        if self.sealed.is_empty() {
            self.seal();
        }
        self.drop_oldest()
    }

    fn append_once<'a>(
        &mut self,
        head: Head,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<Place> {
        let length = head.length();
        if !self
            .active
            .as_ref()
            .is_some_and(|active| active.fits(length))
        {
            self.rotate()?;
        }
        let active = self.active.as_mut().filter(|active| active.fits(length));
        let active = active.ok_or(io::ErrorKind::FileTooLarge)?;
        active.append(head, pieces)
    }

    /// Seals what is written to, begins another and makes room for it.
    fn rotate(&mut self) -> io::Result<()> {
        self.seal();
        let (region, carried) = (self.limits.region, self.limits.carried);
        // Where the bound is another than it was.
        while self.is_past(carried) && self.drop_oldest() {}
        let slot = self.inner.regions.free_slot();
        let created = loop {
            let header = Header {
                sequence: self.next,
                salt: rand::random(),
                log: self.log,
            };
            self.next += 1;
            match Region::create(&self.folder, slot, header) {
                // Somebody else's; there are not many.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => break created?,
            }
        };
        let created = Arc::new(created);
        self.inner.regions.add(created.clone());
        self.active = Some(Active::new(created, region));
        let mut share = carried;
        while self.is_past(region + carried) {
            self.carry(&mut share);
            if !self.drop_oldest() {
                break;
            }
        }
        Ok(())
    }

    /// Whether so much more than what is sealed is more than there may be.
    fn is_past(&self, more: u64) -> bool {
        self.sealed_bytes + more > self.limits.bound || self.sealed.len() + 2 > MOST_REGIONS
    }

    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            let (region, bytes, sealed) = active.seal();
            if let Err(error) = sealed {
                self.inner.counters.cannot_write(&error);
            }
            self.sealed_bytes += bytes;
            self.sealed.insert(region.header.sequence, (region, bytes));
        }
    }

    /// `false` where there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some((_, (region, bytes))) = self.sealed.pop_first() else {
            return false;
        };
        self.sealed_bytes -= bytes;
        let swept = self.inner.index.sweep(region.slot);
        self.inner.regions.remove(region.slot);
        self.inner.counters.evicted.add(swept as u64);
        if let Err(error) = region.delete() {
            self.inner.counters.cannot_write(&error);
        }
        self.leaving.push_back((Arc::downgrade(&region), bytes));
        drop(region);
        self.bound_leaving();
        true
    }

    /// A deleted file takes its room until nobody has it open. So that slow readers cannot fill the disk, those that read
    /// from what was deleted first then get an error.
    fn bound_leaving(&mut self) {
        self.leaving.retain(|(region, _)| region.strong_count() > 0);
        let mut bytes: u64 = self.leaving.iter().map(|(_, bytes)| bytes).sum();
        while bytes > self.limits.leaving
            && let Some((region, freed)) = self.leaving.pop_front()
        {
            bytes -= freed;
            if let Some(Err(error)) = region.upgrade().map(|region| region.file.set_len(0)) {
                self.inner.counters.cannot_write(&error);
            }
        }
    }

    /// Writes again what was asked for of the oldest region, as far as the share goes.
    fn carry(&mut self, share: &mut u64) {
        let Some((_, (region, _))) = self.sealed.first_key_value() else {
            return;
        };
        let region = region.clone();
        for (name, place) in self.inner.index.asked_for_in(region.slot) {
            // With what it takes in the footer.
            let cost = place.length() + super::record::ENTRY as u64;
            if place.length() > MOST_CARRIED || cost > *share {
                continue;
            }
            let Some((head, rest)) = self.record(&region, name, place) else {
                continue;
            };
            match self
                .active
                .as_mut()
                .map(|active| active.append(head, iter::once(&rest[..])))
            {
                Some(Ok(to)) => {
                    self.inner.index.relocate(name, place, to);
                    self.inner.counters.carried.add(1);
                    *share -= cost;
                }
                Some(Err(error)) => return self.inner.counters.cannot_write(&error),
                None => return,
            }
        }
    }

    /// A whole record as it was written: its head and what follows it.
    fn record(&self, region: &Region, name: u64, place: Place) -> Option<(Head, Vec<u8>)> {
        let mut bytes = vec![0; place.length() as usize];
        if let Err(error) = region.file.read_exact_at(&mut bytes, place.offset()) {
            self.inner.counters.cannot_read(&error);
            return None;
        }
        let checked = || {
            let head = Head::decode(&bytes, region.header.salt, place.offset() as u32)?;
            let body_offset = head.body_offset();
            let end = body_offset.checked_add(head.body_length as usize)?;
            let lead = bytes.get(HEAD..body_offset)?;
            let body = bytes.get(body_offset..end)?;
            let is_whole = crc32fast::hash(lead) == head.lead_crc
                && name_of(&head.key) == name
                && is_whole(lead, 0, body);
            is_whole.then_some((head, end))
        };
        let Some((head, end)) = checked() else {
            self.inner.forget(name, place);
            return None;
        };
        bytes.truncate(end);
        bytes.drain(..HEAD);
        Some((head, bytes))
    }

    fn fail(&mut self, error: io::Error) {
        if self.failing_until.is_none() {
            self.inner.counters.cannot_write(&error);
            self.failing_until = Some(Instant::now() + PAUSE);
        }
    }

    fn measure(&self) {
        let active = self.active.as_ref().map_or(0, Active::bytes);
        self.inner.bytes.store(self.sealed_bytes + active, Relaxed);
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
