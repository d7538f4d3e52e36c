//! Asking the gateway that runs, by its admin listener.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use http::header::{AUTHORIZATION, HOST};
use http::request::Builder;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::ConfigPath;
use crate::config::load;
use crate::text::{BindAddress, SecretError};

/// More than any answer is long.
const MAX_ANSWER: usize = 64 << 20;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Where the package has the admin listener.
const PACKAGED: &str = "/run/northgate/admin.sock";
/// In the place of `admin.token`, for whoever may not read the file that it is in.
const TOKEN_VARIABLE: &str = "NORTHGATE_ADMIN_TOKEN";

/// Where the gateway that runs can be asked.
#[derive(Debug, Args)]
pub(super) struct AdminAddress {
    #[command(flatten)]
    pub(super) path: ConfigPath,
    /// The address of the admin listener; by default what the configuration says. That is no longer where the running
    /// gateway listens once `admin.bind` has been changed, and cannot be told once the file cannot be read. Its token
    /// is taken from NORTHGATE_ADMIN_TOKEN, or from the configuration.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<BindAddress>,
}

type Token = Box<[u8]>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "the configuration has no [admin] section that can be read; name the address with --admin{}",
        example(None)
    )]
    NoAddress,
    #[error("admin.token: {0}")]
    Token(#[from] SecretError),
    #[error("NORTHGATE_ADMIN_TOKEN is not what can be sent in a header")]
    TokenVariable,
    #[error(
        "nobody answers at {address}: {cause}; where the gateway listens elsewhere, name the address with --admin{}",
        example(Some(.address))
    )]
    Connect {
        address: BindAddress,
        cause: io::Error,
    },
    #[error("{address}: {cause}")]
    Http {
        address: BindAddress,
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{address}: no answer within {} s", limit.as_secs())]
    Late {
        address: BindAddress,
        limit: Duration,
    },
}

/// The packaged address, where there is something and it is not what was asked.
fn example(asked: Option<&BindAddress>) -> String {
    example_at(Path::new(PACKAGED), asked)
}

fn example_at(packaged: &Path, asked: Option<&BindAddress>) -> String {
    let was_asked = matches!(asked, Some(BindAddress::Unix(path)) if &**path == packaged);
    match !was_asked && packaged.exists() {
        true => format!(", such as unix:{}", packaged.display()),
        false => String::new(),
    }
}

/// What the gateway has said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl AdminAddress {
    /// Asks and waits for the answer, which is to be there within the limit.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Answer, AskError> {
        let (address, token) = self.find()?;
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            let bearer = [b"Bearer ", &*token].concat();
            request = request.header(AUTHORIZATION, bearer);
        }
        send(&address, request, limit)
    }

    /// Asks for what everybody may know. With an address on the command line, no configuration is read for it.
    pub(super) fn ask_openly(&self, path: &str, limit: Duration) -> Result<Answer, AskError> {
        let address = match &self.admin {
            Some(address) => address.clone(),
            None => self.find()?.0,
        };
        send(&address, Request::builder().uri(path), limit)
    }

    /// The address and the token, as far as they can be read: the rest of the configuration may be in a bad state,
    /// and often is when somebody asks.
    fn find(&self) -> Result<(BindAddress, Option<Token>), AskError> {
        let said = std::env::var_os(TOKEN_VARIABLE);
        let said = said.map(|token| token.into_encoded_bytes().into());
        if let (Some(address), Some(token)) = (&self.admin, &said) {
            return Ok((address.clone(), Some(Box::clone(token))));
        }
        let loaded = load(&self.path.config);
        let configured = loaded.document.admin.as_ref().map(|it| &it.config);
        let address = self.admin.clone();
        let address = address.or_else(|| Some(configured?.bind.value.clone()));
        let token = match (
            said,
            configured.and_then(|it| Some((it, it.token.as_ref()?))),
        ) {
            (Some(said), _) => Some(said),
            (None, Some((admin, token))) => {
                let folder = loaded.base(admin.span.source);
                Some(token.value.read(&folder)?.expose().into())
            }
            (None, None) => None,
        };
        Ok((address.ok_or(AskError::NoAddress)?, token))
    }
}

/// Sends it and waits for the answer, which is to be there within the limit.
fn send(address: &BindAddress, request: Builder, limit: Duration) -> Result<Answer, AskError> {
    let request = request
        .header(HOST, "localhost")
        .body(Empty::new())
        .map_err(|_| AskError::TokenVariable)?;
    let failed = |cause| AskError::Connect {
        address: address.clone(),
        cause,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let asked = async { tokio::time::timeout(limit, ask(address, request)).await };
    runtime.block_on(asked).unwrap_or(Err(AskError::Late {
        address: address.clone(),
        limit,
    }))
}

async fn ask(address: &BindAddress, request: Request<Empty<Bytes>>) -> Result<Answer, AskError> {
    let connected = tokio::time::timeout(CONNECT_DEADLINE, connect(address)).await;
    let connected = connected.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    let stream = connected.map_err(|cause| AskError::Connect {
        address: address.clone(),
        cause,
    })?;
    let failed = |cause| AskError::Http {
        address: address.clone(),
        cause,
    };
    exchange(stream, request).await.map_err(failed)
}

async fn exchange(
    stream: Box<dyn Transport>,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What it ends with shows in the exchange.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await?;
    Ok(Answer {
        status,
        body: body.to_bytes(),
    })
}

async fn connect(address: &BindAddress) -> io::Result<Box<dyn Transport>> {
    Ok(match address {
        BindAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        BindAddress::Socket(socket) => {
            let mut socket = *socket;
            // Who is bound to every address answers on this machine's own.
            match socket.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => socket.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => socket.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            Box::new(TcpStream::connect(socket).await?)
        }
    })
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_address_is_named_where_it_may_help() {
        let folder = tempfile::tempdir().unwrap();
        let packaged = folder.path().join("admin.sock");
        let other: BindAddress = "127.0.0.1:1".parse().unwrap();
        let same = BindAddress::Unix(packaged.clone().into());
        let named = format!(", such as unix:{}", packaged.display());
        assert_eq!(example_at(&packaged, None), "");
        std::fs::write(&packaged, "").unwrap();
        assert_eq!(example_at(&packaged, None), named);
        assert_eq!(example_at(&packaged, Some(&other)), named);
        assert_eq!(example_at(&packaged, Some(&same)), "");
    }
}
