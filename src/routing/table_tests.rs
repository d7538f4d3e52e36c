use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};

use super::super::condition::ValueMatch;
use super::super::matcher::MatcherBuilder;
use super::super::path::{MAX_SEGMENTS, PathTemplate};
use super::*;

fn on(path: &str) -> MatcherBuilder {
    Matcher::builder().path(PathTemplate::parse(path).expect(path))
}

fn table<'n>(routes: impl IntoIterator<Item = (&'n str, MatcherBuilder)>) -> Table<&'n str> {
    let mut builder = TableBuilder::new();
    for (name, matcher) in routes {
        builder.insert(name, matcher.build(), name);
    }
    builder.build()
}

/// A request as `METHOD host/path?query`, and its outcome as `name capture capture`, `405 allow` or `404`.
fn check_with(
    table: &Table<&str>,
    headers: &[(&'static str, &'static str)],
    input: &str,
    expected: &str,
) {
    let (method, target) = input.split_once(' ').expect("METHOD host/path");
    let (target, query) = target
        .split_once('?')
        .map_or((target, None), |(target, query)| (target, Some(query)));
    let (host, path) = target.split_at(target.find(['/', '*']).unwrap_or(target.len()));
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut fields = HeaderMap::new();
    for (name, value) in headers {
        fields.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let request = RequestParts {
        host,
        path,
        query,
        method: &method,
        headers: &fields,
    };
    let outcome = match table.find(&request) {
        Lookup::Found(name, captures) => [name]
            .into_iter()
            .copied()
            .chain(captures.values(path))
            .collect::<Vec<_>>()
            .join(" "),
        Lookup::MethodNotAllowed(allowed) => format!("405 {}", allowed.allow()),
        Lookup::NotFound => "404".to_owned(),
    };
    assert_eq!(outcome, expected, "{input} {headers:?}");
}

#[test]
fn hosts_fall_through() {
    let table = table([
        ("exact", on("/a").host(("api.shop.example", false))),
        ("long", on("/b").host(("shop.example", true))),
        ("short", on("/{x}").host(("*.example", true))),
        ("any", on("/{*rest}").method(Method::GET)),
        ("six", on("/a").host(("[::1]", false))),
    ]);
    let check = |input, expected| check_with(&table, &[], input, expected);
    check("GET api.shop.example/a", "exact");
    check("GET API.Shop.Example.:8443/a", "exact");
    check("GET api.shop.example/b", "long");
    check("GET v1.api.shop.example/b", "long");
    check("GET api.shop.example/c", "short c");
    check("GET shop.example/b", "short b");
    check("GET api.shop.example/c/d", "any c/d");
    check("GET example/a", "any a");
    check("GET [::1]:80/a", "six");
    check("GET /a", "any a");
    check("PUT other/a", "405 GET, HEAD");
    check("PUT api.shop.example/a", "exact");
}

#[test]
fn the_left_of_the_path_decides() {
    let table = table([
        ("root", on("/")),
        ("exact", on("/v1/orders")),
        ("slash", on("/v1/orders/")),
        ("mine", on("/v1/orders/mine")),
        ("one", on("/v1/orders/{id}")),
        ("items", on("/v1/{kind}/{id}/items")),
        ("under", on("/v1/orders/{*rest}")),
        ("version", on("/{version}/orders")),
        ("files", on("/files/{*rest}")),
    ]);
    let check = |input, expected| check_with(&table, &[], input, expected);
    check("GET /", "root");
    check("GET ", "404");
    check("GET /v1/orders", "exact");
    check("GET /v1/orders/", "slash");
    check("GET /v1/orders/mine", "mine");
    check("GET /v1/orders/7", "one 7");
    check("GET /v1/orders/7/items", "under 7/items");
    check("GET /v1/carts/7/items", "items carts 7");
    check("GET /v1/carts/7/items/", "404");
    check("GET /v2/orders", "version v2");
    check("GET /files", "files ");
    check("GET /files/", "files ");
    check("GET /files/a//b", "files a//b");
    check("GET /filesystem", "404");
    check("OPTIONS *", "404");
}

#[test]
fn conditions_send_the_search_back() {
    let dev = || ValueMatch::Exact("dev".into());
    let env = HeaderName::from_static("x-env");
    let table = table([
        ("get", on("/a/b").method(Method::GET)),
        (
            "dev",
            on("/a/b").method(Method::GET).header(env.clone(), dev()),
        ),
        (
            "dev-q",
            on("/a/b")
                .method(Method::GET)
                .header(env, dev())
                .query("q", ValueMatch::Present(true)),
        ),
        (
            "q",
            on("/a/b")
                .method(Method::GET)
                .query("q", ValueMatch::Present(true)),
        ),
        ("param", on("/{x}/b").method(Method::PUT)),
        ("rest", on("/a/{*rest}").method(Method::POST)),
    ]);
    let check = |input, expected| check_with(&table, &[], input, expected);
    check("GET /a/b", "get");
    check("GET /a/b?q", "q");
    check("PUT /a/b", "param a");
    check("POST /a/b", "rest b");
    check("DELETE /a/b", "405 GET, HEAD, POST, PUT");
    check("OPTIONS /a/b", "405 GET, HEAD, POST, PUT");
    check("GET /a/c", "405 POST");
    check("GET /x/c", "404");
    check_with(&table, &[("x-env", "dev")], "GET /a/b", "dev");
    check_with(
        &table,
        &[("x-env", "prod"), ("x-env", "dev")],
        "GET /a/b?q=1",
        "dev-q",
    );
}

#[test]
fn a_failed_condition_is_not_a_405() {
    let table = table([(
        "q",
        on("/a")
            .method(Method::GET)
            .query("q", ValueMatch::Present(true)),
    )]);
    check_with(&table, &[], "PUT /a", "404");
    check_with(&table, &[], "PUT /a?q", "405 GET, HEAD");
}

#[test]
fn a_listed_method_precedes_an_implied_one() {
    let table = table([
        ("a-get", on("/a").method(Method::GET)),
        ("b-head", on("/a").method(Method::HEAD)),
        ("c-get", on("/b").method(Method::GET)),
        ("a-any", on("/b")),
    ]);
    let check = |input, expected| check_with(&table, &[], input, expected);
    check("GET /a", "a-get");
    check("HEAD /a", "b-head");
    check("HEAD /b", "c-get");
    check("PURGE /b", "a-any");
}

#[test]
fn grpc() {
    let table = table([
        (
            "list",
            Matcher::grpc("shop.Orders", Some("List")).expect("names"),
        ),
        ("orders", Matcher::grpc("shop.Orders", None).expect("names")),
    ]);
    let check = |input, expected| {
        check_with(
            &table,
            &[("content-type", "application/grpc+proto")],
            input,
            expected,
        )
    };
    check("POST /shop.Orders/List", "list");
    check("POST /shop.Orders/Place", "orders Place");
    check("POST /shop.Orders/", "404");
    check("GET /shop.Orders/List", "405 POST");
    check_with(
        &table,
        &[("content-type", "application/json")],
        "POST /shop.Orders/List",
        "404",
    );
}

#[test]
fn rests_reach_beyond_the_segment_limit() {
    let table = table([
        ("deep", on(&"/{p}".repeat(MAX_SEGMENTS).replace("{p}", "a"))),
        ("rest", on("/a/{*rest}").method(Method::GET)),
    ]);
    let path = |count: usize| "/a".repeat(count);
    check_with(&table, &[], &format!("GET {}", path(MAX_SEGMENTS)), "deep");
    check_with(
        &table,
        &[],
        &format!("GET {}", path(50_000)),
        &format!("rest {}", &path(49_999)[1..]),
    );
}

/// Every way through a full binary trie of literals and parameters, and a path that fits all of them up to
/// its last segment: the most backtracking that a trie of this size allows.
#[test]
fn hostile_paths_cost_no_more_than_the_trie() {
    const LEVELS: u32 = 12;
    let mut builder = TableBuilder::new();
    for way in 0_u32..1 << LEVELS {
        let segment = |level| {
            if way >> level & 1 == 0 {
                "/a".to_owned()
            } else {
                format!("/{{p{level}}}")
            }
        };
        let text: String = (0..LEVELS)
            .map(segment)
            .chain(["/end".to_owned()])
            .collect();
        builder.insert(&text, on(&text).build(), "way");
    }
    let wide: Vec<String> = (0..MAX_SEGMENTS)
        .map(|literal| {
            (0..MAX_SEGMENTS)
                .map(|at| {
                    if at == literal {
                        "/b".to_owned()
                    } else {
                        format!("/{{p{at}}}")
                    }
                })
                .collect()
        })
        .collect();
    for text in &wide {
        builder.insert(text, on(text).build(), "wide");
    }
    let table = builder.build();
    let started = Instant::now();
    check_with(
        &table,
        &[],
        &format!("GET {}", "/a".repeat(MAX_SEGMENTS)),
        "404",
    );
    check_with(
        &table,
        &[],
        &format!("GET {}", "/b".repeat(MAX_SEGMENTS + 1)),
        "404",
    );
    // Around a millisecond unoptimised; trying all 2^128 ways would not end.
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}
