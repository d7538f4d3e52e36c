//! `northgate reload`, SIGHUP and `gateway.watch`, with the real program.

use std::path::Path;

use super::program::northgate;
use super::running::{Running, get, until};

fn saying(word: &str, gateway: &str, folder: &Path) -> String {
    format!(
        "[gateway]\naccess_log = \"off\"\n{gateway}\n[admin]\nbind = \"unix:{}/admin.sock\"\n\
         [listeners.public]\nbind = \"127.0.0.1:0\"\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nrespond = {{ body = \"{word}\" }}\n",
        folder.display()
    )
}

/// A gateway, its file, and the address of its listener.
fn start(folder: &tempfile::TempDir, gateway: &str) -> (Running, std::path::PathBuf, String) {
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, saying("one", gateway, folder.path())).unwrap();
    let mut running = Running::start_at(&file);
    let address = running.serving("public");
    (running, file, address)
}

fn says(address: &str, word: &str) -> bool {
    get(address, "/").ends_with(&format!("\r\n\r\n{word}"))
}

#[test]
fn an_operator_is_told_what_has_become_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, file, address) = start(&folder, "");
    let path = file.to_str().unwrap();
    let reload = || northgate(&["reload", "-c", path]);

    let diff = || northgate(&["diff", "-c", path]);
    let run = diff();
    assert_eq!((run.code, &*run.err), (0, ""), "{}", run.out);
    std::fs::write(&file, saying("two", "", folder.path())).unwrap();
    assert!(says(&address, "one"), "nobody has asked for it");
    let run = diff();
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.out.contains("respond.body"), "{}", run.out);
    assert!(says(&address, "one"), "it was only looked at");
    let run = reload();
    assert_eq!((run.code, &*run.out, &*run.err), (0, "reloaded\n", ""));
    assert!(says(&address, "two"));

    std::fs::write(&file, saying("three", "workers = 3", folder.path())).unwrap();
    let run = reload();
    assert_eq!(run.code, 0);
    assert!(
        run.err.contains("note: gateway.workers has changed"),
        "{}",
        run.err
    );
    assert!(says(&address, "three"));

    // The file is bad, and says where the admin listener is all the same.
    let bad = saying("four", "", folder.path())
        + "[routes.bad]\nmatch = { path = \"x\" }\nupstream = \"y\"\n";
    std::fs::write(&file, bad).unwrap();
    let run = reload();
    assert_eq!(run.code, 1);
    assert!(run.err.contains("gateway.toml:"), "{}", run.err);
    assert!(
        run.err.contains("what served before serves on"),
        "{}",
        run.err
    );
    assert!(says(&address, "three"));
    let run = diff();
    assert_eq!(run.code, 1);
    assert!(run.err.contains("gateway.toml:"), "{}", run.err);
    let told = admin(&folder, "/config");
    assert!(told.contains("\"outcome\":\"refused\""), "{told}");
    assert!(told.contains("gateway.toml:"), "{told}");
    let metrics = admin(&folder, "/metrics");
    assert!(
        metrics.contains("northgate_config_last_reload_successful 0"),
        "{metrics}"
    );
    assert!(
        metrics.contains("northgate_config_reloads_total{result=\"applied\"} 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("northgate_config_reloads_total{result=\"refused\"} 1"),
        "{metrics}"
    );

    std::fs::write(&file, "").unwrap();
    let socket = format!("unix:{}/admin.sock", folder.path().display());
    let run = northgate(&["reload", "-c", path, "--admin", &socket]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("there is no listener"), "{}", run.err);
    let run = reload();
    assert!(
        run.err.contains("name the address with --admin"),
        "{}",
        run.err
    );
    assert!(says(&address, "three"));

    // The files say where it will listen; where it does, only the command line can.
    let moved = saying("four", "", folder.path()).replace("admin.sock", "other.sock");
    std::fs::write(&file, moved).unwrap();
    for command in ["reload", "upgrade", "diff"] {
        let run = northgate(&[command, "-c", path]);
        let told = run.err.contains("other.sock") && run.err.contains("with --admin");
        assert!(run.code == 1 && told, "{}", run.err);
    }
    let run = northgate(&["diff", "-c", path, "--admin", &socket]);
    assert_eq!(run.code, 2, "{}", run.err);
    std::fs::write(&file, saying("four", "", folder.path())).unwrap();
    assert_eq!(reload().code, 0);
    assert!(says(&address, "four"));

    // What is measured of a route ends with it, or with the reload after that.
    let series = "http_route=\"all\"";
    assert!(admin(&folder, "/metrics").contains(series));
    let renamed = saying("five", "", folder.path()).replace("routes.all", "routes.every");
    std::fs::write(&file, renamed).unwrap();
    assert_eq!((reload().code, reload().code), (0, 0));
    let metrics = admin(&folder, "/metrics");
    assert!(!metrics.contains(series), "{metrics}");
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
    let run = reload();
    assert_eq!(run.code, 1);
    assert!(run.err.contains("nobody answers at unix:"), "{}", run.err);
}

