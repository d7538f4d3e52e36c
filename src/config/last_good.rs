//! The configuration that served last, kept on disk for a start with files that are no good.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::archive::{Archive, ArchiveError};
use super::compile::{Configuration, compile};
use super::load::{Loaded, base, load};
use crate::observability::Metrics;
use crate::text::{open_file, salvage};

const FILE: &str = "last-good-configuration";
/// What the file begins with; another format will have another number. The rest is an [`Archive`].
const HEADER: &[u8] = b"northgate last good configuration 1\n";
/// An archive of the largest configuration, which is never longer than its text.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;

/// Where a configuration was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Files,
    /// The files have errors; this is what served before, kept at this time.
    LastGood(SystemTime),
}

/// A configuration for a process that starts, and why it is not that of the files where it is not.
#[derive(Debug)]
pub struct Start {
    pub configuration: Configuration,
    pub metrics: Metrics,
    /// Of the files, whether they are good or not.
    pub loaded: Loaded,
}

/// Why a process cannot start.
#[derive(Debug)]
pub struct StartRefused {
    pub loaded: Loaded,
    pub last_good: NoLastGood,
}

/// Why nothing else can serve where the files are no good.
#[derive(Debug, thiserror::Error)]
pub enum NoLastGood {
    #[error("no last good configuration is kept: there is no gateway.state_dir")]
    NoFolder,
    #[error("there is no last good configuration in {}", .0.display())]
    None(PathBuf),
    #[error("the last good configuration in {} cannot be read: {cause}", .folder.display())]
    Unreadable {
        folder: PathBuf,
        cause: ArchiveError,
    },
    #[error("the last good configuration is no good any more")]
    Refused(Box<Loaded>),
}

/// Loads and compiles the files, or where they have errors what served last.
///
/// What that names, such as certificates, is read anew; where that fails there is nothing that could serve.
pub fn start(path: &Path) -> Result<Start, Box<StartRefused>> {
    let metrics = Metrics::new();
    let mut loaded = load(path);
    if let Some(configuration) = compile(&mut loaded, &metrics) {
        return Ok(Start {
            configuration,
            metrics,
            loaded,
        });
    }
    // Nothing of what was counted for files that do not serve.
    let metrics = Metrics::new();
    match last_good(&loaded, &metrics) {
        Ok(configuration) => Ok(Start {
            configuration,
            metrics,
            loaded,
        }),
        Err(last_good) => Err(Box::new(StartRefused { loaded, last_good })),
    }
}

fn last_good(loaded: &Loaded, metrics: &Metrics) -> Result<Configuration, NoLastGood> {
    let folder = salvaged_folder(loaded).ok_or(NoLastGood::NoFolder)?;
    let (archive, kept_at) = match read(&folder) {
        Ok(read) => read,
        Err(ArchiveError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(NoLastGood::None(folder));
        }
        Err(cause) => return Err(NoLastGood::Unreadable { folder, cause }),
    };
    let mut kept = match archive.load() {
        Ok(kept) => kept,
        Err(cause) => return Err(NoLastGood::Unreadable { folder, cause }),
    };
    match compile(&mut kept, metrics) {
        Some(configuration) => Ok(Configuration {
            origin: Origin::LastGood(kept_at),
            // Once they are good again, it is they that should serve.
            files: loaded.files.clone(),
            ..configuration
        }),
        None => Err(NoLastGood::Refused(Box::new(kept))),
    }
}

/// Makes the folder where only its last part is missing. Only the process's user may look into it.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Removes what processes have left that were killed while they kept something. Not that of a process that runs,
/// which may be the one that this one takes over from.
pub fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(FILE)?.strip_prefix('.')?.parse().ok());
        let is_left = process.is_some_and(|process: u32| !runs(process));
        if is_left && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether it may be another process that runs. Those of other users may be out of sight, and write nothing here.
fn runs(process: u32) -> bool {
    process != std::process::id() && Path::new("/proc").join(process.to_string()).exists()
}

