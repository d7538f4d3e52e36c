//! `northgate health`

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::text::BindAddress;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first line of the answer, and more.
const ENOUGH: u64 = 1024;
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Ask the running gateway whether it is ready: 0 where it is, 1 where it starts, drains or is not there.
///
/// For health checks where there is no curl, as in a container.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// The admin listener, `unix:/PATH` or `ADDRESS:PORT`, as in `admin.bind`.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "unix:/run/northgate/admin.sock"
    )]
    admin: BindAddress,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match ask(&self.admin) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => ExitCode::SUCCESS,
            Ok(answer) => {
                let status = answer.lines().next().unwrap_or_default();
                eprintln!("{}: not ready: {status}", self.admin);
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("error: {}: {error}", self.admin);
                ExitCode::FAILURE
            }
        }
    }
}

fn ask(address: &BindAddress) -> io::Result<String> {
    match address {
        BindAddress::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
        BindAddress::Socket(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
    }
}

fn exchange(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.take(ENOUGH).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
