//! A configuration of many routes, and one of many consumers: it must load in little memory, and all of it must serve.

use std::fmt::Write;

use northgate::identity::api_key::KeyHash;

use super::running::{Running, get, get_with};

/// The bar is 500 MB for 50,000 routes; this leaves room for routes that say more than these.
const MOST_MEMORY: usize = 300_000_000;
const ROUTES: usize = 50_000;
const UPSTREAMS: usize = 500;

#[test]
fn fifty_thousand_routes_load_in_little_memory() {
    let mut gateway = Running::start(&many_routes());
    let address = gateway.serving("public");
    // In all of its life so far, loading included.
    let peak = gateway.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} bytes");
    for number in [0, ROUTES / 2, ROUTES - 1] {
        let response = get(&address, &format!("/v1/service{number}/old"));
        let location = format!("\r\nlocation: /v1/service{number}/new\r\n");
        assert!(response.contains(&location), "{response}");
    }
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

/// Each route with host, methods, a parameter, a rewrite and a policy; a few more that answer by themselves.
fn many_routes() -> String {
    let mut toml = String::from("[listeners.public]\nbind = \"127.0.0.1:0\"\n\n");
    for number in 0..UPSTREAMS {
        let port = 9000 + number;
        let _ = writeln!(
            toml,
            "[upstreams.u{number}]\nendpoints = [\"127.0.0.1:{port}\"]"
        );
    }
    for number in 0..ROUTES {
        let (host, upstream) = (number % 50, number % UPSTREAMS);
        let _ = write!(
            toml,
            r#"
[routes.route-{number}]
match = {{ hosts = ["api{host}.example.com"], path = "/v1/service{number}/items/{{id}}", methods = ["GET", "POST"] }}
upstream = "u{upstream}"
rewrite = {{ path = "/items/{{id}}" }}

[routes.route-{number}.policies.request_headers]
set = {{ x-item = "{{path.id}}" }}
"#
        );
    }
    for number in [0, ROUTES / 2, ROUTES - 1] {
        let _ = write!(
            toml,
            "\n[routes.old-{number}]\nmatch = {{ path = \"/v1/service{number}/old\" }}\nredirect = {{ to = \"/v1/service{number}/new\" }}\n"
        );
    }
    toml
}

/// Consumers with an API key each.
const CONSUMERS: usize = 100_000;
/// What a consumer, its key and what is proven by it may take, while the configuration is read and after.
const MOST_MEMORY_OF_CONSUMERS: usize = 400_000_000;

#[test]
fn a_hundred_thousand_consumers_load_in_little_memory() {
    let mut gateway = Running::start(&many_consumers());
    let address = gateway.serving("public");
    let peak = gateway.peak_memory();
    assert!(peak < MOST_MEMORY_OF_CONSUMERS, "{peak} bytes");
    for number in [0, CONSUMERS / 2, CONSUMERS - 1] {
        for (key, status) in [(key(number), 200), (key(number + CONSUMERS), 401)] {
            let response = get_with(&address, "/", &format!("x-api-key: {key}\r\n"));
            let line = format!("HTTP/1.1 {status} ");
            assert!(response.starts_with(&line), "{key}: {response}");
        }
    }
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

fn key(number: usize) -> String {
    format!("a-key-of-another-gateway-{number}")
}

fn many_consumers() -> String {
    let mut toml = String::from(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n\n[routes.all]\nmatch = { path = \"/\" }\nrespond = { status = 200 }\npolicies.api_key = {}\n\n",
    );
    for number in 0..CONSUMERS {
        let hash = KeyHash::of(key(number).as_bytes());
        let _ = writeln!(
            toml,
            "[consumers.consumer-{number}]\nplan = \"gold\"\nroles = [\"partner\"]\nscopes = [\"orders:read\", \"orders:write\"]\napi_keys = [{{ hash = \"{hash}\", id = \"key-{number}\", expires = 2999-01-31, scopes = [\"orders:read\"] }}]"
        );
    }
    toml
}
