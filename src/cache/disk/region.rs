//! One file of many records: written once from its beginning to its end, then sealed, and one day deleted as a whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::place::{MOST_REGION, Place};
use super::record::{
    BLOCK, Beginning, ENTRY, Entry, HEAD, HEADER, Head, Header, TRAILER, Trailer, UNIT,
    encode_footer, name_of,
};

const PREFIX: &str = "region.";
/// What is written in one piece, unless a part is larger.
const BUFFER: usize = 4 * BLOCK;
/// What is read in one piece while a region is gone through.
const WINDOW: usize = 16 * BLOCK;

/// A file, open for as long as somebody reads from it: once deleted it is still what it was for them.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) slot: u16,
    pub(super) header: Header,
    pub(super) file: File,
    path: PathBuf,
}

/// Which records there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// Where the last record ends, in bytes.
    pub(super) end: u64,
    pub(super) is_sealed: bool,
}

/// A region that is being written. What is not published in the index is nobody's yet.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) region: Arc<Region>,
    entries: Vec<Entry>,
    end: u64,
    /// How long the file may become, with its footer.
    most: u64,
    buffer: Vec<u8>,
}

/// The sequence number in a name; `None` where it is no name of a region.
pub(super) fn sequence_in(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    // Names that say the same in another way are not ours, and there is always a next number.
    (digits == format!("{sequence:016x}") && sequence < u64::MAX / 2).then_some(sequence)
}

impl Region {
    /// An empty one, in a file that was not there before.
    pub(super) fn create(folder: &Path, slot: u16, header: Header) -> io::Result<Region> {
        let path = folder.join(format!("{PREFIX}{:016x}", header.sequence));
        let file = options().create_new(true).open(&path)?;
        let region = Region {
            slot,
            header,
            file,
            path,
        };
        if let Err(error) = region.file.write_all_at(&header.encode(), 0) {
            // What stays behind is cleared away at the next start.
            let _ = region.delete();
            return Err(error);
        }
        Ok(region)
    }

    /// One that is there. `Err` of the inner says what it is instead.
    pub(super) fn open(path: PathBuf, slot: u16) -> io::Result<Result<Region, Beginning>> {
        let file = options().open(&path)?;
        let mut first = [0; HEADER];
        let read = read_up_to(&file, &mut first, 0)?;
        let first = first.get(..read).unwrap_or_default();
        Ok(match Header::decode(first) {
            Beginning::Region(header) => Ok(Region {
                slot,
                header,
                file,
                path,
            }),
            other => Err(other),
        })
    }

    pub(super) fn delete(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// From the footer where there is a whole one, else from the records themselves up to the first that is not whole.
    pub(super) fn contents(&self) -> io::Result<Contents> {
        let length = self.file.metadata()?.len().min(MOST_REGION);
        // A footer that cannot be read is as good as none.
        if let Ok(Some(contents)) = self.footer(length) {
            return Ok(contents);
        }
        Ok(self.scan(length))
    }

    fn footer(&self, length: u64) -> io::Result<Option<Contents>> {
        let Some(at) = length.checked_sub(TRAILER as u64) else {
            return Ok(None);
        };
        let mut bytes = [0; TRAILER];
        self.file.read_exact_at(&mut bytes, at)?;
        let Some(trailer) = Trailer::decode(&self.header, &bytes) else {
            return Ok(None);
        };
        let listed = u64::from(trailer.count) * ENTRY as u64;
        if trailer.end < HEADER as u64 || trailer.end.checked_add(listed) != Some(at) {
            return Ok(None);
        }
        let mut bytes = vec![0; listed as usize];
        self.file.read_exact_at(&mut bytes, trailer.end)?;
        Ok(trailer.entries(&bytes).map(|entries| Contents {
            entries,
            end: trailer.end,
            is_sealed: true,
        }))
    }

    /// Bodies are not looked at: whoever reads them does.
    fn scan(&self, length: u64) -> Contents {
        let mut window = Window {
            file: &self.file,
            length,
            at: 0,
            bytes: Vec::new(),
        };
        let mut contents = Contents {
            entries: Vec::new(),
            end: HEADER as u64,
            is_sealed: false,
        };
        while let Some(entry) = self.entry_at(&mut window, contents.end) {
            contents.end = entry.end();
            contents.entries.push(entry);
        }
        contents
    }

    fn entry_at(&self, window: &mut Window<'_>, offset: u64) -> Option<Entry> {
        let head = window.read(offset, HEAD)?;
        let head = Head::decode(head, self.header.salt, u32::try_from(offset).ok()?)?;
        let lead = window.read(offset, head.body_offset())?.get(HEAD..)?;
        let place = Place {
            slot: self.slot,
            offset: (offset / UNIT) as u32,
            length: (head.length() / UNIT) as u32,
        };
        let is_whole = crc32fast::hash(lead) == head.lead_crc
            && Place::fits(place.offset, place.length)
            && offset + head.length() <= window.length;
        is_whole.then(|| Entry::of(name_of(&head.key), head.kind, place))
    }
}

impl Active {
    /// Goes on behind what is there. Whatever stands behind that goes away.
    pub(super) fn resume(region: Arc<Region>, contents: Contents, most: u64) -> io::Result<Active> {
        region.file.set_len(contents.end)?;
        Ok(Active {
            region,
            entries: contents.entries,
            end: contents.end,
            most,
            buffer: Vec::new(),
        })
    }

