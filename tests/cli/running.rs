//! A gateway that goes on until the test ends it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::program::program;

/// For everything that must happen; far longer than it takes.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A gateway in a process of its own; it ends with the test.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Held for as long as it runs.
    config: Option<tempfile::TempDir>,
}

impl Running {
    pub fn start(config: &str) -> Running {
        let folder = tempfile::tempdir().expect("a folder for the configuration");
        let path = folder.path().join("northgate.toml");
        std::fs::write(&path, config).expect("the configuration is written");
        let mut running = Running::start_at(&path);
        running.config = Some(folder);
        running
    }

    /// With a configuration that the test keeps.
    pub fn start_at(path: &Path) -> Running {
        let mut command = program();
        command.args(["run", "-c"]).arg(path);
        Running::spawn(command)
    }

    /// Starts whatever the command says.
    pub fn spawn(mut command: Command) -> Running {
        command.stdout(Stdio::null());
        Running::of(command)
    }

    /// As [`Running::spawn`], with what it prints.
    pub fn spawn_with_output(mut command: Command) -> (Running, ChildStdout) {
        command.stdout(Stdio::piped());
        let mut running = Running::of(command);
        let out = running.child.stdout.take().expect("it is a pipe");
        (running, out)
    }

    fn of(mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = child.stderr.take().expect("it is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(log).lines().map_while(Result::ok);
            lines
                .take_while(|line| sender.send(line.clone()).is_ok())
                .count()
        });
        Running {
            child,
            lines,
            config: None,
        }
    }

    /// The address of a listener, once it serves.
    pub fn serving(&mut self, listener: &str) -> String {
        let words = format!("listener {listener}: serving ");
        let line = self.await_line(&words);
        let (_, address) = line.split_once(&words).expect("the line has these words");
        address.trim().to_owned()
    }

    /// The next line of the log that holds this text.
    pub fn await_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen += &format!("{line}\n"),
                Err(error) => panic!("no line with {text:?} ({error}) after:\n{seen}"),
            }
        }
    }

    /// What it logs from here on, to its end.
    #[allow(dead_code, reason = "for tests/cli")]
    pub fn log_to_the_end(&mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => seen += &format!("{line}\n"),
                Err(mpsc::RecvTimeoutError::Disconnected) => return seen,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most bytes of memory that it ever held, its own code aside: that of a debug build is three times that of the
    /// program that is shipped, and is in a file.
    pub fn peak_memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let kilobytes = |name: &str| -> usize {
            let line = status.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|it| it.parse().ok()).expect("a number")
        };
        (kilobytes("VmHWM:") - kilobytes("RssFile:")) * 1024
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// As [`Running::exit_code`], where others may hold its log open. What they write is not looked at.
    #[allow(dead_code, reason = "for tests/upgrade")]
    pub fn exit_code_of_itself(&mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                return status.code();
            }
            if Instant::now() >= deadline {
                let said: Vec<String> = self.lines.try_iter().collect();
                panic!("it does not end; it has said:\n{}", said.join("\n"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end, which the end of its log tells. `None` where a signal ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
        self.child.wait().expect("it was started").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until it is so.
pub fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come to that");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a connection of its own says to a GET, as far as it says anything.
pub fn get(address: &str, path: &str) -> String {
    get_with(address, path, "")
}

/// As [`get`], with lines of header that end in CR LF.
pub fn get_with(address: &str, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the gateway accepts");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a deadline is set");
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{header}connection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the gateway reads");
    let mut response = Vec::new();
    // A connection that is cut may end in an error; what came until then is the answer.
    let _ = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}
