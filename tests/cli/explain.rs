//! `northgate explain`: what it says is pinned in `tests/cli/explain/NAME.out`.

use super::program::{golden, northgate};

#[test]
fn tells_captures_and_policies() {
    let shop = "conf/shop.toml";
    explain(
        "captures-and-policies",
        shop,
        0,
        &["GET", "http://127.0.0.1:8080/orders/7?x=1"],
    );
    explain(
        "more-specific-wins",
        shop,
        0,
        &["GET", "https://localhost:8443/orders/events"],
    );
    explain("rest", shop, 0, &["POST", "/echo/a/b"]);
    explain("redirect", shop, 0, &["GET", "/order/7"]);
    explain("respond", shop, 0, &["HEAD", "/ping"]);
}

#[test]
fn tells_why_there_is_no_route() {
    let shop = "conf/shop.toml";
    explain(
        "method-not-allowed",
        shop,
        1,
        &["DELETE", "http://127.0.0.1:8080/products/7"],
    );
    explain("not-found", shop, 1, &["GET", "/nowhere"]);
}

#[test]
fn tells_of_conditions() {
    let file = "tests/cli/explain.toml";
    explain(
        "header-is-there",
        file,
        0,
        &["GET", "/orders", "-H", "X-Version: 2"],
    );
    explain(
        "header-is-another",
        file,
        0,
        &["GET", "/orders", "-H", "x-version: 3"],
    );
    explain("batch", file, 0, &["POST", "/batch"]);
    explain("header-is-absent", file, 0, &["GET", "/orders"]);
    explain("query-and-policies-off", file, 0, &["GET", "/orders?q=tea"]);
    explain(
        "host-from-url",
        file,
        0,
        &["GET", "http://acme.example.com/orders/7/lines/3"],
    );
    explain(
        "host-from-header",
        file,
        0,
        &["GET", "/orders/7/", "-H", "host: acme.example.com"],
    );
    explain("query-is-another", file, 1, &["GET", "/filter?v=2&v=a%20b"]);
    explain("method-is-another", file, 1, &["DELETE", "/orders"]);
    explain(
        "host-is-another",
        file,
        1,
        &["GET", "http://example.com/orders/7/lines"],
    );
}

#[test]
fn finds_the_route_of_a_preflight() {
    let file = "tests/cli/explain.toml";
    let origin = "origin: https://a.example";
    let asks = |path, method| ["OPTIONS", path, "-H", origin, "-H", method];
    let get = "access-control-request-method: GET";
    let post = "access-control-request-method: POST";
    explain("preflight", file, 0, &asks("/orders", get));
    explain("preflight-of-nothing", file, 0, &asks("/orders", post));
    explain("preflight-where-cors-is-off", file, 1, &asks("/pay", post));
}

#[test]
fn tells_how_traffic_is_shaped() {
    let file = "tests/cli/shaping.toml";
    explain("shaping", file, 0, &["GET", "/orders"]);
}

#[test]
fn chooses_the_listener() {
    let file = "tests/cli/explain.toml";
    explain(
        "listener-by-scheme",
        file,
        0,
        &["GET", "https://localhost/secret"],
    );
    explain(
        "listener-without-the-route",
        file,
        1,
        &["GET", "http://localhost/secret"],
    );
    explain(
        "listener-by-name",
        file,
        0,
        &["GET", "/secret", "--listener", "secure"],
    );
    let unknown = northgate(&["explain", "-c", file, "GET", "/", "--listener", "none"]);
    assert_eq!(unknown.code, 1);
    assert_eq!(unknown.err, "error: there is no listener \"none\"\n");
}

#[test]
fn paths_are_in_their_normal_form() {
    let file = "tests/cli/explain.toml";
    let odd = "http://a.example.com//orders;x/%37;y/../%37/b%2Dc";
    explain("path-in-normal-form", file, 0, &["GET", odd]);
    let disguised = "/orders/..%2fsecret";
    explain("path-refused", file, 1, &["GET", disguised]);
    let url = northgate(&["explain", "-c", file, "GET", "orders"]);
    assert_eq!(url.code, 2, "{url:?}");
    assert!(
        url.err.contains("write it as `https://host/path`"),
        "{url:?}"
    );
}

#[test]
fn of_what_cannot_be_explained() {
    let bad = northgate(&[
        "explain",
        "-c",
        "tests/config/reject/no-listener.toml",
        "GET",
        "/",
    ]);
    assert_eq!(bad.code, 1);
    assert_eq!(bad.out, "");
    assert!(bad.err.contains("there is no listener"), "{bad:?}");
    let header = northgate(&[
        "explain",
        "-c",
        "conf/shop.toml",
        "GET",
        "/",
        "-H",
        "no colon",
    ]);
    assert_eq!(header.code, 2);
    assert!(
        header.err.contains("write it as `name: value`"),
        "{header:?}"
    );
}

fn explain(name: &str, config: &str, code: i32, request: &[&str]) {
    let run = northgate(&[&["explain", "-c", config], request].concat());
    assert_eq!(run.code, code, "{name}: {run:?}");
    let pinned = format!("tests/cli/explain/{name}.out");
    if std::env::var_os("NORTHGATE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&pinned, &run.out).expect("golden files can be written");
    }
    assert_eq!(run.out, golden(&pinned), "{pinned}");
}
