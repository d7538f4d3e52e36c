//! `northgate run`, from its start to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use northgate::identity::api_key::KeyHash;

use super::program::{golden, northgate, program};
use super::running::{DEADLINE, Running, get};

const PING: &str = r#"
[listeners.public]
bind = "127.0.0.1:0"

[routes.ping]
match = { path = "/ping" }
respond = { body = "pong" }
"#;

#[test]
fn refuses_a_bad_file() {
    let run = northgate(&["run", "-c", "tests/config/reject/route-unknown-key.toml"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.out, "");
    assert_eq!(run.err, golden("tests/config/reject/route-unknown-key.out"));
}

#[test]
fn serves_and_ends_on_sigterm() {
    let mut gateway = Running::start(PING);
    let address = gateway.serving("public");
    let response = get(&address, "/ping");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.ends_with("\r\n\r\npong"), "{response}");
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn lets_requests_in_flight_end() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut gateway = Running::start(&slow_shop(&origin, "20s"));
    let address = gateway.serving("public");
    let client = thread::spawn(move || get(&address, "/slow"));
    let mut exchange = accept_request(&origin);
    gateway.terminate();
    gateway.await_line("draining");
    exchange
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
        .expect("the gateway still reads");
    let response = client.join().expect("the client got an answer");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.ends_with("late"), "{response}");
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn ends_with_its_grace() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut gateway = Running::start(&slow_shop(&origin, "50ms"));
    let address = gateway.serving("public");
    let client = thread::spawn(move || get(&address, "/slow"));
    let exchange = accept_request(&origin);
    gateway.terminate();
    gateway.await_line("the grace is over");
    assert_eq!(gateway.exit_code(), Some(0));
    client.join().expect("the connection was cut");
    drop(exchange);
}

/// A gateway whose one upstream is the given socket.
fn slow_shop(origin: &TcpListener, grace: &str) -> String {
    let port = origin.local_addr().expect("it is bound").port();
    format!(
        r#"
[gateway]
shutdown_grace = "{grace}"

[listeners.public]
bind = "127.0.0.1:0"

[upstreams.slow]
endpoints = ["127.0.0.1:{port}"]

[routes.slow]
match = {{ path = "/slow" }}
upstream = "slow"
"#
    )
}

/// The origin's side of the next request, once its header is there.
fn accept_request(origin: &TcpListener) -> TcpStream {
    let (stream, _) = origin.accept().expect("the gateway connects");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a deadline is set");
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    while !lines.next().expect("a header").expect("a line").is_empty() {}
    stream
}

#[test]
fn says_when_an_address_is_taken() {
    let mut first = Running::start(PING);
    let address = first.serving("public");
    let mut second = Running::start(&PING.replace("127.0.0.1:0", &address));
    let line = second.await_line("cannot bind");
    assert!(
        line.contains(&format!("listener public: cannot bind {address}: ")),
        "{line}"
    );
    assert_eq!(second.exit_code(), Some(1));
    assert!(
        get(&address, "/ping").ends_with("pong"),
        "the first goes on"
    );
}

const GUARDED: &str = r#"
[listeners.public]
bind = "127.0.0.1:0"

[consumers.acme]
api_keys = ["$key"]
signing_keys = [{ id = "acme", secret = { file = "$secret" } }]

[identity.jwt.main]
issuer = "https://id.test/"
audiences = ["shop"]
jwks = { secret = { file = "$secret" } }

[identity.jwt.places]
issuer = "https://id.test/"
audiences = ["shop"]
jwks = { secret = { file = "$secret" } }
header = "off"
query = "token"
cookie = "token"

[identity.introspection.main]
url = "http://127.0.0.1:$tokens/introspect"
client_id = "gateway"
client_secret = { file = "$secret" }

[identity.forward_auth.main]
url = "http://127.0.0.1:$service/verify"
request_headers = ["authorization", "x-api-key", "cookie"]

[identity.oidc.main]
issuer = "http://127.0.0.1:$tokens"
client_id = "web"
client_secret = { file = "$secret" }
callback_url = "https://shop.test/oauth/callback"

[upstreams.shop]
endpoints = ["127.0.0.1:$service"]

[upstreams.broken]
endpoints = ["127.0.0.1:$broken"]

[routes.open]
match = { path = "/open" }
upstream = "shop"

