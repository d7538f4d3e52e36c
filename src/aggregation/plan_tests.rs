use super::super::testing::plan;
use super::*;

/// The home screen of the documents.
const HOME: &str = r#"
timeout = "250ms"
parts.profile         = { upstream = "users",    path = "/users/{identity.subject}", required = true }
parts.recommendations = { upstream = "products", path = "/recommendations", timeout = "120ms", default = [] }
parts.promotions      = { upstream = "products", path = "/promotions", cache = "60s", pick = ["id", "title"] }
parts.cart            = { upstream = "orders",   path = "/carts/{parts.profile.body.cart_id}" }
"#;

#[test]
fn the_home_screen() {
    let plan = plan(HOME).expect("no problem");
    let names: Vec<_> = plan.parts().iter().map(Part::name).collect();
    assert_eq!(names, ["cart", "profile", "promotions", "recommendations"]);
    assert_eq!(plan.timeout, Duration::from_millis(250));
    assert_eq!(plan.graph().needs(0), [1]);
    assert_eq!(plan.graph().depth(), 2);
    let contracts = plan.parts().iter().map(|part| part.contract().clone());
    let default = Contract::Default("[]".into());
    assert_eq!(
        contracts.collect::<Vec<_>>(),
        [
            Contract::Optional,
            Contract::Required,
            Contract::Optional,
            default
        ]
    );
    let kept = plan.parts()[2].cache.as_ref().expect("it is kept");
    assert_eq!(
        (kept.ttl, &*kept.vary_by),
        (Some(Duration::from_secs(60)), &[][..])
    );
    assert_eq!(plan.parts()[3].timeout, Some(Duration::from_millis(120)));
}

fn check(toml: &str, expected: &[&str]) {
    let problems = plan(toml).map(|_| ()).err().unwrap_or_default();
    assert_eq!(problems, expected, "{toml}");
}

/// Of a part named `a` with this beside its upstream.
fn check_part(toml: &str, expected: &[&str]) {
    let toml = format!("parts.a = {{ upstream = \"u\", {toml} }}");
    let problems = plan(&toml).map(|_| ()).err().unwrap_or_default();
    let messages = problems
        .iter()
        .map(|one| one.split_once(' ').expect("a place").1);
    assert_eq!(messages.collect::<Vec<_>>(), expected, "{toml}");
}

#[test]
fn rings_are_told_by_name() {
    check(
        r#"parts.a = { upstream = "u", path = "/{parts.a.body.id}" }"#,
        &["1:7 aggregate.parts.a: names itself, and would wait for its own answer"],
    );
    check(
        "parts.a = { upstream = \"u\", path = \"/{parts.c.status}\" }\n\
         parts.b = { upstream = \"u\", path = \"/\", headers = { x = \"{parts.a.body}\" } }\n\
         parts.c = { upstream = \"u\", path = \"/\", when = 'parts.b.status == 200' }",
        &["1:7 aggregate.parts.a: waits for itself: a → c → b → a"],
    );
}

#[test]
fn a_long_way_is_refused() {
    let mut toml = String::from("parts.p0 = { upstream = \"u\", path = \"/\" }\n");
    for n in 1..9 {
        let before = n - 1;
        toml +=
            &format!("parts.p{n} = {{ upstream = \"u\", path = \"/{{parts.p{before}.body}}\" }}\n");
    }
    check(
        &toml,
        &["9:7 aggregate.parts.p8 is the end of 9 parts that wait for each other; there may be 8"],
    );
}

