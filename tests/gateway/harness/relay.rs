//! Something between two that speak TCP, which can become slow or silent without closing anything.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Passing {
    /// It goes on at once.
    Fast,
    /// It goes on after this time.
    Slow(Duration),
    /// It goes nowhere, and nobody is told.
    Never,
    /// It goes on to the server. When that answers the connection ends instead.
    Unanswered,
}

/// A relay on a loopback port. Dropping it ends it.
pub struct Relay {
    address: SocketAddr,
    passing: watch::Sender<Passing>,
    /// Of the connections that were there when it was last said.
    passing_of_old: watch::Sender<Passing>,
    task: JoinHandle<()>,
}

impl Relay {
    pub async fn to(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (passing, new) = watch::channel(Passing::Fast);
        let (passing_of_old, old) = watch::channel(Passing::Fast);
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                let _ = client.set_nodelay(true);
                tokio::spawn(relay(client, target, new.clone(), old.clone()));
            }
        });
        Relay {
            address,
            passing,
            passing_of_old,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for every connection.
    pub fn pass(&self, how: Passing) {
        self.passing.send_replace(how);
    }

    /// From now on, for the connections that are there; those that come are not concerned.
    pub fn pass_on_old(&self, how: Passing) {
        self.passing_of_old.send_replace(how);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    passing: watch::Receiver<Passing>,
    mut old: watch::Receiver<Passing>,
) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = server.set_nodelay(true);
    old.mark_unchanged();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, passing.clone(), old.clone(), false) => {}
        () = copy(from_server, to_client, passing, old, true) => {}
    }
}

/// Until one side ends.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passing: watch::Receiver<Passing>,
    old: watch::Receiver<Passing>,
    is_answer: bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let for_old = match old.has_changed() {
            Ok(true) => *old.borrow(),
            _ => Passing::Fast,
        };
        let how = match for_old {
            Passing::Fast => *passing.borrow(),
            how => how,
        };
        match how {
            Passing::Fast => {}
            Passing::Slow(time) => tokio::time::sleep(time).await,
            Passing::Never => continue,
            Passing::Unanswered if is_answer => return,
            Passing::Unanswered => {}
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
