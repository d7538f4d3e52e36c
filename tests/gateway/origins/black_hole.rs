//! Nothing answers a connection attempt, as behind a firewall that drops.

use std::fmt;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address at which connections are never made.
pub struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<Socket>,
}

/// A listener that accepts nobody and whose queue is full: the kernel drops further attempts.
pub fn start() -> BlackHole {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a free port");
    listener.listen(0).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let attempt = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        // It is under way, or waits in vain; either fills the queue.
        let _ = socket.connect(&address);
        socket
    };
    let waiting = (0..4).map(|_| attempt()).collect();
    BlackHole {
        address: address.as_socket().expect("an IP address"),
        _listener: listener,
        _waiting: waiting,
    }
}

impl fmt::Display for BlackHole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}