#[test]
fn names_that_are_none_are_found() {
    check_part(
        r#"path = "/{parts.b.body}""#,
        &["aggregate.parts.a.path: there is no part `b` (there are `a`)"],
    );
    check_part(
        r#"path = "/{parts.a.bdy}""#,
        &[
            "aggregate.parts.a.path: `{parts.a.bdy}` names nothing that a part has (write {parts.a.body.FIELD}, \
             {parts.a.status} or {parts.a.headers.NAME})",
        ],
    );
    check_part(
        r#"path = "/", when = 'parts.b.status == 200'"#,
        &["aggregate.parts.a.when: there is no part `b`"],
    );
    check_part(
        r#"path = "/", when = 'parts.a == 1'"#,
        &[
            "aggregate.parts.a.when: `parts.a` is no value by itself (write `parts.a.body`, `parts.a.status` or \
             `parts.a.headers[\"NAME\"]`)",
        ],
    );
    check_part(
        r#"path = "/{path.di}""#,
        &[
            "aggregate.parts.a.path: the route's path has no parameter `di` (did you mean `{path.id}`?)",
        ],
    );
    check_part(
        r#"path = "/", query = { x = "{client.pi}" }"#,
        &[
            "aggregate.parts.a.query.x: unknown variable `{client.pi}` (did you mean `{client.ip}`?)",
        ],
    );
    check_part(
        r#"path = "/", method = "POST", json = { x = ["{parts.b.body}"] }"#,
        &["aggregate.parts.a.json: there is no part `b` (there are `a`)"],
    );
    check(
        "parts.a = { upstream = \"nowhere\", path = \"/\" }",
        &["1:24 aggregate.parts.a.upstream: no such upstream"],
    );
}

#[test]
fn requests_are_checked() {
    check_part(
        r#"path = "users""#,
        &["aggregate.parts.a.path must begin with \"/\", got \"users\""],
    );
    check_part(
        r#"path = "/a/../{path.id}""#,
        &["aggregate.parts.a.path must not have `.` and `..` segments, got \"/a/../{path.id}\""],
    );
    check_part(
        r##"path = "/a#b""##,
        &["aggregate.parts.a.path must not have a fragment, got \"/a#b\""],
    );
    check_part(
        r#"path = "/a b""#,
        &[
            "aggregate.parts.a.path must be a path as a request has it, got \"/a b\" (percent-encode what is neither a \
             letter nor a digit)",
        ],
    );
    check_part(
        r#"path = "/", json = 1"#,
        &["aggregate.parts.a has a body, which a GET has none of (write method = \"POST\")"],
    );
    check_part(
        r#"path = "/", method = "POST", json = 1, body = "x""#,
        &["aggregate.parts.a has both json and body; write one of them"],
    );
    check_part(
        r#"path = "/", method = "HEAD""#,
        &["aggregate.parts.a.method must be a method whose answers have a body, got \"HEAD\""],
    );
    check_part(
        r#"path = "/", headers = { content-length = "1" }"#,
        &[
            "aggregate.parts.a.headers.content-length belongs to the connection or the framing and cannot be changed",
        ],
    );
    check_part(
        r#"path = "/", method = "POST", cache = "1s""#,
        &["aggregate.parts.a.cache is for GET alone: what other methods answer is not kept"],
    );
}

