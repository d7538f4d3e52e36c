//! Several gateways, each a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::client::Client;
use super::pair::Protocol;
use super::redis::free_address;
use super::wait::eventually;

/// Gateways of one configuration. Dropping them ends them.
pub struct Fleet {
    members: Vec<(SocketAddr, Child)>,
    _folder: TempDir,
}

impl Fleet {
    /// `$bind` in the configuration is the address of each.
    pub async fn start(count: usize, toml: &str) -> Fleet {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let members = (0..count).map(|index| {
            let address = free_address();
            let file = folder.path().join(format!("{index}.toml"));
            std::fs::write(&file, toml.replace("$bind", &address.to_string())).expect("writable");
            let mut command = Command::new(env!("CARGO_BIN_EXE_northgate"));
            let command = command.args(["run", "-c"]).arg(&file).stdin(Stdio::null());
            let command = command.stdout(Stdio::null()).stderr(Stdio::null());
            (
                address,
                command.kill_on_drop(true).spawn().expect("northgate"),
            )
        });
        let fleet = Fleet {
            members: members.collect(),
            _folder: folder,
        };
        for (address, _) in &fleet.members {
            eventually("a gateway listens", async || {
                TcpStream::connect(address).await.ok()
            })
            .await;
        }
        fleet
    }

    pub fn clients(&self) -> Vec<Client> {
        let members = self.members.iter();
        members
            .map(|(address, _)| Client::of(*address, Protocol::Http1))
            .collect()
    }
}
