//! The new process's side of an upgrade.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::handoff::{Channel, Description, Hello, Message, OLDEST, VERSION};
use crate::cache::marks::Purge;
use crate::gateway::passed::{Opened, Passed, PassedSocket};

/// Is set for the new process, so that it takes its standard input for what it is.
pub(super) const MARK: &str = "NORTHGATE_UPGRADE";
/// The old process has all of it at hand.
const PATIENCE: Duration = Duration::from_secs(20);
/// The old process ends this one when it has waited for long enough, and this one serves when the old one is gone; so
/// that is only there to have an end.
const GO: Duration = Duration::from_secs(24 * 3600);

/// Why what the old process says cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error(
        "upgrade: the running program ({program}) speaks version {theirs} of the handoff and this one {VERSION}: restart instead"
    )]
    Version { program: String, theirs: u32 },
    #[error("upgrade: {MARK} is set, and standard input is no socket of a running gateway: {0}")]
    NoUpgrade(#[source] io::Error),
    #[error("upgrade: the running gateway cannot be understood: {0}")]
    Garbled(String),
}

/// What the process gets whose place this one takes.
#[derive(Debug)]
pub(crate) struct Inheritance {
    channel: Channel,
    stderr: OwnedFd,
}

impl Inheritance {
    /// Takes over from the process that started this one for that; `None` where this is no upgrade.
    pub(crate) fn receive() -> Result<Option<(Inheritance, Passed)>, InheritError> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let stdin = std::io::stdin();
        let end = stdin.as_fd().try_clone_to_owned();
        let end = end.map_err(InheritError::NoUpgrade)?;
        Inheritance::of(Channel::of(end), Instant::now() + PATIENCE).map(Some)
    }

    fn of(channel: Channel, deadline: Instant) -> Result<(Inheritance, Passed), InheritError> {
        let garbled = |what: &str| InheritError::Garbled(what.to_owned());
        let (hello, beside) = match channel.receive(deadline) {
            Ok(Some((Message::Hello(hello), beside))) => (hello, beside),
            Ok(Some(_)) => return Err(garbled("it does not say hello")),
            Ok(None) => return Err(garbled("it is gone")),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(garbled("it says nothing"));
            }
            Err(error) => return Err(InheritError::NoUpgrade(error)),
        };
        let Hello {
            protocol,
            program,
            sockets,
        } = hello;
        if !(OLDEST..=VERSION).contains(&protocol) {
            return Err(InheritError::Version {
                program,
                theirs: protocol,
            });
        }
        let stderr = beside.into_iter().next();
        let stderr = stderr.ok_or_else(|| garbled("it keeps its standard error to itself"))?;
        let mut passed = Passed::default();
        let mut count = 0;
        while count < sockets {
            let (descriptions, beside) = match channel.receive(deadline) {
                Ok(Some((Message::Sockets(descriptions), beside))) => (descriptions, beside),
                Ok(_) => return Err(garbled("sockets are missing")),
                Err(error) => return Err(InheritError::Garbled(error.to_string())),
            };
            if descriptions.is_empty() || descriptions.len() != beside.len() || passed.is_full() {
                return Err(garbled("sockets and names are not as many"));
            }
            count += descriptions.len();
            for (description, descriptor) in descriptions.into_iter().zip(beside) {
                passed.push(socket(description, descriptor)?);
            }
        }
        Ok((Inheritance { channel, stderr }, passed))
    }

    /// Says that this process would serve, and waits until it may: until the old one says so, or is gone. `None`
    /// where it is not to serve. Blocks.
    pub(crate) fn await_go(self) -> Option<Predecessor> {
        let deadline = Instant::now() + GO;
        // Where the old process is gone there is nobody else to serve.
        let is_gone = |error: &io::Error| error.kind() != io::ErrorKind::TimedOut;
        let told = self.channel.send(&Message::Ready, &[], deadline);
        let may_serve = match told.and_then(|()| self.channel.receive(deadline)) {
            Ok(Some((Message::Go, _))) => true,
            Ok(Some(_)) => false,
            Ok(None) => true,
            Err(error) => is_gone(&error),
        };
        if let Err(error) = rustix::stdio::dup2_stderr(&self.stderr) {
            log::warn!("upgrade: standard error stays with the old process: {error}");
        }
        // The pair's last end here.
        match std::fs::File::open("/dev/null") {
            Ok(null) => {
                if let Err(error) = rustix::stdio::dup2_stdin(null) {
                    log::warn!("upgrade: standard input stays open: {error}");
                }
            }
            Err(error) => log::warn!("upgrade: /dev/null: {error}"),
        }
        may_serve.then_some(Predecessor(self.channel))
    }
}

