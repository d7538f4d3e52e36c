//! Binding sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::text::BindAddress;

/// Connections that the kernel may hold until they are accepted.
pub(super) const BACKLOG: i32 = 4096;
/// Unix sockets are for the gateway's user and group.
const UNIX_SOCKET_MODE: u32 = 0o660;

/// A bound socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// A descriptor of its own for the same socket.
    pub fn try_clone_to_owned(&self) -> io::Result<OwnedFd> {
        match self {
            Socket::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Socket::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    fn share_port(&self, is_shared: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(listener) => SockRef::from(listener).set_reuse_port(is_shared),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// The address that it is bound to; a port 0 has become a real one.
    pub fn local_address(&self) -> io::Result<BindAddress> {
        match self {
            Socket::Tcp(listener) => Ok(BindAddress::Socket(listener.local_addr()?)),
            Socket::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
                Ok(BindAddress::Unix(path.into()))
            }
        }
    }
}

/// Binds and listens. `own` are sockets of this process, of which one may be at an address that includes this one, or
/// is a part of it.
pub fn bind(address: &BindAddress, own: &[Arc<Socket>]) -> io::Result<Socket> {
    match address {
        BindAddress::Socket(address) => bind_beside(*address, own).map(Socket::Tcp),
        BindAddress::Unix(path) => bind_unix(path).map(Socket::Unix),
    }
}

/// The kernel has two sockets side by side only where both allow it, so that they do for this moment: until the old one
/// is closed, those who connect are its own. For processes of the same user that ask for it, the address stays open.
fn bind_beside(address: SocketAddr, own: &[Arc<Socket>]) -> io::Result<TcpListener> {
    let refused = match bind_tcp(address, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        other => return other,
    };
    let overlaps = |socket: &&Arc<Socket>| {
        let bound = socket.local_address();
        bound.is_ok_and(|it| it.overlaps(&BindAddress::Socket(address)))
    };
    let beside: Vec<&Arc<Socket>> = own.iter().filter(overlaps).collect();
    if beside.is_empty() {
        return Err(refused);
    }
    let allow = |is_allowed: bool| {
        let mut each = beside.iter();
        each.try_for_each(|socket| socket.share_port(is_allowed))
    };
    allow(true)?;
    let bound = bind_tcp(address, true);
    allow(false)?;
    let bound = bound?;
    SockRef::from(&bound).set_reuse_port(false)?;
    Ok(bound)
}

fn bind_tcp(address: SocketAddr, shares_port: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the connections of the one before to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    // A socket file outlives its process. It may be replaced only where nobody answers on it any more.
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        match std::os::unix::net::UnixStream::connect(path) {
            // What does not let us in has an owner, too.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_SOCKET_MODE))?;
    Ok(listener)
}
