//! The log of the marks: small records that must be on the disk before anybody is told that they are.
//!
//! ```text
//!  file     magic 8 │ version 4 │ identity 8 │ checksum 4 │ record … record
//!  record   length 4 │ checksum of the length 4 │ checksum of the record 4 │ record
//! ```
//! A record that the file ends in was not acknowledged, and is left out. Anything else that is not as it was written may
//! have been a purge, and whoever cannot know what was purged must not serve anything.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{u32_at, u64_at};
use super::region::options;

const NAME: &str = "marks";
const PART: &str = "marks.new";
const MAGIC: &[u8; 8] = b"NGmarks\n";
const VERSION: u32 = 1;
const HEADER: usize = 24;
const HEAD: usize = 12;
/// Where more has been logged, it is to be rewritten first.
const MOST: u64 = 64 << 20;
/// So that the length of a record is not taken for its own checksum.
const SALT: &[u8] = b"mark";

/// How much of the log there was at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    rewrites: u64,
    end: u64,
}

impl Position {
    /// Of the whole log then.
    pub fn bytes(&self) -> u64 {
        self.end
    }
}

/// An open log.
#[derive(Debug)]
pub(super) struct MarkLog {
    file: File,
    folder: PathBuf,
    position: Position,
    /// A number by chance that it keeps for as long as nothing is lost of it.
    identity: u64,
    /// The disk has not said that what was written last is there, and after that never says so again.
    is_doubtful: bool,
}

/// What the file says.
#[derive(Debug)]
pub(super) enum Loaded {
    Log(MarkLog, Vec<Vec<u8>>),
    Missing,
    /// It is not all there any more.
    Damaged(&'static str),
}

impl MarkLog {
    /// Blocks on the file system. An error is one of opening; what cannot be read is damaged.
    pub(super) fn load(folder: &Path) -> io::Result<Loaded> {
        let file = match options().open(folder.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Missing),
            opened => opened?,
        };
        if !file.metadata()?.is_file() {
            return Ok(Loaded::Damaged("it is not a file"));
        }
        let mut bytes = Vec::new();
        if (&file).take(MOST + 1).read_to_end(&mut bytes).is_err() {
            return Ok(Loaded::Damaged("it cannot be read"));
        }
        if bytes.len() as u64 > MOST {
            return Ok(Loaded::Damaged("it is too long"));
        }
        let (identity, records, end) = match read(&bytes) {
            Ok(read) => read,
            Err(why) => return Ok(Loaded::Damaged(why)),
        };
        if end < bytes.len() {
            // Otherwise what comes next would stand behind half a record.
            file.set_len(end as u64)?;
            file.sync_data()?;
        }
        let log = MarkLog {
            file,
            folder: folder.to_owned(),
            position: Position {
                rewrites: 0,
                end: end as u64,
            },
            identity,
            is_doubtful: false,
        };
        Ok(Loaded::Log(log, records))
    }

