//! Endpoints of a file: what becomes of it, of what it names, and of those that it does not name any more.

use std::path::Path;

use crate::discovery::{List, has, named, standing, toml};
use crate::harness::*;

/// Killed, restarted and cut off is a file in its own ways.
#[tokio::test]
async fn whatever_becomes_of_the_file_costs_no_request() {
    let (one, two) = (named("one"), named("two"));
    let [first, second] = [&one, &two].map(ToString::to_string);
    let list = List::of(&[&one]);
    let gateway = Gateway::start(&toml(&list.toml())).await;
    has(&gateway, &[&first]).await;
    let traffic = Crowd::on(gateway.address());
    let folder = list.folder.path();
    let away = folder.with_extension("away");
    let is_up = async |expected: bool| {
        eventually(&format!("up is {expected}"), async || {
            (standing(&gateway).await["up"] == expected).then_some(())
        })
        .await;
    };
    // Its disk is gone, and comes back with something else on it.
    std::fs::rename(folder, &away).unwrap();
    is_up(false).await;
    traffic.more(20).await;
    std::fs::rename(&away, folder).unwrap();
    list.set(&[&one, &two]);
    has(&gateway, &[&first, &second]).await;
    is_up(true).await;
    // Damaged, removed, a pipe that nobody writes to, a folder.
    let breaks: [fn(&Path); 4] = [
        |path| std::fs::write(path, "endpoints = [").unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for break_it in breaks {
        break_it(&list.path);
        is_up(false).await;
        traffic.more(20).await;
    }
    std::fs::remove_dir(&list.path).unwrap();
    // As container platforms do it: a link to a link that is replaced.
    for (version, endpoint) in [("..1", &first), ("..2", &second), ("..3", &first)] {
        std::fs::create_dir(folder.join(version)).unwrap();
        let text = format!("endpoints = [\"{endpoint}\"]\n");
        std::fs::write(folder.join(version).join("users.toml"), text).unwrap();
        std::os::unix::fs::symlink(version, folder.join("..part")).unwrap();
        std::fs::rename(folder.join("..part"), folder.join("..data")).unwrap();
        if version == "..1" {
            std::os::unix::fs::symlink("..data/users.toml", &list.path).unwrap();
        }
        has(&gateway, &[endpoint]).await;
        traffic.more(20).await;
    }
    is_up(true).await;
    println!("{} requests, none failed", traffic.end().await);
}

#[tokio::test]
async fn a_stream_of_http2_goes_on_while_its_endpoint_is_removed() {
    let (chunks, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let old = Origin::speaking(Protocol::H2, move |seen| match &*seen.target {
        "/slow" => reply(200, &[], body.lock().unwrap().take().expect("one stream")),
        _ => text("old"),
    });
    let new = Origin::speaking(Protocol::H2, |_| text("new"));
    let list = List::of(&[&old]);
    let toml = toml(&list.toml()).replace("[routes", "protocol = \"h2c\"\n[routes");
    let gateway = Gateway::start(&toml).await;
    let client = gateway.http1();
    let mut slow = client.open(get("/slow")).await;
    assert!(chunks.send("begin").await);
    assert_eq!(slow.chunk().await.as_deref(), Some(&b"begin"[..]));
    list.set(&[&new]);
    let other = gateway.http2();
    eventually("the new one answers", async || {
        (other.send(get("/")).await.text() == "new").then_some(())
    })
    .await;
    let seen = old.seen().len();
    for _ in 0..20 {
        assert_eq!(other.send(get("/")).await.text(), "new");
    }
    assert_eq!(old.seen().len(), seen, "the old one gets requests");
    assert!(chunks.send("end").await);
    drop(chunks);
    assert_eq!(slow.chunk().await.as_deref(), Some(&b"end"[..]));
    assert_eq!(slow.chunk().await, None);
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_concerns_nobody_else() {
    let origin = named("well");
    let list = List::of(&[&origin]);
    let mut gateway = Gateway::start(&toml(&list.toml())).await;
    let traffic = Crowd::on(gateway.address());
    let named = format!("localhost:{}", origin.port());
    let is_told = async |gateway: &Gateway| {
        eventually("the name is told of", async || {
            let shown = standing(gateway).await;
            let error = shown["last_error"]["error"].as_str()?.to_owned();
            assert_eq!(shown["up"], true, "{shown}");
            error.contains("a.invalid").then_some(())
        })
        .await;
        let series = "northgate_discovery_failures_total{error=\"unresolved\",northgate_upstream=\"users\",source=\"file\"}";
        assert!(gateway.metrics().await.contains(series));
    };
    list.set(&[&named, &"a.invalid:1"]);
    is_told(&gateway).await;
    has(&gateway, &[&origin.to_string()]).await;
    // So it is at a reload, which knows of neither name at first.
    let changed = toml(&list.toml()).replace("[routes", "timeouts = { idle = \"9s\" }\n[routes");
    Gateway::draft(&changed).apply(&mut gateway).await.unwrap();
    is_told(&gateway).await;
    traffic.more(20).await;
    println!("{} requests, none failed", traffic.end().await);
}

/// In a process of its own, in the sandbox: what is followed can be read after the start, whoever replaces it, and a state
/// folder that cannot be written takes nothing away.
#[tokio::test]
async fn a_process_in_its_sandbox_reads_what_it_follows() {
    let (one, two) = (named("one"), named("two"));
    let list = List::of(&[&one]);
    let state = tempfile::tempdir().unwrap();
    let listener = own_address();
    let text = format!(
        "[gateway]\nstate_dir = \"{}\"\n[listeners.public]\nbind = \"{listener}\"\n{}",
        state.path().display(),
        toml(&list.toml())
    );
    let path = list.folder.path().join("gateway.toml");
    std::fs::write(&path, &text).unwrap();
    let script = "set -e; mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"; exec \"$2\" run -c \"$3\"";
    let start = |script: &str| {
        let mut command = tokio::process::Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .args([
                state.path(),
                Path::new(env!("CARGO_BIN_EXE_northgate")),
                &path,
            ])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true);
        command.spawn().expect("unshare")
    };
    let client = Client::of(listener, Protocol::Http1);
    let answers = async |name: &str| {
        eventually(name, async || {
            let answer = client.try_send(get("/")).await.ok()?;
            (answer.text() == name).then_some(())
        })
        .await;
    };
    // What it keeps there is kept, by a process that may write.
    let mut process = start("exec \"$2\" run -c \"$3\"");
    answers("one").await;
    let kept = state.path().join("endpoints.users.json");
    eventually("it is kept", async || kept.exists().then_some(())).await;
    process.kill().await.unwrap();
    let before = std::fs::read(&kept).unwrap();
    std::fs::remove_file(&list.path).unwrap();
    let mut process = start(script);
    answers("one").await;
    // By a name, which is looked up in files of the system.
    let named = format!("localhost:{}", two.port());
    list.set(&[&named]);
    answers("two").await;
    list.set(&[&one]);
    answers("one").await;
    list.set(&[&two]);
    answers("two").await;
    assert_eq!(std::fs::read(&kept).unwrap(), before, "it could be written");
    process.kill().await.unwrap();
}
