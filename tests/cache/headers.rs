//! Which fields are stored with a response, and which are of one hop: RFC 9111 section 3.1, RFC 9110 section 7.6.1.

use crate::case::{Case, Kind, must, should};
use crate::harness::Protocol;

const STORING: &str = "RFC 9111 section 3.1";
const HOP: &str = "RFC 9110 section 7.6.1";
const LIFE: &str = "cache-control: max-age=3600";

pub fn cases() -> Vec<Case> {
    let kept = [
        "x-own: a b",
        "content-type: text/plain;charset=utf-8",
        "content-language: de",
        "content-disposition: attachment",
        "content-security-policy: default-src 'self'",
        "content-md5: rL0Y20zC+Fzt72VPzMSk2A==",
        "etag: W/\"weak\"",
        "last-modified: Sat, 01 Jan 2022 00:00:00 GMT",
        "link: </a>; rel=next",
        "access-control-allow-origin: *",
        "server: origin/1",
        "strict-transport-security: max-age=1",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "x-xss-protection: 1",
        "clear-site-data: \"cache\"",
        "content-foo: a",
        "x-content-foo: a",
        "content-encoding: x-own",
        "content-location: /a",
        "public-key-pins: a",
        "set-cookie2: a",
        "expires: Fri, 31 Dec 9999 23:59:59 GMT",
        "surrogate-key: a b",
        "digest: sha-256=a",
        "retry-after: 5",
        "alt-svc: clear",
        "warning: 199 - \"a\"",
        "server-timing: db;dur=5",
        "via: 1.1 other",
    ];
    let mut cases = Vec::new();
    for field in kept {
        let name = field.split(':').next().expect("a name");
        let case = should(format!("field-{name}-is-stored"), STORING).get();
        let case = case.says(&[LIFE, field]).get().reused();
        cases.push(match name {
            // A gateway may say who it is in their place, and has no business in the others.
            // It was for this cache.
            "surrogate-key" => case.of_kind(Kind::May).lacks(name),
            "server" | "alt-svc" | "via" | "strict-transport-security" => {
                case.of_kind(Kind::May).has(field)
            }
            _ => case.has(field),
        });
    }
    cases.extend(of_one_hop());
    cases.extend([
        should("field-lines-are-kept", STORING)
            .get()
            .says(&[LIFE, "x-own: a", "x-own: b"])
            .get()
            .reused()
            .has("x-own: a, b"),
        should("field-beyond-ascii-is-kept", "RFC 9110 section 5.5")
            .get()
            .says(&[LIFE, "x-own: grün"])
            .get()
            .reused()
            .has("x-own: grün"),
        should("field-empty-is-kept", STORING)
            .get()
            .says(&[LIFE, "x-own: "])
            .get()
            .reused()
            .has("x-own:"),
        should("field-case-is-nothing", "RFC 9110 section 5.1")
            .get()
            .says(&["CACHE-CONTROL: MAX-AGE=3600", "X-Own: aB"])
            .get()
            .reused()
            .has("x-own: aB"),
        // Over HTTP/2 the engine writes a `Date` of its own into every response.
        must("field-date-stays", "RFC 9110 section 6.6.1")
            .get()
            .says(&[LIFE, "date: {start-60}"])
            .get()
            .reused()
            .has("date: {start-60}")
            .over(Protocol::Http1),
        must("field-date-is-there", "RFC 9110 section 6.6.1")
            .get()
            .says(&[LIFE])
            .get()
            .reused()
            .has("date"),
        must("field-age-is-there-once", "RFC 9111 section 5.1")
            .get()
            .says(&[LIFE, "age: 100"])
            .get()
            .reused()
            .age(100..=103),
        should("field-long-is-kept", STORING)
            .get()
            .says(&[LIFE, "x-own: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"])
            .get()
            .reused()
            .has("x-own: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ]);
    cases
}

fn of_one_hop() -> Vec<Case> {
    let rows: [(&str, &'static str, &[&str], &str); 11] = [
        ("connection", HOP, &["connection: x-hop"], "connection"),
        (
            "named-by-connection",
            HOP,
            &["connection: x-hop", "x-hop: a"],
            "x-hop",
        ),
        (
            "second-named-by-connection",
            HOP,
            &["connection: x-one, X-Hop", "x-hop: a"],
            "x-hop",
        ),
        (
            "named-on-another-line",
            HOP,
            &["connection: x-one", "connection: x-hop", "x-hop: a"],
            "x-hop",
        ),
        ("keep-alive", HOP, &["keep-alive: timeout=5"], "keep-alive"),
        (
            "proxy-connection",
            HOP,
            &["proxy-connection: close"],
            "proxy-connection",
        ),
        ("te", HOP, &["te: trailers"], "te"),
        ("upgrade", HOP, &["upgrade: h9"], "upgrade"),
        (
            "proxy-authenticate",
            STORING,
            &["proxy-authenticate: Basic realm=\"a\""],
            "proxy-authenticate",
        ),
        (
            "proxy-authentication-info",
            STORING,
            &["proxy-authentication-info: a=b"],
            "proxy-authentication-info",
        ),
        (
            "proxy-authorization",
            STORING,
            &["proxy-authorization: Basic YTpi"],
            "proxy-authorization",
        ),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, section, fields, name)| {
            let case = must(format!("hop-{id}-is-not-stored"), section).get();
            let case = case
                .says(&[LIFE, "x-kept: a"])
                .says(fields)
                .get()
                .anything()
                .is(200)
                .has("x-kept: a")
                .says(&["x-kept: a"]);
            // Over HTTP/1.1 the gateway has a `Connection` of its own.
            match name {
                "connection" => case.free_of("x-hop"),
                _ => case.lacks(name),
            }
        })
        .collect();
    cases.extend([
        should("hop-cache-control-cannot-be-one", HOP)
            .get()
            .says(&[
                "connection: cache-control",
                "cache-control: no-store",
                "expires: {now+3600}",
            ])
            .get()
            .fetched(),
        must("hop-request-fields-are-not-passed-on", HOP)
            .get()
            .with("connection: x-hop")
            .with("x-hop: a")
            .sees_no("x-hop")
            .over(crate::harness::Protocol::Http1),
    ]);
    cases
}
