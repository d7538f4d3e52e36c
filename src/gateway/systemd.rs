//! What the service manager is told, where there is one: `sd_notify(3)`.
//!
//! The messages go to the socket that `NOTIFY_SOCKET` names. Without it nothing is said, and a message that cannot be
//! sent is logged and changes nothing: to serve is more important than to be seen serving.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;
use tokio::task::JoinSet;

/// How long the service manager may take to read what it was told.
const BARRIER: Duration = Duration::from_secs(5);
/// While the process ends it asks for so much more time again and again, and twice as often as it must.
pub(super) const EXTENSION: Duration = Duration::from_secs(10);

/// Whether anybody is told anything.
pub(super) fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Requests are served.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What `systemctl status` shows.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The process ends, and is not to be thought hung while it says so.
pub(super) fn stopping(status: &str) {
    tell(&[
        NotifyState::Stopping,
        extension(),
        NotifyState::Status(status),
    ]);
}

/// It still ends.
pub(super) fn still_stopping(status: &str) {
    tell(&[extension(), NotifyState::Status(status)]);
}

/// This process ends, and the service is the process with this id from now on. Only the main process is listened to, so
/// that it is the last word of this one. Blocks until it has been read: of a process that has ended the service manager
/// no longer knows which service it was of.
pub(super) fn hand_over(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
    if let Err(error) = barrier() {
        log::warn!("systemd: does not confirm: {error}");
    }
}

/// A reload, from its beginning to its end, however it ends.
#[derive(Debug)]
pub(super) struct Reloading {
    status: Option<String>,
}

impl Reloading {
    /// Says that a reload begins.
    pub(super) fn begin() -> Reloading {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[
                NotifyState::Reloading,
                now,
                NotifyState::Status("reloading"),
            ]),
            Err(error) => log::warn!("systemd: the clock cannot be read: {error}"),
        }
        Reloading { status: None }
    }

    /// Says that it has ended, and what `systemctl status` is to show from now on.
    pub(super) fn end(mut self, status: String) {
        self.status = Some(status);
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        match &self.status {
            Some(status) => ready(status),
            None => tell(&[NotifyState::Ready]),
        }
    }
}

/// Tells the service manager again and again that the process is alive, for as long as as many tasks as there are
/// workers are run within half of the time that it allows. Returns where nobody wants to hear of it.
pub(super) async fn watch(workers: usize) {
    let Some(interval) = watchdog_interval() else {
        return;
    };
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let mut probes = JoinSet::new();
        for _ in 0..workers {
            probes.spawn(tokio::task::yield_now());
        }
        // Where it takes longer, the service manager notices that nothing is said.
        while probes.join_next().await.is_some() {}
        tell(&[NotifyState::Watchdog]);
    }
}

/// How often the service manager wants to hear that the process is alive, if it does; half of its limit.
fn watchdog_interval() -> Option<Duration> {
    let limit = sd_notify::watchdog_enabled()?;
    (!limit.is_zero()).then_some(limit / 2)
}

fn extension() -> NotifyState<'static> {
    let micros = u32::try_from(EXTENSION.as_micros());
    NotifyState::ExtendTimeoutUsec(micros.unwrap_or(u32::MAX))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("systemd: cannot be told: {error}");
    }
}

/// Gives the service manager the end of a pipe, which it closes when it has come to this message.
fn barrier() -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let socket = UnixDatagram::unbound()?;
    socket.connect(&path)?;
    give(&socket, theirs)?;
    let mut waiting = [PollFd::new(&ours, PollFlags::empty())];
    let limit = Timespec::try_from(BARRIER).map_err(io::Error::other)?;
    match poll(&mut waiting, Some(&limit))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

fn give(socket: &UnixDatagram, end: OwnedFd) -> io::Result<()> {
    let ends = [end.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&ends));
    let message = [IoSlice::new(b"BARRIER=1")];
    sendmsg(socket, &message, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
