//! A start with files that are no good: what served last serves again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::program::{northgate, program};
use super::running::{DEADLINE, Running, get};

const KEPT: &str = "last-good-configuration";

/// A folder with a configuration that is kept in `state` beside it.
struct Site {
    folder: tempfile::TempDir,
    config: PathBuf,
    /// Whether it is systemd that says where state is, as far as the program can tell.
    is_service: bool,
}

impl Site {
    fn new(is_service: bool) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("northgate.toml");
        Site {
            folder,
            config,
            is_service,
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn kept(&self) -> PathBuf {
        self.state().join(KEPT)
    }

    fn good(&self) -> String {
        let option = match self.is_service {
            true => "",
            false => "[gateway]\nstate_dir = \"state\"\n",
        };
        format!(
            r#"{option}
[admin]
bind = "127.0.0.1:0"
[listeners.public]
bind = "127.0.0.1:0"
[routes.hello]
match = {{ path = "/hello" }}
respond = {{ status = 200, body = "kept" }}
"#
        )
    }

    fn start(&self) -> Running {
        let mut command = program();
        command.args(["run", "-c"]).arg(&self.config);
        match self.is_service {
            true => command.env("STATE_DIRECTORY", self.state()),
            false => command.env_remove("STATE_DIRECTORY"),
        };
        Running::spawn(command)
    }

    /// Serves the good configuration until it is kept.
    fn keep(&self) {
        fs::write(&self.config, self.good()).expect("the folder is ours");
        let mut gateway = self.start();
        gateway.serving("public");
        await_file(&self.kept());
        gateway.terminate();
        assert_eq!(gateway.exit_code(), Some(0));
    }

    /// Starts, and asserts that the last good configuration serves, and that it is said.
    fn serves_last_good(&self, what: &str) {
        let mut gateway = self.start();
        let admin = gateway.await_line("admin: serving ");
        let (_, admin) = admin.split_once("serving ").expect("it has an address");
        let public = gateway.serving("public");
        gateway.await_line("serving the last good configuration");
        assert!(get(&public, "/hello").ends_with("kept"), "{what}");
        assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200"), "{what}");
        let metrics = get(admin, "/metrics");
        assert!(
            metrics.contains("\nnorthgate_config_last_good 1\n"),
            "{what}"
        );
        gateway.terminate();
        assert_eq!(gateway.exit_code(), Some(0), "{what}");
        let check = northgate(&["check", "-c", &self.config.to_string_lossy()]);
        assert_eq!(check.code, 1, "{what}: a check tells of the files alone");
    }
}

fn await_file(path: &Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(
            begin.elapsed() < DEADLINE,
            "{} does not come",
            path.display()
        );
        std::thread::yield_now();
    }
}

/// What may become of a file, and what it holds then.
fn broken(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("comment", b"# nothing\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("not UTF-8", b"[listeners.\xff]\n".to_vec()),
        ("another kind of file", b"\x7fELF\x02\x01\x01\x00".to_vec()),
        ("half of a line", good.as_bytes()[..good.len() - 7].to_vec()),
        ("half of a file", good.as_bytes()[..good.len() / 4].to_vec()),
        ("a mistake", good.replace("200", "\"ok\"").into_bytes()),
        ("an unknown upstream", good.replace("respond = ", "upstream = \"no\" #").into_bytes()),
        ("a missing certificate", [good, "[listeners.t]\nbind = \"127.0.0.1:0\"\ntls = { certificates = [{ cert = \"no.pem\", key = { file = \"no.key\" } }] }\n"].concat().into_bytes()),
        ("a missing include", format!("include = [\"no.toml\"]\n{good}").into_bytes()),
        ("brackets", "[".repeat(100_000).into_bytes()),
    ]
}

#[test]
fn whatever_became_of_the_file() {
    let site = Site::new(true);
    site.keep();
    for (what, text) in broken(&site.good()) {
        fs::write(&site.config, text).expect("the folder is ours");
        site.serves_last_good(what);
    }
}

