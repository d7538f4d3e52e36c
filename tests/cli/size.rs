//! A configuration of many routes: it must load in little memory, and every route of it must serve.

use std::fmt::Write;

use super::running::{Running, get};

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
