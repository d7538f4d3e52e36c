//! A new program takes the place of the running one, and no connection notices.
//!
//! # The sequence
//! 1. The old process starts its own executable's path again, with the same arguments: after a package was upgraded
//!    that is the new program.
//! 2. It passes its listening sockets, with that of the admin listener, over a socket pair ([`handoff`]).
//! 3. The new process loads its configuration, adopts each socket whose address a listener has, binds what is new,
//!    and closes what nobody wants. Then it sends a request through each of its listeners ([`proof`]) without taking
//!    any connection from a client, and says that it is ready.
//! 4. The old process tells it to go, and drains. It keeps its sockets until the drain is over, and passes on what the requests
//!    that end meanwhile purge of the cache.
//! 5. If the new process ends before that, the old one takes up accepting again.
//!
//! Whatever goes wrong before the fourth step, the old process serves on as if nothing had happened, and ends the new
//! one: a program that does not start, a configuration that is no good, a listener that does not serve, or an
//! [`upgrade_timeout`](crate::config::GatewayConfig::upgrade_timeout) that is over. Its log and the answer of
//! `northgate upgrade` then have what the new process last wrote to its standard error, which is passed on by the old
//! process until it is told to go.
//!
//! What is kept in memory alone is not handed over: the health of endpoints, pooled connections, TLS sessions without
//! tickets and metrics begin anew. So does the cache, but for its disk; from the fourth step on the old process keeps nothing and
//! answers nothing from memory, since it does not hear of what is purged at the new one.

mod handoff;
mod inheritance;
mod proof;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use crate::cache::Purges;

use handoff::{BATCH, Channel, Hello, Message, PURGES, VERSION};

pub(in crate::gateway) use handoff::Description;
pub use inheritance::InheritError;
pub(crate) use inheritance::{Inheritance, Predecessor};
pub use proof::Unproven;
pub(in crate::gateway) use proof::prove;

/// What the service manager and an earlier upgrade have said to this process alone.
const NOT_FOR_OTHERS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
/// How long a process that was killed may take to be gone.
const BURIAL: Duration = Duration::from_secs(5);
/// How long what it has written may take to arrive.
const ECHO: Duration = Duration::from_secs(1);
/// For the one word to go.
const WORD: Duration = Duration::from_secs(5);
/// What is kept of a new process's standard error: enough for the problems of a configuration.
const TAIL_BYTES: usize = 8 * 1024;

/// Why the old process goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(
        "this is process 1, and with it all of its container would end: start a new container instead"
    )]
    Init,
    #[error("it is not known what program this is: {0}")]
    Unknown(String),
    #[error("the sockets cannot be copied: {0}")]
    Sockets(#[source] io::Error),
    #[error("cannot start {}: {cause}", path.display())]
    Start { path: PathBuf, cause: io::Error },
    #[error("the new process {how}{}", last_words(said))]
    Ended { how: String, said: String },
    #[error(
        "the new process was not ready within {limit:?}, and was ended{}",
        last_words(said)
    )]
    Late { limit: Duration, said: String },
    #[error(
        "the new process cannot be spoken to, and was ended: {cause}{}",
        last_words(said)
    )]
    Channel { cause: io::Error, said: String },
}

fn last_words(said: &str) -> String {
    match said {
        "" => "; it has said nothing".to_owned(),
        said => format!("; its last words:\n{said}"),
    }
}

/// How this process was started, which another one like it will be.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: Result<PathBuf, String>,
    arguments: Vec<OsString>,
}

impl Program {
    /// Call it at the start: once the file is replaced, nobody knows any more where it was.
    pub(super) fn of_this_process() -> Program {
        Program {
            path: std::env::current_exe().map_err(|error| error.to_string()),
            arguments: std::env::args_os().skip(1).collect(),
        }
    }

    fn start(&self, stdin: OwnedFd) -> Result<Child, UpgradeError> {
        let path = self.path.clone().map_err(UpgradeError::Unknown)?;
        let mut command = Command::new(&path);
        command
            .args(&self.arguments)
            .env(inheritance::MARK, VERSION.to_string())
            .stdin(Stdio::from(stdin))
            .stderr(Stdio::piped());
        for name in NOT_FOR_OTHERS {
            command.env_remove(name);
        }
        let started = command.spawn();
        started.map_err(|cause| UpgradeError::Start { path, cause })
    }
}

