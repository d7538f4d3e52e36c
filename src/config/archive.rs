//! All texts of a configuration in a few bytes, so that it can be read again when its files say something else.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::load::{Loaded, load_texts};
use crate::text::Sources;

/// What files may hold together to be archived; far more than fits a gateway, and little enough to be read.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;
/// How much is compressed before other threads have their turn; it takes a fraction of a millisecond.
const AT_A_TIME: usize = 128 << 10;
/// Of the compressor: the least work. Configurations repeat themselves; 12 MB of routes become 0.4 MB.
const LEVEL: i32 = 1;

/// The texts of all files of a configuration with their paths, compressed. Includes are resolved, and paths are
/// absolute, so that what they are relative to does not change with the folder that a process was started in.
#[derive(Clone)]
pub struct Archive {
    compressed: Arc<[u8]>,
}

/// Why an archive gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the files are more than 1 GiB together")]
    TooLarge,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl Archive {
    /// Costs some 2 ms for each MB of text.
    pub fn of(sources: &Sources) -> Result<Archive, ArchiveError> {
        let length: u64 = sources.iter().map(|(_, text)| text.len() as u64).sum();
        if length > MOST_BYTES {
            return Err(ArchiveError::TooLarge);
        }
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        // With it, the decoder finds every damage, and every end that is missing.
        encoder.include_checksum(true)?;
        for (path, text) in sources.iter() {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
            write_text(&mut encoder, &path.to_string_lossy())?;
            write_text(&mut encoder, text)?;
        }
        let compressed = encoder.finish()?.into();
        Ok(Archive { compressed })
    }

    /// What [`Archive::bytes`] gave. Whether it is whole, reading it will tell.
    pub(super) fn from_bytes(compressed: Vec<u8>) -> Archive {
        Archive {
            compressed: compressed.into(),
        }
    }

    /// A frame of Zstandard with its checksum (RFC 8878); in it, one after the other, the path and the text of each
    /// file, each of the two after its length in 8 bytes, the lowest first.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.compressed
    }

    /// The files with what they said then, in the order in which they were read.
    pub fn sources(&self) -> Result<Sources, ArchiveError> {
        let mut texts = Vec::new();
        let decoder = zstd::Decoder::new(self.bytes())?;
        // Twice that, since the paths are in there, too.
        decoder.take(MOST_BYTES * 2).read_to_end(&mut texts)?;
        let mut rest = texts.as_slice();
        let mut sources = Sources::new();
        let mut is_empty = true;
        while !rest.is_empty() {
            let path = read_text(&mut rest)?;
            let text = read_text(&mut rest)?;
            sources.add(path, text);
            is_empty = false;
        }
        match is_empty {
            true => Err(ArchiveError::Damaged("it is empty")),
            false => Ok(sources),
        }
    }

    /// Reads the configuration again, from the texts alone: certificates and all else that it names are read anew.
    pub fn load(&self) -> Result<Loaded, ArchiveError> {
        Ok(load_texts(self.sources()?))
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive of {} bytes", self.compressed.len())
    }
}

fn write_text(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(&(text.len() as u64).to_le_bytes())?;
    for part in text.as_bytes().chunks(AT_A_TIME) {
        to.write_all(part)?;
        std::thread::yield_now();
    }
    Ok(())
}

fn read_text<'t>(rest: &mut &'t [u8]) -> Result<&'t str, ArchiveError> {
    let (length, after) = rest
        .split_first_chunk::<8>()
        .ok_or(ArchiveError::Damaged("it ends early"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (text, after) = after
        .split_at_checked(length)
        .ok_or(ArchiveError::Damaged("it ends early"))?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| ArchiveError::Damaged("it is not UTF-8"))
}

/// Where a path is from the root of the file system, by its words alone.
pub(super) fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::super::{load, load_text};
    use super::*;

    #[test]
    fn it_says_what_the_files_said() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write(
            "a.toml",
            "include = [\"more/*.toml\"]\n[listeners.a]\nbind = \"127.0.0.1:1\"\n",
        );
        write(
            "more/b.toml",
            "[routes.é]\n[routes.b]\nmatch = {}\nrespond = { status = 200 }\n",
        );
        let loaded = load(&folder.path().join("a.toml"));
        let archive = Archive::of(&loaded.sources).unwrap();
        write("more/b.toml", "");
        let again = archive.load().unwrap();
        assert_eq!(
            format!("{:?}", again.document),
            format!("{:?}", loaded.document)
        );
        let said = |loaded: &Loaded| loaded.diagnostics.render(&loaded.sources, false);
        assert_eq!(said(&again), said(&loaded));
        assert!(said(&again).contains("more/b.toml:1:9"));
    }

    #[test]
    fn paths_are_absolute() {
        let loaded = load_text("conf/x.toml", "");
        let sources = Archive::of(&loaded.sources).unwrap().sources().unwrap();
        let here = std::env::current_dir().unwrap();
        let (path, text) = sources.iter().next().unwrap();
        assert_eq!((Path::new(path), text), (&*here.join("conf/x.toml"), ""));
    }

    #[test]
    fn damage_is_noticed() {
        let text = "# something that is long enough to be more than one byte\n";
        let whole = Archive::of(&load_text("a.toml", text).sources).unwrap();
        assert!(whole.sources().is_ok());
        let bytes = whole.bytes();
        for end in 0..bytes.len() {
            let cut = Archive::from_bytes(bytes[..end].to_vec());
            assert!(cut.sources().is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 0x40;
            let read = Archive::from_bytes(bytes).sources();
            // A bit may be of no meaning for what is said.
            let said = read.map(|sources| sources.iter().next().unwrap().1 == text);
            assert!(said.unwrap_or(true), "changed at {at}");
        }
    }
}
