use std::sync::Arc;

use super::super::testing::{failed, ok, plan, response, run, with_view};
use super::*;
use crate::aggregation::Ended;
use crate::response::Code;

fn compiled(toml: &str) -> Arc<Plan> {
    Arc::new(plan(toml).unwrap_or_else(|problems| panic!("{toml}: {problems:?}")))
}

fn assemble(plan: &Arc<Plan>, answers: &[Option<Ended>]) -> Assembled {
    let (run, _) = run(plan, answers, |_| 0);
    with_view(|view| run.finish(view))
}

/// The body, and the headers that are not the same for all; or whose fault it is.
fn said(plan: &Plan, assembled: &Assembled) -> (String, String) {
    match assembled {
        Assembled::Refused {
            status,
            part,
            reason,
        } => {
            let part = part.map_or("", |part| name(plan, part));
            (
                status.as_str().to_owned(),
                format!("{part}: {}", reason.slug(plan)),
            )
        }
        Assembled::Whole(whole) => {
            let json: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&whole.body);
            assert!(json.is_ok(), "{:?}", whole.body);
            let headers = whole
                .headers
                .iter()
                .filter(|(name, _)| ![CONTENT_TYPE, ETAG].contains(name));
            let headers =
                headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let body = String::from_utf8(whole.body.to_vec()).unwrap();
            (body, headers.collect::<Vec<_>>().join("\n"))
        }
    }
}

fn check(toml: &str, answers: &[Option<Ended>], body: &str, headers: &str) {
    let plan = compiled(toml);
    let found = said(&plan, &assemble(&plan, answers));
    assert_eq!((&*found.0, &*found.1), (body, headers), "{toml}");
}

const THREE: &str = r#"
parts.a = { upstream = "u", path = "/a", required = true }
parts.b = { upstream = "u", path = "/b" }
parts.c = { upstream = "u", path = "/c", default = [] }
"#;

#[test]
fn parts_land_under_their_names_as_they_are() {
    let answers = [
        Some(ok(" { \"x\" : 1.0, \"x\" : 12345678901234567890123 } \n")),
        Some(ok("")),
        Some(ok("[1,\n2]")),
    ];
    let body = "{\"a\":{ \"x\" : 1.0, \"x\" : 12345678901234567890123 },\"b\":null,\"c\":[1,\n2]}";
    check(THREE, &answers, body, "");
}

#[test]
fn each_fault_has_its_answer() {
    let faults = [
        (failed(Reason::Timeout), "timeout", "504"),
        (
            failed(Reason::Failure(Code::UpstreamConnectFailed)),
            Code::UpstreamConnectFailed.slug(),
            "502",
        ),
        (
            failed(Reason::Failure(Code::UpstreamTimeout)),
            Code::UpstreamTimeout.slug(),
            "504",
        ),
        (failed(Reason::CutOff), "cut_off", "502"),
        (response(404, &[], "{}"), "status_404", "502"),
        (response(503, &[], "{}"), "status_503", "502"),
        (response(301, &[], "{}"), "status_301", "502"),
        (response(206, &[], "{}"), "status_206", "502"),
        (ok("<html>"), "not_json", "502"),
        (ok("{\"a\":"), "not_json", "502"),
        (ok(&"[".repeat(65)), "too_deep", "502"),
        (
            ok(&format!("\"{}\"", "x".repeat(1 << 20))),
            "too_large",
            "502",
        ),
        (
            response(200, &["content-encoding: gzip"], "{}"),
            "encoded",
            "502",
        ),
    ];
    let mut faults: Vec<_> = faults
        .into_iter()
        .map(|(ended, reason, status)| (Some(ended), reason, status))
        .collect();
    faults.push((None, "budget", "504"));
    for (ended, reason, status) in faults {
        check(
            THREE,
            &[ended.clone(), Some(ok("1")), Some(ok("2"))],
            status,
            &format!("a: {reason}"),
        );
        check(
            THREE,
            &[Some(ok("1")), ended.clone(), Some(ok("2"))],
            &format!(
                "{{\"a\":1,\"c\":2,\"degraded\":true,\"degraded_parts\":[{{\"part\":\"b\",\"reason\":\"{reason}\"}}]}}"
            ),
            &format!("cache-control: no-store\nx-northgate-degraded: b;reason={reason}"),
        );
        check(
            THREE,
            &[Some(ok("1")), Some(ok("2")), ended],
            &format!(
                "{{\"a\":1,\"b\":2,\"c\":[],\"degraded\":true,\"degraded_parts\":[{{\"default\":true,\"part\":\"c\",\"reason\":\"{reason}\"}}]}}"
            ),
            &format!("cache-control: no-store\nx-northgate-degraded: c;reason={reason};default"),
        );
    }
}