#[test]
fn contracts_are_checked() {
    check_part(
        r#"path = "/", required = true, default = []"#,
        &[
            "aggregate.parts.a has a default, which is for parts that there can be an answer without (remove required or \
             default)",
        ],
    );
    check_part(r#"path = "/", required = false, default = []"#, &[]);
    check_part(
        r#"path = "/", timeout = "3s""#,
        &["aggregate.parts.a.timeout must be at most that of the whole, 2000ms, got \"3s\""],
    );
    check_part(
        r#"path = "/", accept = []"#,
        &["aggregate.parts.a.accept is empty, so that every answer is a failure"],
    );
    check_part(
        r#"path = "/", accept = ["2xx", 404, "1xx"]"#,
        &[
            "aggregate.parts.a.accept[2] must be a status from 200 to 599, or some such as \"2xx\", got \"1xx\"",
        ],
    );
    check(
        "parts = {}",
        &["0:1 aggregate has no parts (write parts.NAME = { upstream = \"…\", path = \"/…\" })"],
    );
    check(
        "timeout = \"6m\"\nlimits = { part_bytes = \"17MiB\" }\nparts.a = { upstream = \"u\", path = \"/\" }",
        &[
            "1:11 aggregate.timeout must be at most \"5m\", got \"6m\"",
            "2:25 aggregate.limits.part_bytes must be at most \"16MiB\", got \"17MiB\"",
        ],
    );
    let many: String = (0..33)
        .map(|n| format!("parts.p{n} = {{ upstream = \"u\", path = \"/\" }}\n"))
        .collect();
    check(
        &many,
        &["0:1 aggregate.parts has 33 parts; there may be 32"],
    );
}

#[test]
fn what_is_kept_is_for_the_same_request() {
    let toml = r#"parts.a = { upstream = "u", path = "/{identity.subject}", cache = { stale_if_error = "1m" }, headers = { x-fixed = "1", x-who = "{identity.subject}", accept-language = "{headers.accept-language}" } }"#;
    let plan = plan(toml).expect("no problem");
    let kept = plan.parts()[0].cache.as_ref().expect("it is kept");
    let names: Vec<_> = kept.vary_by.iter().map(HeaderName::as_str).collect();
    assert_eq!(names, ["accept-language", "x-who"]);
    assert_eq!(
        (kept.ttl, kept.if_error),
        (None, Some(Duration::from_secs(60)))
    );
}

#[test]
fn fields_that_can_never_be_there_are_found() {
    let second = |first: &str| {
        let b = "parts.b = { upstream = \"u\", path = \"/{parts.a.body.id}\" }";
        format!("parts.a = {{ upstream = \"u\", path = \"/\", {first} }}\n{b}")
    };
    check(
        &second("default = []"),
        &["2:7 aggregate.parts.b: names `parts.a.body.id`, and the default of `a` is an array"],
    );
    check(
        &second("as = \"text\""),
        &[
            "2:7 aggregate.parts.b: names `parts.a.body.id`, and `a` is taken for text, which has no fields",
        ],
    );
    check(&second("default = {}"), &[]);
    check(&second("as = \"array\""), &[]);
}

/// Of parts `a` and `b` with these beside their upstreams.
fn check_two(a: &str, b: &str, expected: &[&str]) {
    let toml = format!(
        "parts.a = {{ upstream = \"u\", path = \"/\"{a} }}\nparts.b = {{ upstream = \"u\", path = \"/\"{b} }}"
    );
    check(&toml, expected);
}

#[test]
fn no_two_parts_land_in_one_place() {
    let help = "(write at = \"…\" with another name, or merge where both are meant to be one)";
    let problem =
        |place: &str, what: &str| format!("{place} aggregate.parts.b: lands at {what} {help}");
    check_two(
        "",
        ", at = \"a\"",
        &[&problem("2:46", "`a`, and so does `a`")],
    );
    check_two(
        ", at = \"x.y\"",
        ", at = \"x\"",
        &[&problem("2:46", "`x`, which does not go with `a` at `x.y`")],
    );
    check_two(
        ", at = \"x\"",
        ", at = \"x.y\"",
        &[&problem("2:46", "`x.y`, which does not go with `a` at `x`")],
    );
    check_two(", at = \"x.z\"", ", at = \"x.y\"", &[]);
    // Also by what fields are called in the end.
    check_two(
        "",
        ", at = \".\", pick = [\"x\", \"y\"], rename = { x = \"a\" }",
        &[&problem("2:46", "`a`, and so does `a`")],
    );
    check_two(
        "",
        ", at = \".\", pick = [\"x\", \"y\"], move = { \"y.z\" = \"a.b\" }",
        &[&problem("2:46", "`a`, and so does `a`")],
    );
    check_two(
        "",
        ", at = \".\", pick = [\"a\"], rename = { a = \"b\" }",
        &[],
    );
    check_two(
        "",
        ", at = \".\"",
        &[
            "2:46 aggregate.parts.b.at: puts fields into the answer itself, so it has to say which (write pick = [\"…\"], or \
             let it land under a name of its own)",
        ],
    );
    check_two(
        "",
        ", at = \".\", pick = [\"x\"], default = { y = 1 }",
        &["2:46 aggregate.parts.b.default must be an object with no other fields than it picks"],
    );
    check_two(
        "",
        ", at = \"degraded.x\"",
        &[
            "2:46 aggregate.parts.b: lands at `degraded`, where the gateway says what is missing (write at = \"…\" with \
             another name)",
        ],
    );
    check_two(
        "",
        ", at = \"x[]\"",
        &[
            "2:46 aggregate.parts.b.at must be a field such as \"cart\" or \"user.cart\", got \"x[]\"",
        ],
    );
}

#[test]
fn who_merges_has_somebody_to_merge_with() {
    check_two("", ", at = \"a\", merge = \"concat\"", &[]);
    check_two("", ", at = \"a.items\", merge = { by = \"id\" }", &[]);
    let help = "(write at = \"…\" where another part without merge lands, or in what that has)";
    check_two(
        "",
        ", merge = \"fields\"",
        &[&format!(
            "2:7 aggregate.parts.b: merges with what lands at `b`, and no other part does {help}"
        )],
    );
    check_two(
        ", at = \"b.x\"",
        ", merge = \"fields\"",
        &[&format!(
            "2:7 aggregate.parts.b: merges with what lands at `b`, and no other part does {help}"
        )],
    );
    check_two(
        "",
        ", at = \".\", merge = \"fields\"",
        &[&format!(
            "2:46 aggregate.parts.b: merges with the answer itself; it can do so with another part alone {help}"
        )],
    );
    check_two(
        "",
        ", merge = \"sum\"",
        &[
            "2:49 aggregate.parts.b.merge must be \"concat\", \"fields\", \"by\" or \"union\", got \"sum\"",
        ],
    );
}

#[test]
fn shapes_are_checked() {
    check_part(
        r#"path = "/", pick = ["a..b", "c", "c"]"#,
        &[
            "aggregate.parts.a.pick[0] must be a field such as \"id\" or \"items[].price\", got \"a..b\"",
            "aggregate.parts.a.pick[2] is there twice",
        ],
    );
    check_part(
        r#"path = "/", as = "text", pick = ["c"]"#,
        &["aggregate.parts.a.pick is for fields, and what the part is taken for has none"],
    );
    check_part(
        r#"path = "/", pick = []"#,
        &["aggregate.parts.a.pick is empty; name a field, or leave it out"],
    );
    check_part(
        r#"path = "/", move = { "a" = "x", "b" = "x.y", "c[].d" = "z" }"#,
        &[
            "aggregate.parts.a.move.b: goes where another goes as well, to \"x.y\"",
            "aggregate.parts.a.move.\"c[].d\" must be a field that is in no array, got \"c[].d\"",
        ],
    );
    check_part(
        r#"path = "/", move = { "a" = "x", "a.b" = "y" }"#,
        &["aggregate.parts.a.move.\"a.b\" is in what goes elsewhere as well, or has that in it"],
    );
    check_part(
        r#"path = "/", rename = { "a.b" = "x", "a.c" = "x", "c.d" = "x", "." = "y" }"#,
        &[
            "aggregate.parts.a.rename.\"a.c\": gets a name that another gets as well, \"x\"",
            "aggregate.parts.a.rename.\".\" must be a field, got \".\"",
        ],
    );
}

#[test]
fn a_response_says_where_everything_is() {
    check(
        "response = { degraded = 1 }\nparts.a = { upstream = \"u\", path = \"/\", at = \"x\" }",
        &[
            "0:1 aggregate.response has a field `degraded`, where the gateway says what is missing",
            "2:46 aggregate.parts.a.at is of no use beside response, which says where everything is",
        ],
    );
    check(
        "response = \"{parts.b}\"\nparts.a = { upstream = \"u\", path = \"/\" }",
        &["0:1 aggregate.response: there is no part `b` (there are `a`)"],
    );
}

#[test]
fn filters_are_checked() {
    check_part(
        r#"path = "/", jq = ".x", pick = ["c"]"#,
        &["aggregate.parts.a.pick is of no use beside jq, which says what is made of the part"],
    );
    check_part(
        r#"path = "/", jq = "nothing""#,
        &["aggregate.parts.a.jq: names `nothing`, which is not there"],
    );
    check(
        "jq = \". |\"\nparts.a = { upstream = \"u\", path = \"/\" }",
        &["1:6 aggregate.jq is no filter of jq from \"\" on"],
    );
}

#[test]
fn what_one_request_keeps_has_an_end() {
    let with = |parts: usize, bytes: &str| {
        let mut toml = format!("limits.part_bytes = \"{bytes}\"");
        for part in 0..parts {
            toml += &format!("\nparts.a{part} = {{ upstream = \"u\", path = \"/\" }}");
        }
        toml
    };
    check(&with(16, "16MiB"), &[]);
    check(&with(32, "8MiB"), &[]);
    check(
        &with(17, "16MiB"),
        &[
            "1:21 aggregate.limits.part_bytes must be at most \"256MiB\" for all 17 parts together, got \"16MiB\" for each (as much is kept for one request)",
        ],
    );
    check(
        &with(17, "17MiB"),
        &["1:21 aggregate.limits.part_bytes must be at most \"16MiB\", got \"17MiB\""],
    );
}
