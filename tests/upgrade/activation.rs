//! Sockets that the service manager has opened. Its place is taken by a small parent that passes what it is told to.

use std::process::Command;

use crate::running::{Running, get};
use crate::service::{lives, post, signal};

/// Duplicates standard input and what follows it to where sockets are looked for, says whose they are, and becomes the
/// gateway. Arguments: the names, the process (0 for itself), then the program.
const PARENT: &str = "
import os, socket, sys
names, pid = sys.argv[1], int(sys.argv[2])
kinds = sys.argv[3].split(',')
made = []
for kind in kinds:
    if kind == 'tcp':
        one = socket.socket(); one.bind(('127.0.0.1', 0)); one.listen()
        print(kind, one.getsockname()[1], flush=True)
    elif kind == 'udp':
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.bind(('127.0.0.1', 0))
    elif kind == 'silent':
        one = socket.socket(); one.bind(('127.0.0.1', 0))
    else:
        one = socket.socket(socket.AF_UNIX); one.bind(kind); one.listen()
    made.append(one)
high = [os.dup2(one.fileno(), 100 + index) for index, one in enumerate(made)]
for index, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + index)
os.environ['LISTEN_FDS'] = str(len(made))
os.environ['LISTEN_FDNAMES'] = names
os.environ['LISTEN_PID'] = str(pid or os.getpid())
os.closerange(3 + len(made), 200)
os.execv(sys.argv[4], sys.argv[4:])
";

struct Activated {
    running: Running,
    ports: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    _folder: tempfile::TempDir,
}

/// Starts with these sockets: their names, whose they are, and of which kind each is.
fn activated(names: &str, pid: u32, kinds: &str, toml: &str) -> Activated {
    use std::io::BufRead;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    let path = folder.path().display().to_string();
    std::fs::write(&config, toml.replace("$folder", &path)).unwrap();
    let mut command = Command::new("python3");
    command
        .args(["-c", PARENT, names, &pid.to_string()])
        .arg(kinds.replace("$folder", &path))
        .arg(env!("CARGO_BIN_EXE_northgate"))
        .args(["run", "-c"])
        .arg(&config);
    let (running, out) = Running::spawn_with_output(command);
    Activated {
        running,
        ports: std::io::BufReader::new(out).lines(),
        _folder: folder,
    }
}

impl Activated {
    /// The address of the next socket of TCP.
    fn next_address(&mut self) -> String {
        let line = self.ports.next().expect("a line").expect("a line");
        let port = line.strip_prefix("tcp ").expect("a port");
        format!("127.0.0.1:{port}")
    }
}

const ROUTE: &str = "[routes.ping]\nmatch = { path = \"/ping\" }\nrespond = { body = \"pong\" }\n";

fn pings(address: &str) -> bool {
    get(address, "/ping").ends_with("pong")
}

#[test]
fn sockets_go_to_the_listeners_of_their_names() {
    let toml = format!(
        "[gateway]\naccess_log = \"off\"\n[admin]\nbind = \"127.0.0.1:0\"\n[listeners.one]\nbind = \"127.0.0.1:1\"\n[listeners.two]\nbind = \"unix:$folder/two.sock\"\n{ROUTE}"
    );
    let mut gateway = activated("one:two:admin", 0, "tcp,$folder/two.sock,tcp", &toml);
    let (one, admin) = (gateway.next_address(), gateway.next_address());
    assert!(
        gateway
            .running
            .await_line("admin: serving ")
            .ends_with(&admin)
    );
    assert_eq!(gateway.running.serving("one"), one);
    assert!(gateway.running.serving("two").ends_with("/two.sock"));
    assert!(pings(&one));
    // And they go on to whoever takes its place, which is told of no other sockets.
    let outcome = post(&admin, "/upgrade");
    assert_eq!(outcome.status, 200, "{outcome:?}");
    let pid = outcome
        .notes
        .split(' ')
        .find_map(|it| it.parse().ok())
        .unwrap();
    assert_eq!(gateway.running.exit_code_of_itself(), Some(0));
    assert!(pings(&one));
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("LISTEN_"), "{environment}");
    assert!(lives(pid));
    signal(pid, "KILL");
}

#[test]
fn else_by_address_and_what_is_left_is_closed() {
    let toml = format!(
        "[gateway]\naccess_log = \"off\"\n[listeners.public]\nbind = \"unix:$folder/p.sock\"\n{ROUTE}"
    );
    let mut gateway = activated("northgate.socket:more", 0, "$folder/p.sock,tcp", &toml);
    let unwanted = gateway.next_address();
    let line = gateway
        .running
        .await_line("was passed, and no listener wants it: closed");
    assert!(
        line.contains(&format!("socket \"more\" at {unwanted}")),
        "{line}"
    );
    gateway.running.serving("public");
    let refused = std::net::TcpStream::connect(&unwanted).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let toml = format!("[listeners.public]\nbind = \"127.0.0.1:0\"\n{ROUTE}");
    for (kind, said) in [
        ("udp", "it is something else"),
        ("silent", "it does not listen"),
    ] {
        let mut gateway = activated("public", 0, kind, &toml);
        let line = gateway
            .running
            .await_line("was passed, and is no listening socket");
        let name = "socket \"public\" (descriptor 3)";
        assert!(line.contains(name) && line.ends_with(said), "{line}");
        assert_eq!(gateway.running.exit_code(), Some(1));
    }
}

/// Variables of a parent's parent.
#[test]
fn what_is_meant_for_another_process_is_left_alone() {
    let toml = format!("[listeners.public]\nbind = \"127.0.0.1:0\"\n{ROUTE}");
    let mut gateway = activated("public", 1, "tcp", &toml);
    let passed = gateway.next_address();
    let bound = gateway.running.serving("public");
    assert_ne!(bound, passed);
    assert!(pings(&bound));
}
