//! A gateway over several processes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::running::{DEADLINE, Running, get, until};

/// A gateway whose processes take each other's place. All of them end with the test.
pub struct Service {
    pub first: Running,
    /// Of the public listener and of the admin listener.
    pub address: String,
    pub admin: String,
    pub folder: tempfile::TempDir,
    /// Everything that was started in the course of upgrades.
    started: Vec<u32>,
}

/// What an order came to.
#[derive(Debug)]
pub struct Outcome {
    pub status: u16,
    pub problems: String,
    pub notes: String,
}

impl Service {
    /// Starts a copy of the program, so that it can be replaced. `$folder` becomes the folder of the test.
    pub fn start(toml: &str) -> Service {
        Service::start_with(toml, |_| {})
    }

    /// As [`Service::start`], with something more said of how.
    pub fn start_with(toml: &str, with: impl FnOnce(&mut Command)) -> Service {
        let folder = tempfile::tempdir().expect("a folder");
        copy_program(&folder.path().join("northgate"));
        std::fs::write(folder.path().join("gateway.toml"), in_folder(toml, &folder))
            .expect("the configuration is written");
        let mut command = Command::new(folder.path().join("northgate"));
        command.env_remove("NORTHGATE_LOG").arg("run").arg("-c");
        command.arg(folder.path().join("gateway.toml"));
        with(&mut command);
        let mut first = Running::spawn(command);
        let line = first.await_line("admin: serving ");
        let admin = line.rsplit_once(' ').expect("words").1.to_owned();
        let address = first.serving("public");
        until(|| get(&admin, "/readyz").contains("ready"));
        Service {
            first,
            address,
            admin,
            folder,
            started: Vec::new(),
        }
    }

    /// Where the running process was started from.
    pub fn program(&self) -> PathBuf {
        self.folder.path().join("northgate")
    }

    /// Puts a script in the program's place.
    pub fn replace_program(&self, script: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).expect("a script");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, executable).expect("it may be executed");
        std::fs::rename(&new, self.program()).expect("it is replaced");
    }

    /// Puts the program back.
    pub fn restore_program(&self) {
        let new = self.folder.path().join("new");
        copy_program(&new);
        std::fs::rename(&new, self.program()).expect("it is replaced");
    }

    pub fn write_config(&self, toml: &str) {
        let path = self.folder.path().join("gateway.toml");
        std::fs::write(path, in_folder(toml, &self.folder)).expect("it is written");
    }

    /// Has the running process replaced, and waits for its answer.
    pub fn upgrade(&mut self) -> Outcome {
        let outcome = post(&self.admin, "/upgrade");
        if outcome.status == 200 {
            let pid = outcome.notes.split(' ').find_map(|word| word.parse().ok());
            self.started.push(pid.expect("the process that serves"));
        }
        outcome
    }

    /// Has it replaced by one that has to come to serve, whose id this is.
    #[track_caller]
    pub fn upgraded(&mut self) -> u32 {
        let mut outcome = self.upgrade();
        let begin = Instant::now();
        // One that drains has the admin listener as well, until it stops listening.
        while outcome.notes.contains("this one drains") && begin.elapsed() < Duration::from_secs(30)
        {
            std::thread::sleep(Duration::from_millis(20));
            outcome = self.upgrade();
        }
        assert_eq!(outcome.status, 200, "{outcome:?}");
        *self.started.last().expect("the process that serves")
    }

    /// The process that the next line of the log about it says is starting.
    pub fn await_start(&mut self) -> u32 {
        let line = self.first.await_line("upgrade: process ");
        let words = line.split("upgrade: process ").nth(1).expect("words");
        let pid = words.split(' ').next().and_then(|word| word.parse().ok());
        let pid = pid.expect("a process");
        self.started.push(pid);
        pid
    }

    #[track_caller]
    pub fn assert_serves(&self) {
        let answer = get(&self.address, "/ping");
        assert!(answer.ends_with("pong"), "{answer}");
    }

    /// What the metrics say of upgrades that came to this.
    pub fn count(&self, result: &str) -> u32 {
        let series = format!("northgate_upgrades_total{{result=\"{result}\"}} ");
        let metrics = get(&self.admin, "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0, |count| count.trim().parse().expect("a number"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for &pid in &self.started {
            signal(pid, "KILL");
        }
    }
}

/// Sends a signal to a process that was started here. That it may be gone is no failure.
pub fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).output();
    status.expect("there is a shell");
}

/// Whether there is such a process, and it has not ended.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in brackets and may hold anything.
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

pub fn post(admin: &str, path: &str) -> Outcome {
    // Whoever connects while a process leaves may be taken by it, and let go before it has read anything.
    let mut answers = (0..3).map(|_| exchange(admin, path));
    let answer = answers.find(|answer| !answer.is_empty());
    let answer = answer.expect("an answer at the third time");
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let report: Value = serde_json::from_str(body).unwrap_or_default();
    let notes = report["notes"].as_array().into_iter().flatten();
    let notes: Vec<_> = notes.filter_map(Value::as_str).collect();
    Outcome {
        status: status.expect("a status"),
        problems: report["problems"].as_str().unwrap_or_default().to_owned(),
        notes: notes.join("\n"),
    }
}

/// What comes back until the connection is closed.
fn exchange(admin: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).expect("the admin listener accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let ask = format!(
        "POST {path} HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn in_folder(toml: &str, folder: &tempfile::TempDir) -> String {
    toml.replace("$folder", &folder.path().display().to_string())
}

fn copy_program(to: &Path) {
    let from = env!("CARGO_BIN_EXE_northgate");
    // On another file system it has to be copied.
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).expect("a copy of the program");
    }
}
