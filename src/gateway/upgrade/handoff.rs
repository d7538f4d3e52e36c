//! What passes between the process that serves and the one that takes its place.
//!
//! They share a socket pair that keeps messages apart (`SOCK_SEQPACKET`); the new process has its end as its standard
//! input. Each message is JSON, and sockets travel beside it (`SCM_RIGHTS`):
//!
//! | who | message | beside it |
//! |---|---|---|
//! | old | `hello`: the version of this protocol, how many sockets will come | its standard error |
//! | old | `sockets`: their names and addresses, as often as it takes | the sockets |
//! | new | `ready`: it would serve | |
//! | old | `go`: it is to serve now | |
//! | old | `purged`: what is purged of the cache while it drains, as often as it takes | |
//!
//! The new process is told nothing that its configuration says. A message of another version than its own ends it, in
//! words that an operator understands: what changes here needs another [`VERSION`].

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::text::BindAddress;

/// Of this protocol.
pub(super) const VERSION: u32 = 2;
/// Those before it are understood as well: they do not say as much.
pub(super) const OLDEST: u32 = 1;
/// Purges in one message, each of some bytes that are written as numbers.
pub(super) const PURGES: usize = 256;
/// Sockets in one message. The kernel takes 253.
pub(super) const BATCH: usize = 64;
/// A batch with the longest of names and addresses is smaller.
const MESSAGE_BYTES: usize = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    Hello(Hello),
    Sockets(Vec<Description>),
    Ready,
    Go,
    Purged(Vec<Vec<u8>>),
}

/// Later versions may say more.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    /// Of the program.
    pub(super) program: String,
    pub(super) sockets: usize,
}

/// A socket that travels beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::gateway) struct Description {
    pub(super) name: String,
    /// As the configuration has it: a port may be 0.
    pub(super) bind: String,
    pub(super) is_unix: bool,
}

impl Description {
    pub(in crate::gateway) fn new(name: &str, bind: &BindAddress) -> Description {
        Description {
            name: name.to_owned(),
            bind: bind.to_string(),
            is_unix: matches!(bind, BindAddress::Unix(_)),
        }
    }
}

/// One end of the pair. All that is done with it blocks.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Both ends, of which neither survives an `execve` by itself.
    pub(super) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Channel(ours), theirs))
    }

    /// The other end, as it was found. Nothing is known of it yet.
    pub(super) fn of(end: OwnedFd) -> Channel {
        Channel(end)
    }

    /// Sends a message, or gives up at `deadline`.
    pub(super) fn send(
        &self,
        message: &Message,
        beside: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Send, Some(left(deadline)?))?;
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_BYTES {
            return Err(io::Error::other("the message is too long"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !beside.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(beside)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        let parts = [IoSlice::new(&bytes)];
        sendmsg(&self.0, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message and what came beside it; `None` where the other end is closed.
    pub(super) fn receive(&self, deadline: Instant) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(left(deadline)?))?;
        let mut bytes = vec![0; MESSAGE_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                // The kernel's word for a timeout.
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                other => break other?,
            }
        };
        let mut beside = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                beside.extend(descriptors);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(io::Error::other("a message has lost a part"));
        }
        let text = bytes.get(..received.bytes).unwrap_or_default();
        let message = serde_json::from_slice(text)?;
        Ok(Some((message, beside)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How long until then; the kernel takes no time at all for no limit.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left.max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn messages_arrive_with_what_is_beside_them() {
        let (old, new) = Channel::pair().unwrap();
        let new = Channel::of(new);
        let (mut here, there) = UnixStream::pair().unwrap();
        let beside = vec![there.as_fd(); BATCH];
        let long = "x".repeat(107);
        let descriptions = vec![
            Description {
                name: long.clone(),
                bind: long,
                is_unix: true,
            };
            BATCH
        ];
        let message = Message::Sockets(descriptions.clone());
        old.send(&message, &beside, soon()).unwrap();
        old.send(&Message::Go, &[], soon()).unwrap();
        drop(there);
        let (message, received) = new.receive(soon()).unwrap().unwrap();
        let Message::Sockets(arrived) = message else {
            panic!("{message:?}");
        };
        assert_eq!(arrived, descriptions);
        assert_eq!(received.len(), BATCH);
        let mut last = UnixStream::from(received.into_iter().last().unwrap());
        last.write_all(b"ok").unwrap();
        let mut read = [0; 2];
        here.read_exact(&mut read).unwrap();
        let (message, received) = new.receive(soon()).unwrap().unwrap();
        assert!(matches!(message, Message::Go));
        assert!(received.is_empty());
        drop(old);
        assert!(new.receive(soon()).unwrap().is_none());
    }

    #[test]
    fn waits_have_an_end_and_nonsense_is_an_error() {
        let (old, new) = Channel::pair().unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        let late = old.receive(soon).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let over = old.receive(Instant::now()).unwrap_err();
        assert_eq!(over.kind(), io::ErrorKind::TimedOut);
        let full = Instant::now() + Duration::from_millis(300);
        let stuck = loop {
            if let Err(error) = old.send(&Message::Ready, &[], full) {
                break error;
            }
        };
        assert!(
            matches!(
                stuck.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
            ),
            "{stuck}"
        );
        let (old, other) = Channel::pair().unwrap();
        rustix::io::write(&other, b"{\"what\":1}").unwrap();
        let nonsense = old.receive(full + Duration::from_secs(5)).unwrap_err();
        assert!(
            nonsense.to_string().contains("unknown variant"),
            "{nonsense}"
        );
        drop(new);
    }
}