#[test]
fn sighup_reloads() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, file, address) = start(&folder, "");
    std::fs::write(&file, saying("two", "", folder.path())).unwrap();
    gateway.signal("HUP");
    gateway.await_line("the configuration was reloaded");
    assert!(says(&address, "two"));
    std::fs::write(&file, "[listeners.").unwrap();
    gateway.signal("HUP");
    gateway.await_line("the configuration was not reloaded");
    assert!(says(&address, "two"));
}

/// Written in place, replaced by a rename, led elsewhere by a link, one file more.
#[test]
fn changed_files_are_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let watched = "watch = true";
    // As container platforms mount it: a link to a folder that is a link.
    let version = |name: &str, text: &str| {
        let at = folder.path().join(name);
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join("gateway.toml"), text).unwrap();
    };
    let lead = |name: &str| {
        let (new, data) = (folder.path().join("new"), folder.path().join("data"));
        std::os::unix::fs::symlink(name, &new).unwrap();
        std::fs::rename(&new, &data).unwrap();
    };
    version("v1", &saying("one", watched, folder.path()));
    lead("v1");
    let file = folder.path().join("gateway.toml");
    std::os::unix::fs::symlink("data/gateway.toml", &file).unwrap();
    let mut gateway = Running::start_at(&file);
    let address = gateway.serving("public");
    let now_says = |word: &str| until(|| says(&address, word));

    version("v2", &saying("two", watched, folder.path()));
    lead("v2");
    now_says("two");
    let real = folder.path().join("v2/gateway.toml");
    std::fs::write(&real, saying("three", watched, folder.path())).unwrap();
    now_says("three");
    let include = format!(
        "include = [\"more/*.toml\"]\n{}",
        saying("four", watched, folder.path())
    );
    let beside = folder.path().join("v2/gateway.toml.part");
    std::fs::write(&beside, include).unwrap();
    std::fs::rename(&beside, &real).unwrap();
    now_says("four");
    let more = folder.path().join("more");
    std::fs::create_dir(&more).unwrap();
    let route = "[routes.five]\nmatch = { path = \"/\" }\nrespond = { body = \"five\" }\n";
    std::fs::write(more.join("five.toml"), route).unwrap();
    now_says("five");
    std::fs::remove_file(more.join("five.toml")).unwrap();
    now_says("four");
    std::fs::write(&real, "half a fi").unwrap();
    gateway.await_line("the configuration was not reloaded");
    assert!(says(&address, "four"));
    std::fs::write(&real, saying("six", watched, folder.path())).unwrap();
    now_says("six");
}

fn admin(folder: &tempfile::TempDir, path: &str) -> String {
    use std::io::{Read, Write};
    let socket = folder.path().join("admin.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(super::running::DEADLINE))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