    /// A log without records, in the place of any that there was. Blocks until it is on the disk.
    pub(super) fn create(folder: &Path) -> io::Result<MarkLog> {
        let identity = rand::random();
        let bytes = header(identity);
        let file = replace(folder, &bytes)?;
        File::open(folder)?.sync_all()?;
        Ok(MarkLog {
            file,
            folder: folder.to_owned(),
            position: Position {
                rewrites: 0,
                end: bytes.len() as u64,
            },
            identity,
            is_doubtful: false,
        })
    }

    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// All of them or, with an error, maybe some. Blocks until they are on the disk.
    pub(super) fn append(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        if self.is_doubtful {
            return Err(io::Error::other(
                "what was logged before may be lost; the log is to be rewritten",
            ));
        }
        let bytes = encode(records)?;
        let end = self.position.end;
        if end + bytes.len() as u64 > MOST {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Err(error) = self.file.write_all_at(&bytes, end) {
            // Half a record in the middle would be damage at the next start.
            let cut = self.file.set_len(end).and_then(|()| self.file.sync_data());
            self.is_doubtful = cut.is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            self.is_doubtful = true;
            return Err(error);
        }
        self.position.end = end + bytes.len() as u64;
        Ok(())
    }

    /// These in the place of all that was there at a time; what was logged since stays. Blocks until it is on the disk, and
    /// whenever the machine stops, there is the one or the other.
    pub(super) fn rewrite(&mut self, since: Position, records: &[Vec<u8>]) -> io::Result<()> {
        if since.rewrites != self.position.rewrites || since.end > self.position.end {
            return Err(io::Error::other("it was rewritten by somebody else"));
        }
        let mut bytes = header(self.identity);
        bytes.extend_from_slice(&encode(records)?);
        let mut newer = vec![0; (self.position.end - since.end) as usize];
        self.file.read_exact_at(&mut newer, since.end)?;
        bytes.extend_from_slice(&newer);
        if bytes.len() as u64 > MOST {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file = replace(&self.folder, &bytes)?;
        self.position = Position {
            rewrites: self.position.rewrites + 1,
            end: bytes.len() as u64,
        };
        // Until the folder says that it is on the disk, a stop of the machine may bring back the one before, which does not
        // have what would be logged from now on.
        self.is_doubtful = true;
        File::open(&self.folder)?.sync_all()?;
        self.is_doubtful = false;
        Ok(())
    }
}

/// Whose name is not on the disk yet. With an error all is as it was.
fn replace(folder: &Path, bytes: &[u8]) -> io::Result<File> {
    let part = folder.join(PART);
    // What a killed process has left.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = options().create_new(true).open(&part)?;
    let named = file
        .write_all_at(bytes, 0)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&part, folder.join(NAME)));
    if let Err(error) = named {
        // It is in nobody's way.
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    Ok(file)
}

pub(super) fn header(identity: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&identity.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn encode(records: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc_of_length(length).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
        bytes.extend_from_slice(record);
    }
    Ok(bytes)
}

fn crc_of_length(length: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(SALT);
    hasher.update(&length.to_le_bytes());
    hasher.finalize()
}

/// Its identity, the records, and where the last of them ends.
pub(super) fn read(bytes: &[u8]) -> Result<(u64, Vec<Vec<u8>>, usize), &'static str> {
    let identity = u64_at(bytes, 12).unwrap_or_default();
    if bytes.get(..HEADER) != Some(&header(identity)) {
        return Err("it does not begin as it should");
    }
    let (mut records, mut end) = (Vec::new(), HEADER);
    while let Some(head) = bytes.get(end..end + HEAD) {
        let (Some(length), Some(crc)) = (u32_at(head, 0), u32_at(head, 4)) else {
            break;
        };
        if crc_of_length(length) != crc {
            return Err("the length of a record is not what was written");
        }
        let from = end + HEAD;
        let Some(record) = bytes.get(from..from.saturating_add(length as usize)) else {
            break;
        };
        if u32_at(head, 8) != Some(crc32fast::hash(record)) {
            return Err("a record is not what was written");
        }
        records.push(record.to_vec());
        end = from + record.len();
    }
    Ok((identity, records, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(numbers: std::ops::Range<u8>) -> Vec<Vec<u8>> {
        numbers.map(|n| vec![n; usize::from(n) * 10]).collect()
    }

    fn loaded(folder: &Path) -> (MarkLog, Vec<Vec<u8>>) {
        match MarkLog::load(folder).unwrap() {
            Loaded::Log(log, records) => (log, records),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_logged_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(matches!(MarkLog::load(folder).unwrap(), Loaded::Missing));
        MarkLog::create(folder)
            .unwrap()
            .append(&records(0..3))
            .unwrap();
        let (mut log, there) = loaded(folder);
        assert_eq!(there, records(0..3));
        let since = log.position();
        log.append(&records(3..5)).unwrap();
        assert_eq!(loaded(folder).1, records(0..5));
        // What was logged after the rewriter had looked is not in what it writes.
        log.rewrite(since, &records(9..10)).unwrap();
        log.append(&records(5..6)).unwrap();
        let expected = [records(9..10), records(3..6)].concat();
        assert_eq!(loaded(folder).1, expected);
        assert!(log.rewrite(since, &[]).is_err(), "of another log");
        assert_eq!(loaded(folder).1, expected);
        let at = log.position();
        log.rewrite(at, &[]).unwrap();
        assert_eq!(loaded(folder).1, records(0..0));
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    }

    #[test]
    fn what_was_not_acknowledged_is_cut_off_and_all_else_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let path = folder.join(NAME);
        let mut log = MarkLog::create(folder).unwrap();
        let mut ends = vec![log.position().end as usize];
        for record in records(1..5) {
            log.append(&[record]).unwrap();
            ends.push(log.position().end as usize);
        }
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let there = ends.iter().filter(|end| **end <= length).count();
            if there == 0 {
                assert!(matches!(MarkLog::load(folder).unwrap(), Loaded::Damaged(_)));
                continue;
            }
            let (mut log, read) = loaded(folder);
            assert_eq!(read, records(1..there as u8), "{length}");
            // A short one, which does not cover what was left of another.
            log.append(&records(0..1)).unwrap();
            let expected = [records(1..there as u8), records(0..1)].concat();
            assert_eq!(loaded(folder).1, expected, "{length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            assert!(
                matches!(MarkLog::load(folder).unwrap(), Loaded::Damaged(_)),
                "bit {bit}"
            );
        }
    }
}
