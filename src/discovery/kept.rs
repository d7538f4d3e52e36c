//! The last set of an upstream on disk, for a start while its registry is down.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Member, Socket};
use crate::text::{EndpointAddress, open_file};

/// Another format will have another number.
const FORMAT: u32 = 1;
/// Ten thousand endpoints with all that may be said of them.
const MOST_BYTES: u64 = 64 << 20;

/// Of whoever writes a set in this process.
static WRITING: Mutex<()> = Mutex::new(());

/// Where the last set of one upstream is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    name: String,
    /// What is followed: a set of another registry is not one of this.
    source: String,
}

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    source: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
struct Endpoint {
    address: String,
    host: Box<str>,
    weight: u32,
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<(Box<str>, Box<str>)>,
}

impl Kept {
    /// `upstream` is a name that is good for a part of a file name.
    pub(super) fn new(folder: &Path, upstream: &str, source: &str) -> Kept {
        Kept {
            folder: folder.to_owned(),
            name: format!("endpoints.{upstream}.json"),
            source: source.to_owned(),
        }
    }

    /// Writes it in the place of the one before: whenever the machine stops, there is one or the other, whole. `heard` is
    /// when the registry was heard of last. Blocks until it is on the disk. Nobody but the process's user may read it.
    pub(super) fn write(&self, members: &[Member], heard: SystemTime) -> io::Result<()> {
        let written = Written {
            format: FORMAT,
            source: self.source.clone(),
            endpoints: members.iter().map(Endpoint::of).collect(),
        };
        let bytes = serde_json::to_vec(&written).map_err(io::Error::other)?;
        // At a reload two of the same name may write; one after the other, each a whole set.
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        // Of the process, since the one that it takes over from may write at the same time.
        let part = format!("{}.{}", self.name, std::process::id());
        let part = self.folder.join(part);
        let done = write(&part, &bytes, heard)
            .and_then(|()| fs::rename(&part, self.path()))
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if done.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&part);
        }
        done
    }

    /// The registry was heard of again, and what is kept is what there is. Blocks on the file system.
    pub(super) fn confirm(&self, heard: SystemTime) -> io::Result<()> {
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let file = OpenOptions::new().write(true).open(self.path())?;
        file.set_modified(heard)
    }

    /// Removes what processes have left that were killed while they wrote. Not that of a process that runs, which may be
    /// the one that this one takes over from. Blocks on the file system.
    pub(super) fn clear_up(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| {
                name.strip_prefix(&self.name)?
                    .strip_prefix('.')?
                    .parse()
                    .ok()
            });
            let is_left = process.is_some_and(|process: u32| !runs(process));
            if is_left && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The set that was written last, and when its registry was heard of last. `None` where there is none of this registry.
    /// Blocks on the file system.
    pub(super) fn read(&self) -> io::Result<Option<(Vec<Member>, SystemTime)>> {
        let file = match open_file(&self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let at = file.metadata()?.modified()?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        let written: Written = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        if written.format != FORMAT || written.source != self.source {
            return Ok(None);
        }
        let members = written.endpoints.into_iter().map(Endpoint::member);
        let members: Option<Vec<Member>> = members.collect();
        let members = members.ok_or_else(|| io::Error::other("an address in it is none"))?;
        Ok(Some((members, at)))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

fn runs(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

fn write(path: &Path, bytes: &[u8], heard: SystemTime) -> io::Result<()> {
    // What a killed process of the same number has left.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    // Its time is that of what stands in it.
    file.set_modified(heard)?;
    file.sync_all()
}

impl Endpoint {
    fn of(member: &Member) -> Endpoint {
        Endpoint {
            address: member.socket.text(),
            host: member.host.clone(),
            weight: member.weight,
            priority: member.priority,
            zone: member.zone.as_deref().map(str::to_owned),
            labels: member.labels.to_vec(),
        }
    }

    fn member(self) -> Option<Member> {
        let socket = match self.address.parse().ok()? {
            EndpointAddress::Socket(address) => Socket::Inet(address),
            EndpointAddress::Unix(path) => Socket::Unix(path),
            EndpointAddress::Name { .. } => return None,
        };
        Some(Member {
            socket,
            host: self.host,
            weight: self.weight,
            priority: self.priority,
            zone: self.zone.map(Arc::from),
            labels: self.labels.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn members() -> Vec<Member> {
        let full = Member {
            priority: 2,
            zone: Some("a".into()),
            labels: [("version".into(), "v1".into())].into(),
            ..Member::at("[::1]:80".parse().unwrap(), 7)
        };
        let path = Path::new("/run/a.sock");
        let unix = Member::new(Socket::Unix(path.into()), "localhost".into(), 1);
        vec![full, unix]
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), "users", "a test");
        assert_eq!(kept.read().unwrap(), None);
        let heard = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (set, later) in [(members(), 1), (Vec::new(), 2), (members(), 3)] {
            let heard = heard + Duration::from_secs(later);
            kept.write(&set, heard).unwrap();
            assert_eq!(kept.read().unwrap(), Some((set.clone(), heard)));
            let heard = heard + Duration::from_secs(10);
            kept.confirm(heard).unwrap();
            assert_eq!(kept.read().unwrap(), Some((set, heard)));
        }
        let mode = fs::metadata(kept.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), "users", "a test");
        kept.write(&members(), SystemTime::now()).unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let of = |process: u32| {
            folder
                .path()
                .join(format!("endpoints.users.json.{process}"))
        };
        let (left, own) = (of(ended.id()), of(std::process::id()));
        fs::write(&left, "").unwrap();
        fs::write(&own, "").unwrap();
        kept.clear_up().unwrap();
        assert!(!left.exists() && own.exists() && kept.path().exists());
    }

    #[test]
    fn another_registrys_set_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        Kept::new(folder.path(), "users", "one")
            .write(&members(), SystemTime::now())
            .unwrap();
        let other = Kept::new(folder.path(), "users", "another");
        assert_eq!(other.read().unwrap(), None);
    }

    #[test]
    fn damage_is_an_error_and_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), "users", "a test");
        kept.write(&members(), SystemTime::now()).unwrap();
        let whole = fs::read(kept.path()).unwrap();
        for end in 0..whole.len() {
            fs::write(kept.path(), &whole[..end]).unwrap();
            assert!(kept.read().is_err(), "{end}");
        }
        fs::write(kept.path(), &whole).unwrap();
        let part = format!("{}.{}", kept.name, std::process::id());
        fs::create_dir(folder.path().join(part)).unwrap();
        assert!(kept.write(&[], SystemTime::now()).is_err());
        assert_eq!(kept.read().unwrap().unwrap().0, members());
    }
}
