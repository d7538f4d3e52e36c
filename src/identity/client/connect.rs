//! Connections of the client: names to addresses, TCP, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::super::url::{is_https, is_local, port_of, without_brackets};

/// For the resolver, the connection and its TLS together; what waits for it may have less time.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Opens what requests are sent over.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    allows_http: bool,
}

impl Connector {
    pub(super) fn new(config: ClientConfig, allows_http: bool) -> Connector {
        Connector {
            tls: TlsConnector::from(Arc::new(config)),
            allows_http,
        }
    }

    async fn open(self, uri: Uri) -> io::Result<Socket> {
        let deadline = Instant::now() + CONNECT_DEADLINE;
        let opening = self.open_until(&uri, deadline);
        let opened = timeout_at(deadline, opening).await;
        opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open_until(&self, uri: &Uri, deadline: Instant) -> io::Result<Socket> {
        let host = without_brackets(uri.host().unwrap_or_default());
        let is_secured = is_https(uri);
        if !is_secured && !self.allows_http && !is_local(host) {
            return Err(io::Error::other("it is not https"));
        }
        // By the system's resolver, on the runtime's threads for what blocks.
        let found = tokio::net::lookup_host((host, port_of(uri))).await?;
        let mut addresses: Vec<SocketAddr> = found.filter(|it| is_server(it.ip())).collect();
        if !is_secured && !self.allows_http {
            // Whatever a name server says of `localhost`.
            addresses.retain(|it| it.ip().is_loopback());
        }
        let stream = connect(&addresses, deadline).await?;
        stream.set_nodelay(true)?;
        if !is_secured {
            return Ok(Socket {
                stream: Box::new(stream),
                is_h2: false,
            });
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = self.tls.connect(name, stream).await?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Socket {
            stream: Box::new(stream),
            is_h2,
        })
    }
}

/// Link-local addresses are where clouds keep the secrets of a machine, and no server of another party is there.
fn is_server(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_link_local && !address.is_unspecified() && !address.is_multicast()
}

/// The first of them that answers; each has an equal share of the time that is left.
async fn connect(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("it has no address");
    for (index, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / others;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Socket>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.open(uri).await.map(TokioIo::new) })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, and what was agreed on for it.
pub(super) struct Socket {
    stream: Box<dyn Duplex>,
    is_h2: bool,
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        match self.is_h2 {
            true => Connected::new().negotiated_h2(),
            false => Connected::new(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_no_server_are_left_out() {
        let check = |address: &str, expected: bool| {
            assert_eq!(is_server(address.parse().unwrap()), expected, "{address}");
        };
        for server in [
            "127.0.0.1",
            "10.0.0.5",
            "192.0.2.1",
            "::1",
            "fd00::5",
            "2001:db8::1",
        ] {
            check(server, true);
        }
        for other in [
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            check(other, false);
        }
    }
}