const CHAIN: &str = r#"
parts.a = { upstream = "u", path = "/a" }
parts.b = { upstream = "u", path = "/{parts.a.body.id}" }
parts.c = { upstream = "u", path = "/{parts.b.body.id}", required = true }
"#;

#[test]
fn who_needs_what_has_failed_has_failed() {
    let good = || Some(ok("{\"id\":1}"));
    check(
        CHAIN,
        &[good(), good(), good()],
        "{\"a\":{\"id\":1},\"b\":{\"id\":1},\"c\":{\"id\":1}}",
        "",
    );
    check(
        CHAIN,
        &[Some(response(500, &[], "")), good(), good()],
        "502",
        "c: needs_b",
    );
    check(
        CHAIN,
        &[Some(failed(Reason::Timeout)), good(), good()],
        "504",
        "c: needs_b",
    );
    check(CHAIN, &[None, good(), good()], "504", "c: budget");
    check(
        CHAIN,
        &[Some(ok("{}")), good(), good()],
        "502",
        "c: needs_b",
    );
    check(
        CHAIN,
        &[good(), Some(ok("{\"id\":\"..\"}")), good()],
        "502",
        "c: unfit_value",
    );
    check(
        CHAIN,
        &[good(), Some(ok("{\"id\":null}")), good()],
        "502",
        "c: missing_value",
    );
}

#[test]
fn a_default_stands_for_the_body_to_who_needs_it() {
    let toml = r#"
parts.a = { upstream = "u", path = "/a", default = { id = 7 } }
parts.b = { upstream = "u", path = "/{parts.a.body.id}" }
"#;
    let plan = compiled(toml);
    let answers = [Some(failed(Reason::Timeout)), Some(ok("1"))];
    let (_, asked) = run(&plan, &answers, |_| 0);
    let targets: Vec<_> = asked.iter().map(|(_, out)| out.target.as_str()).collect();
    assert_eq!(targets, ["/a", "/7"]);
}

#[test]
fn what_is_not_wanted_is_no_failure() {
    let toml = r#"
parts.a = { upstream = "u", path = "/a", when = 'has(identity.subject)', required = true }
parts.b = { upstream = "u", path = "/{parts.a.body.id}" }
parts.c = { upstream = "u", path = "/c", when = 'has(parts.b.body)', default = 0 }
parts.d = { upstream = "u", path = "/d", when = 'parts.e.status == 201' }
parts.e = { upstream = "u", path = "/e", accept = ["2xx", 404] }
"#;
    let answers = |status| {
        let d = Some(ok("4"));
        [None, None, None, d, Some(response(status, &[], "5"))]
    };
    check(
        toml,
        &answers(201),
        "{\"c\":0,\"d\":4,\"e\":5}",
        "cache-control: private",
    );
    check(
        toml,
        &answers(404),
        "{\"c\":0,\"e\":5}",
        "cache-control: private",
    );
    // Whether it is wanted cannot be told without an answer.
    let unknown = "{\"c\":0,\"degraded\":true,\"degraded_parts\":[{\"part\":\"d\",\"reason\":\"condition\"},{\"part\":\"e\",\"reason\":\"status_500\"}]}";
    check(
        toml,
        &answers(500),
        unknown,
        "cache-control: no-store\nx-northgate-degraded: d;reason=condition, e;reason=status_500",
    );
}

