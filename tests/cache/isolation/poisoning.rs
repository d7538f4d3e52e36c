//! Poisoning: what only the attacker sent, in fields and by methods that no key has.

use crate::case::{Case, Kind, must};

const POISONING: &str = "RFC 9111 section 7.1";
const LIFE: &str = "cache-control: max-age=3600";

pub fn cases() -> Vec<Case> {
    let parts = [unkeyed(), methods()];
    parts.into_iter().flatten().collect()
}

/// The origin writes into its answer what it is told by a field that is in no key. The attacker's word must not come
/// back to the next one: either the origin has never seen it, or its answer was not kept.
fn unkeyed() -> Vec<Case> {
    const NAMES: [&str; 32] = [
        "x-forwarded-host",
        "x-forwarded-scheme",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-for",
        "x-forwarded",
        "x-forwarded-path",
        "x-forwarded-ssl",
        "x-original-url",
        "x-original-uri",
        "x-original-host",
        "x-rewrite-url",
        "x-host",
        "x-http-host-override",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-real-ip",
        "x-client-ip",
        "x-remote-addr",
        "true-client-ip",
        "cf-connecting-ip",
        "client-ip",
        "forwarded",
        "forwarded-for",
        "x-url-scheme",
        "x-scheme",
        "front-end-https",
        "proxy",
        "x-request-id",
    ];
    let poisoned = NAMES.iter().map(|name| {
        let value = match *name {
            "forwarded" => "for=1.2.3.4;host=evil.test",
            _ => "evil.test",
        };
        must(format!("poison-{name}"), POISONING)
            .get()
            .with(format!("{name}: {value}"))
            .says(&[LIFE])
            .echoing(name)
            .anything()
            .is(200)
            .get()
            .says(&[LIFE])
            .echoing(name)
            .anything()
            .is(200)
            .free_of("evil")
    });
    let mut cases: Vec<Case> = poisoned.collect();
    // Other spellings of a name that an origin may read as the same one.
    for (id, name) in [
        ("underscores", "x_forwarded_host"),
        ("mixed", "x-forwarded_host"),
        ("dots", "x.forwarded.host"),
    ] {
        cases.push(
            must(format!("poison-spelled-with-{id}"), POISONING)
                .get()
                .with(format!("{name}: evil.test"))
                .says(&[LIFE])
                .echoing(name)
                .anything()
                .get()
                .says(&[LIFE])
                .echoing(name)
                .anything()
                .free_of("evil")
                .of_kind(if id == "dots" { Kind::May } else { Kind::Must }),
        );
    }
    cases
}

fn methods() -> Vec<Case> {
    vec![
        must("fat-get-is-kept-for-nobody", "RFC 9110 section 9.3.1")
            .get()
            .sending("q=evil")
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
        must("fat-head-is-kept-for-nobody", "RFC 9110 section 9.3.2")
            .head()
            .sending("q=evil")
            .says(&[LIFE, "x-a: evil"])
            .anything()
            .head()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
        must("head-leaves-no-empty-body", "RFC 9110 section 9.3.2")
            .head()
            .says(&[LIFE])
            .get()
            .says(&[LIFE])
            .fetched(),
        must("post-leaves-nothing-for-get", "RFC 9110 section 9.3.3")
            .ask("POST")
            .sending("evil")
            .says(&[LIFE])
            .get()
            .says(&[LIFE])
            .fetched(),
        must("override-leaves-nothing-for-get", POISONING)
            .ask("POST")
            .with("x-http-method-override: GET")
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
        must("override-of-a-get-is-no-delete", POISONING)
            .get()
            .with("x-http-method-override: DELETE")
            .says(&[LIFE])
            .sees_no("x-http-method-override")
            .anything(),
        must("purge-without-leave", "RFC 9110 section 9.1")
            .get()
            .says(&[LIFE])
            .ask("PURGE")
            .status(405)
            .anything()
            .get()
            .says(&[LIFE])
            .reused()
            .of(0),
        must("ban-without-leave", "RFC 9110 section 9.1")
            .get()
            .says(&[LIFE])
            .ask("BAN")
            .status(405)
            .anything()
            .get()
            .says(&[LIFE])
            .reused()
            .of(0),
        must("failed-post-purges-nothing", "RFC 9111 section 4.4")
            .get()
            .says(&[LIFE])
            .ask("POST")
            .status(403)
            .fetched()
            .get()
            .reused()
            .of(0),
        must("trace-leaves-nothing", "RFC 9110 section 9.3.8")
            .ask("TRACE")
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
    ]
}
