//! Listening sockets that somebody else has opened for this process: the service manager, or the process that it
//! takes the place of.
//!
//! A listener that wants such a socket takes it; what nobody wants is closed, and the log says so.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};

use crate::listener::Socket;
use crate::text::BindAddress;

/// More than that is no list of sockets but a mistake.
const MOST: usize = 4096;

/// Why what was passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    #[error("LISTEN_FDS={0} is not a number of sockets")]
    Count(String),
    #[error("socket {name:?} (descriptor {descriptor}) was passed, and cannot be used: {cause}")]
    Unusable {
        name: String,
        descriptor: usize,
        cause: io::Error,
    },
    #[error(
        "socket {name:?} (descriptor {descriptor}) was passed, and is no listening socket of TCP or of a Unix stream: {found}"
    )]
    Kind {
        name: String,
        descriptor: usize,
        found: &'static str,
    },
}

/// Sockets that wait for the listener that wants them.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<PassedSocket>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct PassedSocket {
    /// The listener's, or what the service manager's unit calls it.
    pub(super) name: Box<str>,
    /// As it was asked for; a port may be 0.
    pub(super) bind: BindAddress,
    /// Whether a listener of this name takes it, whatever its own address is.
    pub(super) goes_by_name: bool,
    pub(super) opened: Opened,
}

/// A listening socket outside of any runtime.
#[derive(Debug)]
pub(super) enum Opened {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Passed {
    pub(super) fn push(&mut self, socket: PassedSocket) {
        self.sockets.push(socket);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.sockets.len() >= MOST
    }

    /// Those of the service manager (`sd_listen_fds(3)`). Call it once, before any thread starts.
    ///
    /// A socket goes to the listener that its `FileDescriptorName=` names, and else to the listener of its address.
    pub fn from_service_manager() -> Result<Passed, PassedError> {
        let mut passed = Passed::default();
        let is_for_us =
            std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
        let count = std::env::var("LISTEN_FDS").unwrap_or_default();
        if !is_for_us || count.is_empty() {
            return Ok(passed);
        }
        if !count.parse().is_ok_and(|count: usize| count <= MOST) {
            return Err(PassedError::Count(count));
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default();
            passed.push(take(&mut descriptors, index, name)?);
        }
        Ok(passed)
    }

    /// The socket for a listener, to be used in the runtime that this is called in.
    pub(super) fn take(&mut self, name: &str, bind: &BindAddress) -> Option<io::Result<Socket>> {
        let is_any_port = matches!(bind, BindAddress::Socket(address) if address.port() == 0);
        let is_named = |socket: &PassedSocket| *socket.name == *name;
        // From the best reason to the least.
        let ranks: [&dyn Fn(&PassedSocket) -> bool; 3] = [
            &|it| is_named(it) && it.bind == *bind,
            &|it| is_named(it) && it.goes_by_name,
            &|it| it.bind == *bind && !is_any_port,
        ];
        let found = ranks
            .iter()
            .find_map(|fits| self.sockets.iter().position(fits));
        let PassedSocket { opened, .. } = self.sockets.swap_remove(found?);
        Some(opened.into_socket())
    }

    /// Closes what is left.
    pub(super) fn close(self) {
        for PassedSocket { name, bind, .. } in self.sockets {
            log::warn!("socket {name:?} at {bind} was passed, and no listener wants it: closed");
        }
    }
}

/// Takes a descriptor of the service manager's, of whatever kind it may be.
fn take(descriptors: &mut ListenFd, index: usize, name: &str) -> Result<PassedSocket, PassedError> {
    let (name, descriptor) = (name.to_owned(), 3 + index);
    let opened = match descriptors.take_tcp_listener(index) {
        Ok(Some(tcp)) => Ok(Opened::Tcp(tcp)),
        _ => match descriptors.take_unix_listener(index) {
            Ok(Some(unix)) => Ok(Opened::Unix(unix)),
            _ => Err("it is something else"),
        },
    };
    let kind = |found| PassedError::Kind {
        name: name.clone(),
        descriptor,
        found,
    };
    let opened = opened.map_err(kind)?;
    opened.check().map_err(kind)?;
    match opened.local_address() {
        Ok(bind) => Ok(PassedSocket {
            name: name.into(),
            bind,
            goes_by_name: true,
            opened,
        }),
        Err(cause) => Err(PassedError::Unusable {
            name,
            descriptor,
            cause,
        }),
    }
}

impl Opened {
    /// Takes a descriptor that another process says is a listening socket.
    pub(super) fn of(descriptor: OwnedFd, is_unix: bool) -> Result<Opened, &'static str> {
        let opened = match is_unix {
            true => Opened::Unix(descriptor.into()),
            false => Opened::Tcp(descriptor.into()),
        };
        opened.check()?;
        opened.local_address().map_err(|_| "it has no address")?;
        Ok(opened)
    }