/// The old process, as long as it drains.
#[derive(Debug)]
pub(crate) struct Predecessor(Channel);

impl Predecessor {
    /// Waits for what it has purged while it drains. `None` once it has ended. Blocks.
    pub(crate) fn purged(&self) -> Option<Vec<Purge>> {
        match self.0.receive(Instant::now() + GO) {
            Ok(Some((Message::Purged(purges), _))) => {
                let purges = purges.iter().map(|purge| Purge::from_bytes(purge));
                // What is not understood may be anything.
                Some(
                    purges
                        .map(|purge| purge.unwrap_or_else(Purge::all))
                        .collect(),
                )
            }
            // Whatever else the wait ends with, there is no use in another.
            _ => None,
        }
    }
}

fn socket(
    Description {
        name,
        bind,
        is_unix,
    }: Description,
    descriptor: OwnedFd,
) -> Result<PassedSocket, InheritError> {
    let wrong = |what: &str| InheritError::Garbled(format!("socket {name:?} at {bind}: {what}"));
    let address = bind.parse().map_err(|_| wrong("no address"))?;
    let opened = Opened::of(descriptor, is_unix).map_err(wrong)?;
    Ok(PassedSocket {
        bind: address,
        goes_by_name: false,
        opened,
        name: name.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::BorrowedFd;

    fn hello(protocol: u32, sockets: usize) -> Message {
        Message::Hello(Hello {
            protocol,
            program: "northgate 9".to_owned(),
            sockets,
        })
    }

    /// What the new process makes of these messages, with a copy of the descriptor beside each socket.
    fn heard(messages: &[(Message, usize)], beside: BorrowedFd<'_>) -> Result<usize, String> {
        let (old, new) = Channel::pair().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        for (message, count) in messages {
            old.send(message, &vec![beside; *count], deadline).unwrap();
        }
        drop(old);
        match Inheritance::of(Channel::of(new), deadline) {
            Ok((_, passed)) => Ok(passed.len()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_in_clear_words() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let bind = tcp.local_addr().unwrap().to_string();
        let one = |bind: &str, is_unix| {
            Message::Sockets(vec![Description {
                name: "web".to_owned(),
                bind: bind.to_owned(),
                is_unix,
            }])
        };
        let check = |messages: &[(Message, usize)], expected: Result<usize, &str>| {
            let heard = heard(messages, tcp.as_fd());
            match (&heard, expected) {
                (Ok(count), Ok(expected)) => assert_eq!(*count, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                _ => panic!("{heard:?} is not {expected:?}"),
            }
        };
        check(&[(hello(1, 0), 1)], Ok(0));
        check(&[(hello(1, 1), 1), (one(&bind, false), 1)], Ok(1));
        // Earlier versions say less, and nothing else.
        check(&[(hello(2, 0), 1)], Ok(0));
        check(
            &[(hello(3, 0), 1)],
            Err("(northgate 9) speaks version 3 of the handoff and this one 2: restart instead"),
        );
        check(&[(hello(0, 0), 1)], Err("speaks version 0"));
        check(&[(Message::Go, 0)], Err("does not say hello"));
        check(&[], Err("it is gone"));
        check(&[(hello(1, 0), 0)], Err("standard error"));
        check(
            &[(hello(1, 2), 1), (one(&bind, false), 1)],
            Err("sockets are missing"),
        );
        check(
            &[(hello(1, 1), 1), (one(&bind, false), 0)],
            Err("not as many"),
        );
        check(
            &[(hello(1, 1), 1), (one(&bind, false), 2)],
            Err("not as many"),
        );
        check(
            &[(hello(1, 1), 1), (one("nowhere", false), 1)],
            Err("no address"),
        );
        let null = std::fs::File::open("/dev/null").unwrap();
        let refused = heard(&[(hello(1, 1), 1), (one(&bind, false), 1)], null.as_fd());
        assert!(refused.unwrap_err().contains("no socket"));
    }
}
