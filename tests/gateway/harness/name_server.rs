//! A real name server, NSD, with a zone that is changed while it runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};

use super::redis::own_address;
use super::wait::{eventually, within};

/// Debian has it where not every user looks for programs.
const NSD: &str = "/usr/sbin/nsd";

/// Knows the zone `test`, on a loopback port, by UDP and TCP. Dropping it ends it.
pub struct NameServer {
    address: SocketAddr,
    folder: TempDir,
    serial: u32,
    child: Child,
}

impl NameServer {
    /// `records` are lines of a zone file, `users 1 IN A 127.0.0.2`.
    pub async fn start(records: &str) -> NameServer {
        let address = own_address();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().display();
        let (ip, port) = (address.ip(), address.port());
        let config = format!(
            "server:\n ip-address: {ip}@{port}\n username: \"\"\n zonesdir: \"{place}\"\n database: \"\"\n \
             pidfile: \"{place}/pid\"\n xfrdfile: \"{place}/xfrd\"\n zonelistfile: \"{place}/zones\"\n \
             xfrdir: \"{place}\"\n logfile: \"{place}/log\"\n server-count: 1\n rrl-ratelimit: 0\n \
             minimal-responses: yes\n\
             remote-control:\n control-enable: no\nzone:\n name: \"test\"\n zonefile: \"test.zone\"\n"
        );
        std::fs::write(folder.path().join("nsd.conf"), config).expect("a file");
        let child = spawn(&folder);
        let mut server = NameServer {
            address,
            folder,
            serial: 0,
            child,
        };
        server.stop().await;
        server.write(records);
        server.start_again().await;
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it know these records from now on, and waits until it does.
    pub async fn set(&mut self, records: &str) {
        self.write(records);
        self.signal(Signal::HUP);
        self.serves().await;
    }

    pub async fn stop(&mut self) {
        self.child.start_kill().expect("it runs");
        let ended = within("NSD ends", self.child.wait()).await;
        ended.expect("it was ours");
        // Its workers end with it, and let go of the port a little later.
        eventually("the port is free", async || {
            UdpSocket::bind(self.address).await.ok().map(drop)
        })
        .await;
    }

    /// At the same address, with what it knew.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.folder);
        self.serves().await;
    }

    /// As [`NameServer::start_again`], with these records.
    pub async fn set_stopped(&mut self, records: &str) {
        self.write(records);
        self.start_again().await;
    }

    /// It does nothing any more, and nobody is told.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    /// At the same address, with a zone that it cannot read: it answers SERVFAIL.
    pub async fn start_broken(&mut self) {
        std::fs::remove_file(self.zone()).expect("the zone");
        self.child = spawn(&self.folder);
        eventually("NSD fails", async || {
            (self.ask().await?.0 == SERVFAIL).then_some(())
        })
        .await;
    }

    fn write(&mut self, records: &str) {
        self.serial += 1;
        let serial = self.serial;
        let zone = format!(
            "$ORIGIN test.\n@ 1 IN SOA ns admin {serial} 3600 600 86400 1\n@ 1 IN NS ns\nns 1 IN A 127.0.0.1\n\
             serial 1 IN A 10.0.0.{}\n{records}\n",
            serial % 256
        );
        let part = self.folder.path().join("part");
        std::fs::write(&part, zone).expect("a file");
        std::fs::rename(part, self.zone()).expect("a file");
    }

    fn zone(&self) -> PathBuf {
        self.folder.path().join("test.zone")
    }

    async fn serves(&self) {
        let expected = (self.serial % 256) as u8;
        eventually("NSD has the zone", async || {
            let (code, last) = self.ask().await?;
            (code == 0 && last == expected).then_some(())
        })
        .await;
    }

    /// Its answer for `serial.test`: the code, and the last byte of the address.
    async fn ask(&self) -> Option<(u8, u8)> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.ok()?;
        let question = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06serial\x04test\x00\x00\x01\x00\x01";
        socket.connect(self.address).await.ok()?;
        socket.send(question).await.ok()?;
        let mut answer = [0; 512];
        let received = socket.recv(&mut answer);
        let wait = std::time::Duration::from_millis(200);
        let length = tokio::time::timeout(wait, received).await.ok()?.ok()?;
        // The address stands at the end where there is one.
        let code = answer.get(3)? & 0x0f;
        let end = question.len() + 16;
        let last = answer.get(end - 1).filter(|_| length >= end);
        Some((code, last.copied().unwrap_or_default()))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process(pid.expect("it runs"), signal).expect("it is ours");
    }

    /// To its workers too, which are in its process group.
    fn signal_all(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process_group(pid.expect("it runs"), signal).expect("they are ours");
    }
}

const SERVFAIL: u8 = 2;

fn spawn(folder: &TempDir) -> Child {
    let mut command = Command::new(NSD);
    command
        .args(["-d", "-c"])
        .arg(folder.path().join("nsd.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().expect("nsd; .ci/install installs it")
}