/// A process that would serve if it were told to. Until it is, dropping it ends it.
#[derive(Debug)]
pub(super) struct Heir {
    child: Child,
    channel: Arc<Channel>,
    pid: u32,
    echo: Echo,
    is_on_its_own: bool,
    telling: Option<JoinHandle<()>>,
}

impl Heir {
    /// Starts a new process and waits until it is ready. Where this fails there is no new process any more.
    pub(super) async fn raise(
        program: &Program,
        sockets: Vec<(Description, OwnedFd)>,
        limit: Duration,
    ) -> Result<Heir, UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::Init);
        }
        let deadline = Instant::now() + limit;
        let pair = Channel::pair();
        let (ours, theirs) = pair.map_err(|cause| UpgradeError::Channel {
            cause,
            said: String::new(),
        })?;
        let mut child = program.start(theirs)?;
        let channel = Arc::new(ours);
        let heir = Heir {
            pid: child.id().unwrap_or_default(),
            echo: Echo::of(child.stderr.take()),
            child,
            channel: channel.clone(),
            is_on_its_own: false,
            telling: None,
        };
        log::info!("upgrade: process {} is starting", heir.pid);
        // It ends with the deadline, and before that with the process at the other end.
        let talk = tokio::task::spawn_blocking(move || hand_over(&channel, &sockets, deadline));
        let outcome = talk
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        match outcome {
            Ok(()) => Ok(heir),
            Err(cause) => Err(heir.bury(cause, limit).await),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells it to serve.
    pub(super) async fn go(&mut self) -> io::Result<()> {
        let channel = self.channel.clone();
        let word = move || channel.send(&Message::Go, &[], Instant::now() + WORD);
        tokio::task::spawn_blocking(word).await??;
        self.is_on_its_own = true;
        Ok(())
    }

    /// Has it told what is purged here until there is no more.
    pub(super) fn tell(&mut self, mut purges: Purges) {
        let channel = self.channel.clone();
        let tell = move || {
            while let Some(some) = purges.next(PURGES) {
                let some = some.iter().map(|purge| purge.to_bytes().to_vec());
                let message = Message::Purged(some.collect());
                if let Err(error) = channel.send(&message, &[], Instant::now() + WORD) {
                    log::warn!("upgrade: the new process is not told what is purged here: {error}");
                    return;
                }
            }
        };
        self.telling = Some(tokio::task::spawn_blocking(tell));
    }

    /// Waits until it was told all, once there is no more.
    pub(super) async fn told(&mut self) {
        if let Some(telling) = self.telling.take() {
            // It has an end of its own; an error is that of a thread that has panicked, which was told.
            let _ = tokio::time::timeout(2 * WORD, telling).await;
        }
    }

    /// Waits until it has ended. `None` where it did as it was told to, which is also what it does when it has handed
    /// over in its turn; else how it ended.
    pub(super) async fn ended(&mut self) -> Option<String> {
        match self.child.wait().await {
            Ok(status) if status.success() => None,
            status => Some(how(status)),
        }
    }

    /// Ends it, and says why.
    async fn bury(mut self, cause: io::Error, limit: Duration) -> UpgradeError {
        // Where it has closed its end, it is about to end by itself, and how it does is the better answer.
        let is_closed = matches!(
            cause.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
        );
        let patience = if is_closed { ECHO } else { Duration::ZERO };
        let ended = tokio::time::timeout(patience, self.child.wait()).await.ok();
        if ended.is_none() {
            // An error means that it has ended in this moment.
            let _ = self.child.start_kill();
            if tokio::time::timeout(BURIAL, self.child.wait())
                .await
                .is_err()
            {
                log::warn!(
                    "upgrade: process {} was killed and is still there",
                    self.pid
                );
            }
        }
        let said = self.echo.last_words().await;
        match ended {
            Some(status) => UpgradeError::Ended {
                how: how(status),
                said,
            },
            None if cause.kind() == io::ErrorKind::TimedOut => UpgradeError::Late { limit, said },
            None => UpgradeError::Channel { cause, said },
        }
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if !self.is_on_its_own {
            // An error means that it has ended already.
            let _ = self.child.start_kill();
        }
    }
}

fn how(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended ({status})"),
        Err(error) => format!("cannot be waited for: {error}"),
    }
}