    pub(super) fn new(region: Arc<Region>, most: u64) -> Active {
        Active {
            region,
            entries: Vec::new(),
            end: HEADER as u64,
            most,
            buffer: Vec::new(),
        }
    }

    /// What it takes on the disk now, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Whether a record of so many bytes, and the footer with it, can still be written.
    pub(super) fn fits(&self, length: u64) -> bool {
        let footer = (self.entries.len() + 1) * ENTRY + TRAILER;
        self.end + length + footer as u64 <= self.most
    }

    /// Writes a record of a head, whose place is found here, and all that follows it. Where that fails it was never there.
    pub(super) fn append<'a>(
        &mut self,
        mut head: Head,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<Place> {
        head.salt = self.region.header.salt;
        head.offset = u32::try_from(self.end).map_err(io::Error::other)?;
        let written = self.write(&head, pieces);
        if let Err(error) = written {
            // Where this fails as well the next record is written over it; nobody takes what is left for a record.
            let _ = self.region.file.set_len(self.end);
            return Err(error);
        }
        let place = Place {
            slot: self.region.slot,
            offset: (self.end / UNIT) as u32,
            length: (head.length() / UNIT) as u32,
        };
        self.end += head.length();
        let entry = Entry::of(name_of(&head.key), head.kind, place);
        self.entries.push(entry);
        Ok(place)
    }

    fn write<'a>(&mut self, head: &Head, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut at = self.end;
        let end = self.end + head.length();
        self.buffer.clear();
        self.buffer.extend_from_slice(&head.encode());
        for piece in pieces {
            if self.buffer.len() + piece.len() > BUFFER {
                at = self.flush(at)?;
            }
            if piece.len() >= BUFFER {
                self.region.file.write_all_at(piece, at)?;
                at += piece.len() as u64;
            } else {
                self.buffer.extend_from_slice(piece);
            }
        }
        let written = at + self.buffer.len() as u64;
        let padding = end.checked_sub(written).filter(|&padding| padding < UNIT);
        let padding = padding.ok_or_else(|| io::Error::other("a body of another length"))?;
        self.buffer.resize(self.buffer.len() + padding as usize, 0);
        self.flush(at)?;
        Ok(())
    }

    fn flush(&mut self, at: u64) -> io::Result<u64> {
        self.region.file.write_all_at(&self.buffer, at)?;
        let after = at + self.buffer.len() as u64;
        self.buffer.clear();
        Ok(after)
    }

    /// Writes the footer. The file may also stay without: it is gone through at the next start.
    pub(super) fn seal(self) -> (Arc<Region>, u64, io::Result<()>) {
        let footer = encode_footer(&self.region.header, self.end, &self.entries);
        let length = self.end + footer.len() as u64;
        let file = &self.region.file;
        let sealed = file
            .write_all_at(&footer, self.end)
            .and_then(|()| file.set_len(length));
        match sealed {
            Ok(()) => (self.region, length, Ok(())),
            Err(error) => {
                let _ = file.set_len(self.end);
                (self.region, self.end, Err(error))
            }
        }
    }
}

/// A part of a file in memory.
struct Window<'f> {
    file: &'f File,
    /// How much of the file counts.
    length: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `None` where the file ends before that, or cannot be read.
    fn read(&mut self, offset: u64, length: usize) -> Option<&[u8]> {
        let is_inside =
            offset >= self.at && offset + length as u64 <= self.at + self.bytes.len() as u64;
        if !is_inside {
            let rest = self.length.checked_sub(offset)?;
            let wanted = rest.min(length.max(WINDOW) as u64) as usize;
            self.at = offset;
            self.bytes.resize(wanted, 0);
            let read = read_up_to(self.file, &mut self.bytes, offset);
            self.bytes.truncate(read.unwrap_or(0));
        }
        let from = usize::try_from(offset - self.at).ok()?;
        self.bytes.get(from..)?.get(..length)
    }
}

/// What the file has there; less only where it ends.
fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Nobody but the process's user may read it, and no link leads elsewhere.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    options
}
