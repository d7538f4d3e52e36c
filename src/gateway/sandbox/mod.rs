//! What the process can no longer do once it runs, so that whoever gets hold of it holds little.
//!
//! It is entered after the configuration is compiled and before any other thread starts, because landlock,
//! capabilities and seccomp are of a thread, and of those that it starts from then on. Nothing of it can be taken
//! back: what a reload adds must fit in, and a process that this one starts (a binary upgrade) inherits it. Only a
//! restart begins anew.
//!
//! | what | by | where it stands |
//! |---|---|---|
//! | no core dump, no debugger of the same user | `PR_SET_DUMPABLE`, `RLIMIT_CORE` | [`privileges`] |
//! | nothing gained by executing: set-user-ID and the like | `PR_SET_NO_NEW_PRIVS` | [`privileges`] |
//! | no capability but that for ports below 1024 | `capset`, bounding and ambient set | [`privileges`] |
//! | writing only below named folders, executing only itself | landlock, where the kernel has it | [`files`] |
//! | no system call that a proxy has no use for | seccomp | [`syscalls`] |
//!
//! A kernel without one of them is no reason not to serve: the log says what is missing, and the rest is in force.

mod files;
mod privileges;
mod syscalls;

use std::path::{Path, PathBuf};

use crate::config::{Configuration, SandboxConfig};
use crate::text::BindAddress;

/// Enters the sandbox with this thread and all that it starts later, or says that it is switched off.
pub(super) fn enter(configuration: &Configuration) {
    if privileges::is_root() {
        log::warn!(
            "this is root: anything but ports below 1024 is better done as a user of its own, and those need only \
             CAP_NET_BIND_SERVICE"
        );
    }
    let Some(config) = &configuration.settings.sandbox else {
        log::warn!("sandbox: off");
        return;
    };
    let mut parts = vec![told("memory", privileges::hide_memory())];
    // Landlock and seccomp ask for it.
    parts.push(told("no_new_privs", privileges::gain_nothing()));
    parts.push(told(
        "landlock",
        files::restrict(&writable(config, configuration)),
    ));
    parts.push(told("capabilities", privileges::drop_capabilities()));
    parts.push(told("seccomp", syscalls::restrict()));
    let in_force: Vec<String> = parts.into_iter().flatten().collect();
    log::info!("sandbox: {}", in_force.join("; "));
}

/// What is in force of a part; a failure is logged.
fn told(part: &str, outcome: Result<String, impl std::fmt::Display>) -> Option<String> {
    match outcome {
        Ok(words) => Some(words),
        Err(cause) => {
            log::warn!("sandbox: {part} is not in force: {cause}");
            None
        }
    }
}

/// What may be written: the files and folders that the configuration names.
fn writable(config: &SandboxConfig, configuration: &Configuration) -> Vec<PathBuf> {
    let mut paths = config.write.clone();
    let settings = &configuration.settings;
    let log = settings.access_log.as_ref();
    if let Some(path) = log.and_then(|config| config.path.as_deref()) {
        paths.extend(of_log(path));
    }
    paths.extend(settings.state_dir.clone());
    let disk = configuration.snapshot.cache_settings.disk.as_ref();
    paths.extend(disk.map(|disk| disk.folder.clone()));
    let views = configuration.snapshot.listeners.iter();
    let listeners = views.map(|view| &view.listener.bind);
    let admin = settings.admin.as_ref().map(|admin| &admin.bind);
    paths.extend(listeners.chain(admin).filter_map(of_socket));
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// A log that is rotated is made anew, so its folder is what has to be open. That of a device or a pipe is not.
fn of_log(path: &Path) -> Vec<PathBuf> {
    match std::fs::canonicalize(path) {
        Ok(real) if real.is_file() => vec![folder(path), folder(&real)],
        Ok(real) => vec![real],
        // Also `/dev/stdout`, where it is a pipe, which needs no leave; no log is made beside it.
        Err(_) if path.starts_with("/dev") => vec![],
        Err(_) => vec![folder(path)],
    }
}

/// The socket's file is made, and a stale one removed.
fn of_socket(address: &BindAddress) -> Option<PathBuf> {
    match address {
        BindAddress::Unix(path) => Some(folder(path)),
        BindAddress::Socket(_) => None,
    }
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        None => "/".into(),
        Some(folder) if folder.as_os_str().is_empty() => ".".into(),
        Some(folder) => folder.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{compile, load_text};
    use crate::observability::Metrics;

    #[test]
    fn what_is_named_may_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let [logs, elsewhere] = ["logs", "elsewhere"].map(|name| real.join(name));
        for made in [&logs, &elsewhere] {
            std::fs::create_dir(made).unwrap();
        }
        std::fs::write(elsewhere.join("log"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("log"), logs.join("linked")).unwrap();
        let check = |gateway: &str, listener: &str, expected: &[&Path]| {
            let text = format!(
                "[gateway]\n{gateway}\n[listeners.a]\nbind = '{listener}'\n[admin]\nbind = 'unix:/run/a/b'\n"
            );
            let mut loaded = load_text("sandbox.toml", &text);
            let compiled = compile(&mut loaded, &Metrics::new()).expect("a configuration");
            let config = compiled.settings.sandbox.clone().expect("it is on");
            assert_eq!(writable(&config, &compiled), expected, "{gateway}");
        };
        let run = Path::new("/run/a");
        check("", "127.0.0.1:0", &[run]);
        check("", "unix:/run/a/c", &[run]);
        check("", "unix:/run/c/d", &[run, Path::new("/run/c")]);
        check(
            "sandbox = { write = ['/a'] }",
            "[::1]:0",
            &[Path::new("/a"), run],
        );
        check("state_dir = '/a'", "[::1]:0", &[Path::new("/a"), run]);
        check(
            "state_dir = '/a'\n[cache]\ndisk = { path = 'b', size = '1MiB' }",
            "[::1]:0",
            &[Path::new("/a"), Path::new("/a/b"), run],
        );
        check(
            "[cache]\ndisk = { path = '/b', size = '1MiB' }",
            "[::1]:0",
            &[Path::new("/b"), run],
        );
        let log = |path: &Path| format!("access_log.path = '{}'", path.display());
        check(&log(&logs.join("new")), "[::1]:0", &[run, &logs]);
        check(
            &log(&logs.join("linked")),
            "[::1]:0",
            &[run, &elsewhere, &logs],
        );
        check(
            &log(Path::new("/dev/null")),
            "[::1]:0",
            &[Path::new("/dev/null"), run],
        );
    }
}