[routes.broken]
match = { path = "/broken" }
upstream = "broken"

[routes.jwt]
match = { path = "/jwt" }
upstream = "shop"
policies.jwt = { providers = ["main"] }

[routes.places]
match = { path = "/places" }
upstream = "shop"
policies.jwt = { providers = ["places"] }

[routes.hmac]
match = { path = "/hmac" }
upstream = "shop"
policies.hmac = {}

[routes.introspection]
match = { path = "/introspection" }
upstream = "shop"
policies.introspection = {}

[routes.service]
match = { path = "/service" }
upstream = "shop"
policies.forward_auth = { keep_credentials = true }

[routes.key]
match = { path = "/key" }
upstream = "shop"
policies.api_key = {}

[routes.kept]
match = { path = "/kept" }
upstream = "broken"
policies.api_key = { keep_credentials = true }

[routes.basic]
match = { path = "/basic" }
upstream = "shop"
policies.basic = {}

[routes.session]
match = { path = "/session" }
upstream = "shop"
policies.oidc = {}

[routes.login]
match = { path = "/oauth/{*rest}" }
login = "main"
"#;

/// A server that gives every request the same answer; an empty one breaks off.
fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_each(stream, answer));
        }
    });
    port
}

fn answer_each(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        if line.is_empty() || answer.is_empty() {
            return Ok(());
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
        )?;
    }
}

/// The engine writes whole requests into its log where it is let. Nobody's credential gets there, wherever it stands.
#[test]
fn no_credential_is_logged_however_much_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "canary-secret, of 32 bytes or more").expect("a file");
    let config = GUARDED
        .replace("$secret", &secret.display().to_string())
        .replace("$key", &KeyHash::of(b"canary-key").to_string())
        .replace("$tokens", &server("{\"active\":false}").to_string())
        .replace("$service", &server("{}").to_string())
        .replace("$broken", &server("").to_string());
    let path = folder.path().join("northgate.toml");
    std::fs::write(&path, config).expect("a file");
    let mut command = program();
    command
        .args(["run", "-c"])
        .arg(&path)
        .env("NORTHGATE_LOG", "trace");
    let (mut gateway, mut out) = Running::spawn_with_output(command);
    let address = gateway.serving("public");
    let mut asked = 0;
    for (path, status) in [
        ("open", "200"),
        ("broken", "502"),
        ("jwt", "401"),
        ("places", "401"),
        ("hmac", "401"),
        ("introspection", "401"),
        ("service", "200"),
        ("key", "200"),
        ("kept", "502"),
        ("basic", "401"),
        ("session", "401"),
        ("oauth/callback", "400"),
        ("oauth/backchannel-logout", "405"),
        ("nowhere", "404"),
    ] {
        let authorization = match path {
            "basic" => "Basic YWNtZTpjYW5hcnk=",
            _ => "Bearer canary-bearer",
        };
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let target = format!(
                "http://{address}/{path}?token=canary-query&code=canary-code&state=canary-state"
            );
            let answered = Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
                .args(["--max-time", "30", version, &target])
                .args(["-H", &format!("authorization: {authorization}")])
                .args(["-H", "x-api-key: canary-key"])
                .args([
                    "-H",
                    "cookie: token=canary-cookie; __Host-northgate-main=canary-session",
                ])
                .args([
                    "-H",
                    "cookie: __Host-northgate-login-main~canary-s=canary-login",
                ])
                .args(["-H", "signature: sig=:Y2FuYXJ5LXNpZ25hdHVyZQ==:"])
                .args([
                    "-H",
                    "signature-input: sig=(\"@method\");created=1;keyid=\"acme\"",
                ])
                .output()
                .expect("curl runs");
            let answered = String::from_utf8_lossy(&answered.stdout).into_owned();
            assert_eq!(answered, status, "{path} {version}");
            asked += 1;
        }
    }
    gateway.terminate();
    let log = gateway.log_to_the_end();
    let mut records = String::new();
    out.read_to_string(&mut records).expect("text");
    assert_eq!(records.lines().count(), asked, "{records}");
    for secret in ["canary", "YWNtZTpjYW5hcnk", "Y2FuYXJ5LXNpZ25hdHVyZQ"] {
        for said in [&log, &records] {
            let line = said.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}
