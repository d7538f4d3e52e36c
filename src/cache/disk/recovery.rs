//! What there is in the folder at the start.
//!
//! What cannot be understood is left out; what is surely ours and of no use is deleted, and what is not ours is left alone.
//! But what cannot be opened may be what has removed or replaced something in an older region, which would show again. So
//! there is no cache on disk then, until it can be; the gateway starts without.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OpenError;
use super::index::{Index, Regions};
use super::limits::Limits;
use super::marks::{Loaded, MarkLog};
use super::place::{MOST_REGION, MOST_REGIONS, Place};
use super::record::{Beginning, Kind};
use super::region::{Active, Contents, Region, options, sequence_in};
use super::writer::Stock;

const LOCK: &str = "lock";

/// All that a start needs.
pub(super) struct Recovered {
    /// Held for as long as it is locked.
    pub(super) lock: File,
    pub(super) log: MarkLog,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) index: Index,
    pub(super) regions: Regions,
    pub(super) stock: Stock,
}

/// Blocks on the file system.
pub(super) fn recover(folder: &Path, limits: &Limits) -> Result<Recovered, OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let lock = lock(folder)?;
    let (log, records) = marks(folder)?;
    let log_identity = log.identity();
    let (found, next) = regions_in(folder, log_identity)?;
    let mut found = found
        .into_iter()
        .map(|region| Ok((region.contents()?, region)))
        .collect::<io::Result<Vec<_>>>()?;
    // What was written last goes on where it has room.
    let last = found.pop_if(|(contents, _)| contents.end + limits.carried <= limits.region);
    let growing = last.as_ref().map_or(0, |_| limits.region);
    shrink(
        &mut found,
        limits.bound.saturating_sub(growing + limits.carried),
    );
    let all = || found.iter().chain(&last);
    let index = index_of(all());
    let regions = Regions::default();
    let mut sealed = BTreeMap::new();
    for (contents, region) in found {
        let region = Arc::new(region);
        let bytes = seal_again(contents, &region)?;
        regions.add(region.clone());
        sealed.insert(region.header.sequence, (region, bytes));
    }
    let mut active = None;
    if let Some((contents, region)) = last {
        let region = Arc::new(region);
        regions.add(region.clone());
        active = Some(Active::resume(region, contents, limits.region)?);
    }
    Ok(Recovered {
        lock,
        log,
        records,
        index,
        regions,
        stock: Stock {
            sealed,
            active,
            next,
            log: log_identity,
        },
    })
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let lock = options()
        .create(true)
        .truncate(false)
        .open(folder.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Those that belong to the log of marks, the oldest first, and the number of the next to come.
fn regions_in(folder: &Path, log: u64) -> io::Result<(Vec<Region>, u64)> {
    let mut names: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let sequence = name.to_str().and_then(sequence_in);
        if let Some(sequence) = sequence.filter(|_| entry.file_type().is_ok_and(|is| is.is_file()))
        {
            names.push((sequence, entry.path()));
        }
    }
    names.sort_unstable();
    let next = names.last().map_or(1, |(sequence, _)| sequence + 1);
    // More than there are slots for is nothing that we have left.
    let too_many = names.len().saturating_sub(MOST_REGIONS - 2);
    let mut found = Vec::new();
    for (sequence, path) in names.into_iter().skip(too_many) {
        match Region::open(path.clone(), found.len() as u16) {
            Ok(Ok(region)) if region.header.sequence == sequence && region.header.log == log => {
                found.push(region);
            }
            // It stays of no use, whether this can be done or not.
            Ok(Ok(_) | Err(Beginning::Unreadable)) => drop(fs::remove_file(&path)),
            Ok(Err(_)) => log::warn!("cache: {} is not a file of this cache", path.display()),
            Err(error) => {
                let error = format!("{} cannot be opened: {error}", path.display());
                return Err(io::Error::other(error));
            }
        }
    }
    Ok((found, next))
}

/// Where it cannot be known what was purged there is a new log, to which nothing of what was stored before belongs.
fn marks(folder: &Path) -> io::Result<(MarkLog, Vec<Vec<u8>>)> {
    match MarkLog::load(folder)? {
        Loaded::Log(log, records) => return Ok((log, records)),
        Loaded::Missing => {}
        Loaded::Damaged(why) => log::warn!(
            "cache: the log of purges in {} cannot be relied on ({why}); all that was stored is dropped",
            folder.display()
        ),
    }
    Ok((MarkLog::create(folder)?, Vec::new()))
}

/// The oldest go, where the bound is less than it was.
fn shrink(found: &mut Vec<(Contents, Region)>, most: u64) {
    let (mut bytes, mut kept) = (0_u64, 0);
    for (_, region) in found.iter().rev() {
        let length = region.file.metadata().map_or(u64::MAX, |it| it.len());
        bytes = bytes.saturating_add(length);
        if bytes > most {
            break;
        }
        kept += 1;
    }
    let too_many = found.len() - kept;
    for (_, region) in found.drain(..too_many) {
        // An empty one has nothing that could come back, and takes no room.
        let gone = region.delete().or_else(|_| region.file.set_len(0));
        if let Err(error) = gone {
            log::warn!("cache: a region that has no room any more stays: {error}");
        }
    }
}

/// What was written later is what counts.
fn index_of<'a>(found: impl Iterator<Item = &'a (Contents, Region)> + Clone) -> Index {
    let objects = found
        .clone()
        .map(|(contents, _)| contents.entries.len())
        .sum();
    let index = Index::new(objects);
    for (contents, region) in found {
        for entry in &contents.entries {
            let place = Place {
                slot: region.slot,
                offset: entry.offset,
                length: entry.length,
            };
            match entry.kind {
                Kind::Object => index.restore(entry.name, place),
                Kind::Removal => drop(index.remove(entry.name)),
            }
        }
    }
    index
}

/// So that it is not gone through at the next start again. What it takes on the disk.
fn seal_again(contents: Contents, region: &Arc<Region>) -> io::Result<u64> {
    if !contents.is_sealed {
        let resumed = Active::resume(region.clone(), contents, MOST_REGION);
        if let Err(error) = resumed.and_then(|resumed| resumed.seal().2) {
            log::warn!("cache: a region stays without its index: {error}");
        }
    }
    Ok(region.file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_deleted_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let header = crate::cache::disk::record::Header {
            sequence: 1,
            salt: 2,
            log: 3,
        };
        let region = Region::create(folder.path(), 0, header).unwrap();
        let (contents, file) = (region.contents().unwrap(), region.file.try_clone().unwrap());
        assert!(file.metadata().unwrap().len() > 0);
        // In its place is what no file can be deleted by.
        let path = folder.path().join("region.0000000000000001");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let mut found = vec![(contents, region)];
        shrink(&mut found, 0);
        assert_eq!((found.len(), file.metadata().unwrap().len()), (0, 0));
    }
}