#[test]
fn a_start_clears_away_what_a_killed_process_has_left() {
    let site = Site::new(true);
    site.keep();
    // No process has this number: it is above the highest that Linux gives.
    let left = site.state().join(format!("{KEPT}.4194305"));
    fs::write(&left, "half").expect("the folder is ours");
    let mut gateway = site.start();
    gateway.serving("public");
    assert!(!left.exists());
    assert!(site.kept().exists());
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn a_gateway_that_runs_minds_no_broken_file() {
    let site = Site::new(true);
    fs::write(&site.config, site.good()).expect("the folder is ours");
    let mut gateway = site.start();
    let public = gateway.serving("public");
    let not_reloaded = "what served before serves on";
    for (what, text) in broken(&site.good()) {
        fs::write(&site.config, text).expect("the folder is ours");
        gateway.signal("HUP");
        gateway.await_line(not_reloaded);
        assert!(get(&public, "/hello").ends_with("kept"), "{what}");
    }
    fs::remove_file(&site.config).expect("it is there");
    gateway.signal("HUP");
    gateway.await_line(not_reloaded);
    assert!(get(&public, "/hello").ends_with("kept"));
    let kept = fs::read(site.kept()).expect("it was kept");
    fs::write(&site.config, site.good().replace("kept", "new")).expect("the folder is ours");
    gateway.signal("HUP");
    gateway.await_line("the configuration was reloaded");
    assert!(get(&public, "/hello").ends_with("new"));
    await_change(&site.kept(), &kept);
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn files_that_are_good_again_serve_again() {
    let site = Site::new(true);
    site.keep();
    fs::write(&site.config, "").expect("the folder is ours");
    let mut gateway = site.start();
    let admin = gateway.await_line("admin: serving ");
    let (_, admin) = admin.split_once("serving ").expect("it has an address");
    let public = gateway.serving("public");
    let is_last_good = |state: &str| {
        get(admin, "/metrics").contains(&format!("\nnorthgate_config_last_good {state}\n"))
    };
    gateway.await_line("serving the last good configuration");
    gateway.signal("HUP");
    gateway.await_line("what served before serves on");
    assert!(is_last_good("1"));
    fs::write(&site.config, site.good().replace("kept", "new")).expect("the folder is ours");
    gateway.signal("HUP");
    gateway.await_line("the configuration was reloaded");
    assert!(get(&public, "/hello").ends_with("new"));
    assert!(is_last_good("0"));
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn whatever_is_in_place_of_the_file() {
    let site = Site::new(true);
    site.keep();
    fs::remove_file(&site.config).expect("it is there");
    site.serves_last_good("nothing");
    std::os::unix::fs::symlink(&site.config, &site.config).expect("the folder is ours");
    site.serves_last_good("a link to itself");
    fs::remove_file(&site.config).expect("it is there");
    fs::create_dir(&site.config).expect("the folder is ours");
    site.serves_last_good("an empty folder");
    fs::remove_dir(&site.config).expect("it is there");
    let made = std::process::Command::new("mkfifo")
        .arg(&site.config)
        .status();
    assert!(made.expect("mkfifo runs").success());
    site.serves_last_good("a pipe");
}

#[test]
fn a_file_with_mistakes_can_still_say_where() {
    let site = Site::new(false);
    site.keep();
    for mistake in ["[routes.x\n", "[routes.x]\n", "listeners = 1\n"] {
        fs::write(&site.config, site.good() + mistake).expect("the folder is ours");
        site.serves_last_good(mistake);
    }
    fs::write(&site.config, "").expect("the folder is ours");
    let mut gateway = site.start();
    gateway.await_line("there is no listener");
    assert_eq!(gateway.exit_code(), Some(1), "nobody says where to look");
}

fn await_change(path: &Path, before: &[u8]) {
    let begin = Instant::now();
    while fs::read(path).is_ok_and(|now| now == before) {
        assert!(begin.elapsed() < DEADLINE, "{} stays", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn what_is_kept_may_be_no_good_itself() {
    let site = Site::new(true);
    site.keep();
    let kept = fs::read(site.kept()).expect("it is there");
    fs::write(&site.config, "").expect("the folder is ours");
    let damaged = [
        Vec::new(),
        b"something else".to_vec(),
        kept[..kept.len() - 1].to_vec(),
        kept[..40].to_vec(),
    ];
    for bytes in damaged {
        fs::write(site.kept(), bytes).expect("the folder is ours");
        let mut gateway = site.start();
        gateway.await_line("the last good configuration in ");
        assert_eq!(gateway.exit_code(), Some(1));
    }
    fs::remove_file(site.kept()).expect("it is there");
    let mut gateway = site.start();
    gateway.await_line("there is no last good configuration in ");
    assert_eq!(gateway.exit_code(), Some(1));
}

#[test]
fn what_it_names_must_be_there() {
    let site = Site::new(true);
    let folder = site.folder.path();
    fs::write(folder.join("token"), "0123456789abcdef").expect("the folder is ours");
    let config = site.good().replace(
        "[listeners.public]",
        "token = { file = \"token\" }\n[listeners.public]",
    );
    fs::write(&site.config, config).expect("the folder is ours");
    let mut gateway = site.start();
    gateway.serving("public");
    await_file(&site.kept());
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
    fs::write(&site.config, "").expect("the folder is ours");
    // Relative to where the file was, wherever the process is.
    let mut gateway = site.start();
    gateway.await_line("serving the last good configuration");
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
    fs::remove_file(folder.join("token")).expect("it is there");
    let mut gateway = site.start();
    gateway.await_line("the last good configuration is no good any more");
    assert_eq!(gateway.exit_code(), Some(1));
}