    /// Says what is wrong with it.
    fn check(&self) -> Result<(), &'static str> {
        let socket = match self {
            Opened::Tcp(tcp) => tcp.as_fd(),
            Opened::Unix(unix) => unix.as_fd(),
        };
        match socket_type(socket) {
            Ok(SocketType::STREAM) => {}
            Ok(_) => return Err("it is of datagrams"),
            Err(_) => return Err("it is no socket"),
        }
        match socket_acceptconn(socket) {
            Ok(true) => Ok(()),
            _ => Err("it does not listen"),
        }
    }

    fn local_address(&self) -> io::Result<BindAddress> {
        match self {
            Opened::Tcp(tcp) => Ok(BindAddress::Socket(tcp.local_addr()?)),
            Opened::Unix(unix) => {
                let address = unix.local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
                Ok(BindAddress::Unix(path.into()))
            }
        }
    }

    fn into_socket(self) -> io::Result<Socket> {
        match self {
            Opened::Tcp(tcp) => {
                tcp.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(tcp).map(Socket::Tcp)
            }
            Opened::Unix(unix) => {
                unix.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(unix).map(Socket::Unix)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(sockets: &[(&str, &str, bool)]) -> Passed {
        let mut passed = Passed::default();
        for &(name, bind, goes_by_name) in sockets {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            passed.push(PassedSocket {
                name: name.into(),
                bind: bind.parse().unwrap(),
                goes_by_name,
                opened: Opened::Tcp(tcp),
            });
        }
        passed
    }

    #[tokio::test]
    async fn each_socket_goes_to_the_listener_that_wants_it() {
        // The place of the socket that a listener gets.
        let check = |sockets: &[(&str, &str, bool)], name: &str, bind: &str, expected| {
            let mut passed = passed(sockets);
            let addresses: Vec<_> = passed
                .sockets
                .iter()
                .map(|it| it.opened.local_address().unwrap())
                .collect();
            let taken = passed.take(name, &bind.parse().unwrap());
            let taken = taken.map(|socket| socket.unwrap().local_address().unwrap());
            let place = taken.map(|taken| addresses.iter().position(|it| *it == taken).unwrap());
            assert_eq!(place, expected, "{sockets:?} {name} {bind}");
        };
        let by_unit = [
            ("web", "[::]:80", true),
            ("web", "[::]:443", true),
            ("x.socket", "[::]:81", true),
        ];
        check(&by_unit, "web", "0.0.0.0:80", Some(0));
        check(&by_unit, "web", "[::]:443", Some(1));
        check(&by_unit, "other", "[::]:81", Some(2));
        check(&by_unit, "other", "[::]:82", None);
        let by_upgrade = [
            ("web", "[::]:80", false),
            ("any", "127.0.0.1:0", false),
            ("more", "127.0.0.1:0", false),
        ];
        check(&by_upgrade, "web", "[::]:80", Some(0));
        check(&by_upgrade, "renamed", "[::]:80", Some(0));
        check(&by_upgrade, "web", "[::]:8080", None);
        check(&by_upgrade, "more", "127.0.0.1:0", Some(2));
        check(&by_upgrade, "new", "127.0.0.1:0", None);
    }

    #[test]
    fn only_listening_streams_are_taken() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = Opened::of(udp.into(), false).unwrap_err();
        assert_eq!(error, "it is of datagrams");
        let (pair, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(
            Opened::of(pair.into(), true).unwrap_err(),
            "it does not listen"
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(
            Opened::of(file.into(), false).unwrap_err(),
            "it is no socket"
        );
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Opened::of(tcp.into(), false).is_ok());
    }
}
