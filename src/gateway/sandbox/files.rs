//! Files: read anything, write where the configuration points, execute nothing but this program.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError,
};

/// The kernel's name for too many sandboxes inside each other.
const TOO_MANY: i32 = libc::E2BIG;

/// The newest rules that are asked for; an older kernel has fewer. From version 9 on, connecting to the sockets of
/// upstreams and of the system's log would need leave as well.
const RULES: ABI = ABI::V5;

/// What a child's silenced input and output are.
const NULL: &str = "/dev/null";

/// Maps this program and its libraries; without leave to execute it nothing starts.
#[cfg(target_arch = "x86_64")]
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
#[cfg(not(target_arch = "x86_64"))]
const LOADER: &str = "/lib/ld-linux-aarch64.so.1";

/// Why files are not restricted.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("the kernel has no landlock")]
    Missing,
    #[error("landlock is not switched on in this kernel (`lsm=`)")]
    NotEnabled,
    #[error(transparent)]
    Rules(#[from] RulesetError),
}

/// Restricts this thread to reading, to writing below these paths, and to executing what stands in the folder of
/// this program and in that of the loader.
///
/// Folders and not files, because a new version is a new file. Whoever can execute the loader can have it map any
/// file that can be read, so this stops the usual `/bin/sh`, and seccomp and the capabilities stop what it would do.
pub(super) fn restrict(writable: &[PathBuf]) -> Result<String, FilesError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .create()?;
    allow(
        &mut ruleset,
        Path::new("/"),
        AccessFs::ReadFile | AccessFs::ReadDir,
    );
    for program in std::env::current_exe()
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new(LOADER)])
    {
        if let Ok(real) = program.canonicalize() {
            let folder = real.parent().unwrap_or(&real);
            allow(&mut ruleset, folder, AccessFs::Execute.into());
        }
    }
    let write = AccessFs::from_write(RULES) & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    for path in writable {
        allow(&mut ruleset, path, write);
    }
    allow(&mut ruleset, Path::new(NULL), AccessFs::WriteFile.into());
    let status = match ruleset.restrict_self() {
        Ok(status) => status,
        // One is added at each binary upgrade, and the first of them is what counts.
        Err(error) if os_error(&error) == Some(TOO_MANY) => {
            return Ok("landlock as in the program that started this one".to_owned());
        }
        Err(error) => return Err(error.into()),
    };
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            Ok(words(effective_abi.min(RULES) as i32, writable))
        }
        LandlockStatus::NotEnabled => Err(FilesError::NotEnabled),
        _ => Err(FilesError::Missing),
    }
}

/// Adds a rule. Where that fails the path stays closed, and the log says so.
fn allow(mut ruleset: &mut RulesetCreated, path: &Path, access: BitFlags<AccessFs>) {
    let is_folder = path.is_dir();
    let access = if is_folder {
        access
    } else {
        access & AccessFs::from_file(RULES)
    };
    let added = PathFd::new(path)
        .map_err(|error| error.to_string())
        .and_then(|opened| {
            let rule = PathBeneath::new(opened, access);
            (&mut ruleset)
                .add_rule(rule)
                .map(|_| ())
                .map_err(|error| error.to_string())
        });
    if let Err(cause) = added {
        log::warn!("sandbox: {} stays closed: {cause}", path.display());
    }
}

fn words(version: i32, writable: &[PathBuf]) -> String {
    let paths: Vec<_> = writable
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let paths = if paths.is_empty() {
        "nothing".to_owned()
    } else {
        paths.join(", ")
    };
    format!("landlock {version}, writable: {paths}")
}

fn os_error(error: &RulesetError) -> Option<i32> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;

    /// What a thread that may write below `writable` comes to.
    fn restricted<T: Send + 'static>(
        writable: &[&Path],
        attempt: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let writable: Vec<PathBuf> = writable.iter().copied().map(Path::to_owned).collect();
        let thread = thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let words = restrict(&writable).expect("the kernel has landlock");
            assert!(words.starts_with("landlock "), "{words}");
            attempt()
        });
        thread.join().unwrap()
    }

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn files_are_read_everywhere_and_written_where_it_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let [open, closed] = ["open", "closed"].map(|name| folder.path().join(name));
        for made in [&open, &closed] {
            fs::create_dir(made).unwrap();
            fs::write(made.join("old"), "old").unwrap();
        }
        let denied = Some(io::ErrorKind::PermissionDenied);
        restricted(&[&open.clone()], move || {
            assert_eq!(fs::read_to_string(closed.join("old")).unwrap(), "old");
            let append = |path: &Path| OpenOptions::new().append(true).open(path);
            assert_eq!(kind(append(&closed.join("old"))), denied);
            assert_eq!(kind(File::create(closed.join("new"))), denied);
            assert_eq!(kind(fs::remove_file(closed.join("old"))), denied);
            assert_eq!(kind(fs::create_dir(closed.join("new"))), denied);
            assert_eq!(kind(append(&open.join("old"))), None);
            assert_eq!(kind(File::create(open.join("new"))), None);
            assert_eq!(kind(fs::create_dir(open.join("below"))), None);
            let moved = fs::rename(open.join("new"), open.join("below/new"));
            assert_eq!(kind(moved), None);
            let socket = std::os::unix::net::UnixListener::bind(open.join("socket"));
            assert_eq!(kind(socket), None);
            assert_eq!(kind(fs::remove_file(open.join("socket"))), None);
        });
    }

    #[test]
    fn nothing_is_executed_but_this_program() {
        let run = |program: &Path| {
            let mut command = Command::new(program);
            command.arg("--list").stdin(Stdio::null());
            kind(command.output())
        };
        let (other, own) = restricted(&[], move || {
            (
                run(Path::new("/bin/true")),
                run(&std::env::current_exe().unwrap()),
            )
        });
        assert_eq!(other, Some(io::ErrorKind::PermissionDenied));
        assert_eq!(own, None);
    }

    #[test]
    fn one_upgrade_after_the_other_goes_on() {
        let words = thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let all = (0..20).map(|_| restrict(&[]).unwrap());
            all.collect::<Vec<String>>()
        });
        let words = words.join().unwrap();
        let (first, last) = (&words[0], &words[19]);
        assert!(first.starts_with("landlock "), "{first}");
        assert!(last.contains("the program that started"), "{last}");
    }

    #[test]
    fn a_path_that_is_not_there_stays_closed_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let missing = path.join("missing");
        let made = restricted(&[&missing, &path.clone()], move || {
            kind(File::create(path.join("new")))
        });
        assert_eq!(made, None);
    }
}