/// Keeps an archive in the folder, in place of the one before. Whenever the machine stops, there is one or the other,
/// whole. Blocks until it is on the disk. Nobody but the process's user may read it.
pub fn keep(archive: &Archive, folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    // Of the process, since the one that it takes over from may write at the same time.
    let temporary = folder.join(format!("{FILE}.{}", std::process::id()));
    let written = write(archive, &temporary)
        .and_then(|()| fs::rename(&temporary, folder.join(FILE)))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write(archive: &Archive, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(HEADER)?;
    file.write_all(archive.bytes())?;
    file.sync_all()
}

fn read(folder: &Path) -> Result<(Archive, SystemTime), ArchiveError> {
    let file = open_file(&folder.join(FILE))?;
    let kept_at = file.metadata()?.modified()?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    match bytes.strip_prefix(HEADER) {
        Some(archive) => Ok((Archive::from_bytes(archive.to_vec()), kept_at)),
        None => Err(ArchiveError::Damaged("it does not begin as it should")),
    }
}

/// `gateway.state_dir`, or what systemd has made for the service.
pub(super) fn folder(option: Option<&Path>, base: &Path) -> Option<PathBuf> {
    match option {
        Some(path) => Some(base.join(path)),
        None => {
            // Of several, with a colon between them, the first.
            let folders = std::env::var_os("STATE_DIRECTORY")?;
            std::env::split_paths(&folders).find(|path| !path.as_os_str().is_empty())
        }
    }
}

/// The folder that files with errors name, as far as that can be told.
fn salvaged_folder(loaded: &Loaded) -> Option<PathBuf> {
    let sources = &loaded.sources;
    let option = sources.ids().find_map(|source| {
        let path: PathBuf = salvage(sources.text(source), "gateway", "state_dir")?.into();
        Some((path, source))
    });
    match option {
        Some((path, source)) => folder(Some(&path), &base(sources, source)),
        None => folder(None, Path::new("")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::load_text;
    use super::*;

    fn archive(text: &str) -> Archive {
        Archive::of(&load_text("a.toml", text).sources).unwrap()
    }

    fn text(archive: &Archive) -> String {
        archive
            .sources()
            .unwrap()
            .iter()
            .next()
            .unwrap()
            .1
            .to_owned()
    }

    #[test]
    fn it_is_kept_whole_and_for_nobody_else() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        for said in ["# one", "# two"] {
            keep(&archive(said), &folder).unwrap();
            let (kept, _) = read(&folder).unwrap();
            assert_eq!(text(&kept), said);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(FILE)), 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn what_fails_leaves_what_was_there() {
        let parent = tempfile::tempdir().unwrap();
        keep(&archive("# one"), parent.path()).unwrap();
        // Nothing can take the place of a file where a folder of that name stands in the way.
        let temporary = parent.path().join(format!("{FILE}.{}", std::process::id()));
        fs::create_dir(&temporary).unwrap();
        assert!(keep(&archive("# two"), parent.path()).is_err());
        assert_eq!(text(&read(parent.path()).unwrap().0), "# one");
        assert!(keep(&archive("# one"), &parent.path().join("no/where")).is_err());
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        keep(&archive("# one"), parent.path()).unwrap();
        let path = |name: &str| parent.path().join(name);
        let of = |process: u32| path(&format!("{FILE}.{process}"));
        // One that has ended, this one, and one that runs.
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let mut running = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        ended.wait().unwrap();
        let left = [of(ended.id()), of(std::process::id())];
        let others = [
            of(running.id()),
            path(FILE),
            path(&format!("{FILE}.txt")),
            path("something.4294967295"),
        ];
        for path in left.iter().chain(&others) {
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .unwrap();
        }
        let (folder, link) = (of(u32::MAX), of(u32::MAX - 1));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(path(FILE), &link).unwrap();
        let removed = remove_leftovers(parent.path());
        drop(running.stdin.take());
        running.wait().unwrap();
        removed.unwrap();
        for path in left {
            assert!(!path.exists(), "{path:?}");
        }
        for path in others.iter().chain([&folder, &link]) {
            assert!(path.exists(), "{path:?}");
        }
        assert_eq!(text(&read(parent.path()).unwrap().0), "# one");
        assert!(remove_leftovers(&path("no")).is_err());
    }

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        keep(&archive("# something"), folder.path()).unwrap();
        let whole = fs::read(&path).unwrap();
        let check = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let read = read(folder.path()).and_then(|(archive, _)| archive.sources());
            assert!(read.is_err(), "{bytes:?}");
        };
        for end in 0..whole.len() {
            check(&whole[..end]);
        }
        check(b"northgate last good configuration 2\n");
        check(&[&whole[..], b"more"].concat());
    }
}