/// Says all that there is to say and waits for the answer. Blocks.
fn hand_over(
    channel: &Channel,
    sockets: &[(Description, OwnedFd)],
    deadline: Instant,
) -> io::Result<()> {
    let hello = Message::Hello(Hello {
        protocol: VERSION,
        program: concat!("northgate ", env!("CARGO_PKG_VERSION")).to_owned(),
        sockets: sockets.len(),
    });
    channel.send(&hello, &[io::stderr().as_fd()], deadline)?;
    for batch in sockets.chunks(BATCH) {
        let descriptions = batch.iter().map(|(description, _)| description.clone());
        let beside: Vec<BorrowedFd<'_>> = batch.iter().map(|(_, socket)| socket.as_fd()).collect();
        channel.send(&Message::Sockets(descriptions.collect()), &beside, deadline)?;
    }
    log::info!("upgrade: {} sockets are passed", sockets.len());
    match channel.receive(deadline)? {
        Some((Message::Ready, _)) => Ok(()),
        Some(_) => Err(io::Error::other("it does not say that it is ready")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Passes on what a process writes, and keeps the end of it.
#[derive(Debug)]
struct Echo {
    tail: Arc<Mutex<VecDeque<u8>>>,
    passing: Option<JoinHandle<()>>,
}

impl Echo {
    fn of(stderr: Option<ChildStderr>) -> Echo {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let passing = stderr.map(|stderr| tokio::spawn(pass(stderr, tail.clone())));
        Echo { tail, passing }
    }

    /// Of a process that has ended.
    async fn last_words(&mut self) -> String {
        if let Some(passing) = self.passing.take() {
            // What it has started may hold the pipe open.
            let _ = tokio::time::timeout(ECHO, passing).await;
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

async fn pass(mut stderr: ChildStderr, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
        let read = bytes.get(..count).unwrap_or_default();
        // A log that nobody takes is no reason to end.
        let _ = io::stderr().write_all(read);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(read);
        let excess = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            path: Ok("/bin/sh".into()),
            arguments: vec!["-c".into(), script.into()],
        }
    }

    async fn refusal(program: Program, limit: Duration) -> String {
        let raised = Heir::raise(&program, Vec::new(), limit).await;
        raised.expect_err("it is no gateway").to_string()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_does_not_become_ready_is_ended_and_quoted() {
        let limit = Duration::from_secs(20);
        let said = refusal(shell("echo no such route >&2; exit 3"), limit).await;
        assert_eq!(
            said,
            "the new process ended (exit status: 3); its last words:\nno such route"
        );
        let said = refusal(shell("kill -9 $$"), limit).await;
        assert!(
            said.contains("signal: 9 (SIGKILL)); it has said nothing"),
            "{said}"
        );
        let said = refusal(
            shell("echo wait >&2; exec sleep 1000"),
            Duration::from_millis(300),
        )
        .await;
        assert_eq!(
            said,
            "the new process was not ready within 300ms, and was ended; its last words:\nwait"
        );
        let nowhere = Program {
            path: Ok("/nowhere/northgate".into()),
            arguments: Vec::new(),
        };
        let said = refusal(nowhere, limit).await;
        assert!(
            said.starts_with("cannot start /nowhere/northgate: No such file"),
            "{said}"
        );
        let said = refusal(shell("printf nonsense >&0; exec sleep 1000"), limit).await;
        assert!(
            said.starts_with("the new process cannot be spoken to"),
            "{said}"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn only_the_end_of_a_flood_is_kept() {
        let script =
            "i=0; while [ $i -lt 2000 ]; do echo line $i of many >&2; i=$((i+1)); done; exit 1";
        let said = refusal(shell(script), Duration::from_secs(20)).await;
        assert!(said.ends_with("line 1999 of many"), "{said}");
        assert!(said.len() < TAIL_BYTES + 200, "{}", said.len());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_heir_hears_that_it_may_go_and_outlives_its_guard() {
        let script = r#"printf '"ready"' >&0; head -c 4 <&0 >/dev/null; exec sleep 0.2"#;
        let mut heir = Heir::raise(&shell(script), Vec::new(), Duration::from_secs(20))
            .await
            .unwrap();
        heir.go().await.unwrap();
        assert_eq!(heir.ended().await, None);
    }
}
