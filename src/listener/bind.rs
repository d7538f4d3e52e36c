//! Binding sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, Type};
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

/// Binds and listens.
pub fn bind(address: &BindAddress) -> io::Result<Socket> {
    match address {
        BindAddress::Socket(address) => bind_tcp(*address).map(Socket::Tcp),
        BindAddress::Unix(path) => bind_unix(path).map(Socket::Unix),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the connections of the one before to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
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
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(_) => std::fs::remove_file(path)?,
        }
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_SOCKET_MODE))?;
    Ok(listener)
}
