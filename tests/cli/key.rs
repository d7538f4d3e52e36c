//! `northgate key` and `northgate token`, and what the files of a gateway say of the credentials that they are about.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::program::{Run, northgate, program};
use super::running::{Running, get_with, until};

/// Runs a command that reads from standard input.
fn given(arguments: &[&str], input: &str) -> Run {
    let mut command = program();
    command.args(arguments);
    output(command, input)
}

fn output(mut command: Command, input: &str) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // A program that has read enough may have closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Run {
        code: output.status.code().expect("no signal ended it"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The key and the line for the configuration.
fn new_key(arguments: &[&str]) -> (String, String) {
    let run = northgate(&[&["key", "new"], arguments].concat());
    assert_eq!(run.code, 0, "{run:?}");
    let (key, entry) = run.out.trim_end().split_once('\n').expect("two lines");
    assert!(!run.err.contains(key), "{run:?}");
    (key.to_owned(), entry.to_owned())
}

#[test]
fn a_new_key_comes_with_its_line_for_the_configuration() {
    let (key, entry) = new_key(&[
        "--prefix",
        "shop_live",
        "--expires",
        "2999-01-31",
        "--scope",
        "a",
    ]);
    assert!(
        key.starts_with("shop_live_") && key.len() == "shop_live_".len() + 49,
        "{key}"
    );
    let id = &key["shop_live_".len()..][..10];
    let hashed = given(&["key", "hash"], &format!("{key}\n"));
    let hash = hashed.out.trim_end();
    assert_eq!(
        entry,
        format!(
            "{{ hash = {hash}, id = \"{id}\", expires = 2999-01-31T00:00:00Z, scopes = [\"a\"] }}"
        )
    );
    assert_ne!(new_key(&[]).0, new_key(&[]).0);
}

#[test]
fn keys_and_passwords_are_read_from_standard_input() {
    let key = "a-key-of-another-gateway";
    let hash = format!("\"sha256:{}\"\n", "0".repeat(64));
    let run = given(&["key", "hash"], key);
    assert_eq!((run.code, run.out.len()), (0, hash.len()), "{run:?}");
    for end in ["\n", "\r\n"] {
        assert_eq!(given(&["key", "hash"], &format!("{key}{end}")).out, run.out);
    }
    let run = given(&["key", "password"], "correct horse\n");
    assert!(
        run.code == 0 && run.out.starts_with("\"$argon2id$v=19$m=19456,t=2,p=1$"),
        "{run:?}"
    );
    for (arguments, input, words) in [
        (["key", "hash"], "", "no key on standard input"),
        (["key", "hash"], "short", "fewer than 16 bytes"),
        (["key", "hash"], "a key with spaces in it", "visible ASCII"),
        (
            ["key", "hash"],
            "the first line of it\nthe second",
            "more than one line",
        ),
        (["key", "hash"], &"k".repeat(600), "longer than 512 bytes"),
        (["key", "password"], "short", "at least 8 characters"),
        (["key", "password"], "with a\ttab", "control characters"),
        (
            ["key", "password"],
            &"p".repeat(600),
            "longer than 448 bytes",
        ),
    ] {
        let run = given(&arguments, input);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{input}: {run:?}");
        assert!(
            run.err.starts_with("error: ") && run.err.contains(words),
            "{run:?}"
        );
    }
    for arguments in [
        &["key", "hash", "a-key-of-another-gateway"][..],
        &["key", "password", "correct horse"],
        &["key", "new", "--prefix", "NG"],
        &["key", "new", "--expires", "soon"],
        &["key"],
    ] {
        assert_eq!(northgate(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn a_token_is_printed_and_nothing_else() {
    let home = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = program();
        command
            .args(arguments)
            .env_remove("XDG_STATE_HOME")
            .env("HOME", home.path());
        output(command, "")
    };
    let made = run(&[
        "token",
        "--subject",
        "ann",
        "--role",
        "support",
        "--role",
        "x",
        "--expires",
        "5m",
    ]);
    assert_eq!((made.code, made.err.as_str()), (0, ""), "{made:?}");
    let token = made.out.strip_suffix('\n').expect("one line");
    let parts: Vec<serde_json::Value> = token
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")))
        .collect::<Result<_, _>>()
        .expect("JSON");
    assert_eq!(
        (&parts[0]["alg"], &parts[1]["sub"]),
        (&"EdDSA".into(), &"ann".into())
    );
    assert_eq!(parts[1]["roles"], serde_json::json!(["support", "x"]));
    let time = |claim: &str| parts[1][claim].as_u64().expect("a time");
    // The end is worked out first: on a busy machine seconds may pass before the beginning is written.
    assert!((270..302).contains(&(time("exp") - time("iat"))));
    let key = run(&["key", "demo"]);
    assert!(
        key.code == 0 && key.out.starts_with("ng_") && key.out.lines().count() == 1,
        "{key:?}"
    );
    assert_eq!(
        run(&["key", "demo"]).out,
        key.out,
        "it is the same each time"
    );
}

/// Every text that stands in these folders, whole, in pieces and decoded.
fn texts_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            texts_in(&path, found);
            continue;
        }
        let bytes = fs::read(&path).expect("a file");
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        // The configuration that was good last is compressed: a frame of Zstandard (RFC 8878) behind a line.
        if let Some(start) = bytes
            .windows(4)
            .position(|it| it == [0x28, 0xb5, 0x2f, 0xfd])
        {
            let kept = zstd::decode_all(&bytes[start..]).expect("it is whole");
            let kept = String::from_utf8_lossy(&kept).replace(char::is_control, "\n");
            assert!(kept.contains("argon2id"), "{kept}");
            text.push_str(&kept);
        }
        let is_end = |c: char| c.is_whitespace() || "\"'\\,;[]{}()".contains(c);
        for piece in text.split(is_end).chain(text.lines()) {
            let parts = piece.split([':', '$', '=']).chain([piece]);
            for part in parts.map(str::trim).filter(|part| part.len() > 3) {
                found.insert(part.to_owned());
                for decoded in [STANDARD.decode(part), URL_SAFE_NO_PAD.decode(part)] {
                    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    found.extend(text);
                }
            }
        }
    }
}

#[test]
fn nothing_in_the_files_of_a_gateway_is_a_key_or_a_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, entry) = new_key(&["--scope", "orders:read"]);
    let foreign = "a-key-of-another-gateway";
    let foreign_entry = given(&["key", "hash"], foreign).out;
    let password = "correct horse";
    let hash = given(&["key", "password"], password).out;
    let config = folder.path().join("northgate.toml");
    let text = format!(
        r#"
[gateway]
state_dir = "state"
[admin]
bind = "127.0.0.1:0"
[listeners.public]
bind = "127.0.0.1:0"
[identity.oidc.main]
issuer = "http://127.0.0.1:9"
client_id = "shop"
client_secret = {{ file = "client-secret" }}
callback_url = "https://shop.test/oauth/callback"
session = {{ keys = [{{ file = "session-key" }}] }}
[identity.basic.main]
failures = 1000
[identity.api_key.main]
[identity.api_key.bearer]
header = "authorization"
scheme = "Bearer"
[consumers.ann]
scopes = ["orders:read"]
api_keys = [{entry}, {foreign_entry}]
passwords = [{hash}]
[routes.key]
match = {{ path = "/key" }}
respond = {{ status = 204 }}
policies.api_key = {{ providers = ["main"] }}
[routes.bearer]
match = {{ path = "/bearer" }}
respond = {{ status = 204 }}
policies.api_key = {{ providers = ["bearer"] }}
[routes.login]
match = {{ path = "/oauth/{{page}}" }}
login = "main"
[routes.session]
match = {{ path = "/session" }}
respond = {{ status = 204 }}
policies.oidc = {{}}
[routes.password]
match = {{ path = "/password" }}
respond = {{ status = 204 }}
policies.basic = {{}}
"#
    );
    fs::write(&config, text).expect("it is written");
    for (name, secret) in [
        ("client-secret", "a secret of the client at the provider"),
        ("session-key", "what seals sessions: 32 bytes or more"),
    ] {
        fs::write(folder.path().join(name), secret).expect("it is written");
    }
    let mut gateway = Running::start_at(&config);
    let address = gateway.serving("public");
    let state = folder.path().join("state");
    until(|| state.join("last-good-configuration").exists());
    let is_let_in = |path: &str, header: &str| {
        let response = get_with(&address, path, &format!("{header}\r\n"));
        assert!(response.starts_with("HTTP/1.1 "), "{header}: {response}");
        response.starts_with("HTTP/1.1 204 ")
    };
    let bearer = |token: &str| is_let_in("/bearer", &format!("authorization: Bearer {token}"));
    let by_password = |password: &str| {
        let login = STANDARD.encode(format!("ann:{password}"));
        is_let_in("/password", &format!("authorization: Basic {login}"))
    };
    let by_session = |cookie: &str| {
        let shown = [cookie.to_owned(), URL_SAFE_NO_PAD.encode(cookie)];
        let mut shown = shown
            .iter()
            .map(|it| format!("cookie: __Host-northgate-main={it}"));
        shown.any(|header| is_let_in("/session", &header))
    };
    // The test sees what is good for what it is.
    assert!(is_let_in("/key", &format!("x-api-key: {key}")));
    assert!(is_let_in("/key", &format!("x-api-key: {foreign}")));
    assert!(bearer(&key) && by_password(password));
    let mut found = BTreeSet::new();
    texts_in(folder.path(), &mut found);
    assert!(
        found
            .iter()
            .any(|text| text == "what seals sessions: 32 bytes or more"),
        "{found:?}"
    );
    assert!(
        found.len() > 50 && found.iter().any(|text| text.contains("argon2id")),
        "{found:?}"
    );
    for text in &found {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            assert!(!is_let_in("/key", &format!("x-api-key: {text}")), "{text}");
            assert!(!bearer(text), "{text}");
            assert!(!by_session(text), "{text}");
        }
        assert!(!by_password(text), "{text}");
        assert!(![&key, foreign, password].contains(&text.as_str()));
    }
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}