#[test]
fn parts_land_where_they_are_told_to() {
    let toml = r#"
parts.a = { upstream = "u", path = "/a", at = "user.profile" }
parts.b = { upstream = "u", path = "/b", at = "user.cart.items", pick = ["id", "lines[].sku"] }
parts.c = { upstream = "u", path = "/c", at = ".", pick = ["x", "y.z"], rename = { x = "w" } }
parts.1d = { upstream = "u", path = "/d", as = "text", at = 'odd["a.b"]' }
"#;
    let answers = [
        Some(ok("he said \"no\"\n")),
        Some(ok("1")),
        Some(ok(r#"[{"id":1,"lines":[{"sku":"s","n":1e400}]}]"#)),
        Some(ok(r#"{"x":5,"y":{"z":6,"q":7},"q":8}"#)),
    ];
    let body = r#"{"w":5,"y":{"z":6},"odd":{"a.b":"he said \"no\"\n"},"user":{"profile":1,"cart":{"items":[{"id":1,"lines":[{"sku":"s"}]}]}}}"#;
    check(toml, &answers, body, "");
    let nothing = [
        Some(failed(Reason::Timeout)),
        Some(ok("1")),
        Some(ok("true")),
        Some(ok("[]")),
    ];
    check(
        toml,
        &nothing,
        r#"{"odd":{},"user":{"profile":1,"cart":{}},"degraded":true,"degraded_parts":[{"part":"1d","reason":"timeout"},{"part":"b","reason":"shape"},{"part":"c","reason":"shape"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: \"1d\";reason=timeout, b;reason=shape, c;reason=shape",
    );
}

#[test]
fn parts_become_one() {
    let toml = r#"
parts.products = { upstream = "u", path = "/a", at = "shop", pick = ["items"] }
parts.more     = { upstream = "u", path = "/b", at = "shop.items", merge = "concat" }
parts.prices   = { upstream = "u", path = "/c", at = "shop.items", merge = { by = "id" }, required = true }
"#;
    let more = || Some(ok(r#"[{"id":2}]"#));
    let prices = || Some(ok(r#"[{"id":1,"p":10},{"id":2,"p":20},{"id":3,"p":30}]"#));
    let products = || Some(ok(r#"{"items":[{"id":1}],"x":1}"#));
    check(
        toml,
        &[more(), prices(), products()],
        r#"{"shop":{"items":[{"id":1,"p":10},{"id":2,"p":20}]}}"#,
        "",
    );
    let gone = Some(response(500, &[], ""));
    check(
        toml,
        &[more(), prices(), gone.clone()],
        r#"{"shop":{"items":[{"id":2,"p":20}]},"degraded":true,"degraded_parts":[{"part":"products","reason":"status_500"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: products;reason=status_500",
    );
    check(
        toml,
        &[gone.clone(), prices(), gone],
        r#"{"degraded":true,"degraded_parts":[{"part":"more","reason":"status_500"},{"part":"products","reason":"status_500"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: more;reason=status_500, products;reason=status_500",
    );
    check(
        toml,
        &[more(), Some(ok("{}")), products()],
        "502",
        "prices: shape",
    );
    let odd = Some(ok("{}"));
    check(
        toml,
        &[odd, prices(), products()],
        r#"{"shop":{"items":[{"id":1,"p":10}]},"degraded":true,"degraded_parts":[{"part":"more","reason":"shape"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: more;reason=shape",
    );
}

#[test]
fn a_response_of_its_own() {
    let toml = r#"
response = { who = "{parts.a.body.name}", all = ["{parts.a}", "{parts.b}"], text = "{parts.a.body.n} of {path.id}", lang = "{headers.accept-language}" }
parts.a = { upstream = "u", path = "/a", drop = ["n"] }
parts.b = { upstream = "u", path = "/b" }
"#;
    let a = || Some(ok(r#"{"name":"x","n":5}"#));
    check(
        toml,
        &[a(), Some(ok("[1.0]"))],
        r#"{"all":[{"name":"x"},[1.0]],"lang":"de","text":"5 of 7","who":"x"}"#,
        "vary: accept-language",
    );
    check(
        toml,
        &[a(), Some(failed(Reason::Timeout))],
        r#"{"all":[{"name":"x"},null],"lang":"de","text":"5 of 7","who":"x","degraded":true,"degraded_parts":[{"part":"b","reason":"timeout"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: b;reason=timeout\nvary: accept-language",
    );
    let list = "response = [\"{parts.a}\"]\nparts.a = { upstream = \"u\", path = \"/a\" }";
    check(
        list,
        &[None],
        "[null]",
        "cache-control: no-store\nx-northgate-degraded: a;reason=budget",
    );
    let own = "response = \"{parts.a}\"\nparts.a = { upstream = \"u\", path = \"/a\" }\nparts.b = { upstream = \"u\", path = \"/b\" }";
    check(
        own,
        &[Some(ok("{ \"degraded\": false, \"x\": 1 } ")), None],
        r#"{"x": 1,"degraded":true,"degraded_parts":[{"part":"b","reason":"budget"}]}"#
            .replace("\": 1", "\":1")
            .as_str(),
        "cache-control: no-store\nx-northgate-degraded: b;reason=budget",
    );
    check(
        own,
        &[Some(ok("{ }")), None],
        r#"{"degraded":true,"degraded_parts":[{"part":"b","reason":"budget"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: b;reason=budget",
    );
}

#[test]
fn an_answer_is_no_larger_than_it_may_be() {
    let toml = r#"
limits = { response_bytes = "10B" }
parts.a = { upstream = "u", path = "/a" }
parts.b = { upstream = "u", path = "/b", default = 0 }
parts.c = { upstream = "u", path = "/c", required = true }
"#;
    let four = || Some(ok("1234"));
    check(
        toml,
        &[four(), four(), four()],
        r#"{"a":1234,"b":0,"c":1234,"degraded":true,"degraded_parts":[{"default":true,"part":"b","reason":"too_large"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: b;reason=too_large;default",
    );
    check(
        toml,
        &[four(), four(), Some(ok("12345678901"))],
        "502",
        "c: too_large",
    );
    let toml = r#"
response = ["{parts.a}", "{parts.a}", "{parts.a}"]
limits = { response_bytes = "10B" }
parts.a = { upstream = "u", path = "/a" }
"#;
    check(toml, &[four()], "502", ": too_large");
    check(toml, &[Some(ok("12"))], "[12,12,12]", "");
}

#[test]
fn headers_fit_the_answer() {
    let toml = r#"
parts.a = { upstream = "u", path = "/a", headers = { accept-language = "{headers.accept-language}" } }
parts.b = { upstream = "u", path = "/b", when = 'request.headers["x-beta"] != "1" || true' }
"#;
    let a = Some(response(
        200,
        &[
            "cache-control: max-age=60",
            "age: 10",
            "vary: accept",
            "set-cookie: a=b",
        ],
        "1",
    ));
    let b = Some(response(200, &["cache-control: max-age=70"], "2"));
    check(
        toml,
        &[a.clone(), b.clone()],
        "{\"a\":1,\"b\":2}",
        "cache-control: max-age=50\nvary: accept, accept-language, x-beta",
    );
    let plan = compiled(toml);
    let tag = |answers: &[Option<Ended>]| match assemble(&plan, answers) {
        Assembled::Whole(whole) => whole.headers.into_iter().find(|(name, _)| *name == ETAG),
        refused => panic!("{refused:?}"),
    };
    assert!(tag(&[a.clone(), b.clone()]).is_some_and(|(_, tag)| tag.as_bytes().starts_with(b"\"")));
    assert_eq!(tag(&[a.clone(), b.clone()]), tag(&[a.clone(), b.clone()]));
    assert_ne!(
        tag(&[a.clone(), b.clone()]),
        tag(&[a.clone(), Some(ok("3"))])
    );
    assert_eq!(tag(&[a, None]), None);
}

#[test]
fn filters_make_parts_and_answers() {
    let toml = r#"
jq = '{n: (.a + (.b // 0)), a}'
parts.a = { upstream = "u", path = "/a", jq = '[.[] | select(.n > 1) | .n] | add' }
parts.b = { upstream = "u", path = "/b" }
"#;
    let a = || Some(ok(r#"[{"n":1},{"n":2},{"n":3}]"#));
    check(toml, &[a(), Some(ok("5"))], r#"{"n":10,"a":5}"#, "");
    check(
        toml,
        &[a(), None],
        r#"{"n":5,"a":5,"degraded":true,"degraded_parts":[{"part":"b","reason":"budget"}]}"#,
        "cache-control: no-store\nx-northgate-degraded: b;reason=budget",
    );
    check(toml, &[a(), Some(ok("[]"))], "502", ": shape");
    let toml =
        "parts.a = { upstream = \"u\", path = \"/a\", required = true, jq = 'last(repeat(1))' }";
    check(toml, &[a()], "502", "a: shape");
}
