//! Variants: RFC 9111 section 4.1 and RFC 9110 section 12.5.5.

use crate::case::{Case, Kind, may, must, should};

const VARY: &str = "RFC 9111 section 4.1";
const STAR: &str = "RFC 9110 section 12.5.5";
/// A name, what the response varies by, and the fields of two requests.
type Row = (&'static str, Lines, Lines, Lines);
type Lines = &'static [&'static str];

const LIFE: &str = "cache-control: max-age=3600";

pub fn cases() -> Vec<Case> {
    let parts = [matching(), normalised(), several(), stars()];
    parts.into_iter().flatten().collect()
}

/// Stored by a request with these fields, asked for by one with those.
fn pair(id: &str, vary: &[&str], first: &[&str], second: &[&str]) -> Case {
    let mut case = must(format!("vary-{id}"), VARY)
        .get()
        .says(&[LIFE])
        .says(vary);
    for field in first {
        case = case.with(*field);
    }
    case = case.get();
    for field in second {
        case = case.with(*field);
    }
    case
}

fn matching() -> Vec<Case> {
    let same: [Row; 10] = [
        ("same", &["vary: x-a"], &["x-a: 1"], &["x-a: 1"]),
        (
            "same-other-field",
            &["vary: x-a"],
            &["x-a: 1", "x-b: 1"],
            &["x-a: 1", "x-b: 2"],
        ),
        ("both-without", &["vary: x-a"], &[], &[]),
        ("field-case", &["vary: X-A"], &["x-a: 1"], &["x-a: 1"]),
        (
            "two-same",
            &["vary: x-a, x-b"],
            &["x-a: 1", "x-b: 2"],
            &["x-a: 1", "x-b: 2"],
        ),
        (
            "two-order",
            &["vary: x-b, x-a"],
            &["x-a: 1", "x-b: 2"],
            &["x-b: 2", "x-a: 1"],
        ),
        (
            "two-lines",
            &["vary: x-a", "vary: x-b"],
            &["x-a: 1", "x-b: 2"],
            &["x-a: 1", "x-b: 2"],
        ),
        (
            "empty-members",
            &["vary: , x-a,,"],
            &["x-a: 1"],
            &["x-a: 1"],
        ),
        (
            "language",
            &["vary: accept-language"],
            &["accept-language: de, en"],
            &["accept-language: de, en"],
        ),
        (
            "same-field-twice",
            &["vary: x-a, X-A"],
            &["x-a: 1"],
            &["x-a: 1"],
        ),
    ];
    let other: [Row; 17] = [
        ("other", &["vary: x-a"], &["x-a: 1"], &["x-a: 2"]),
        ("other-case", &["vary: x-a"], &["x-a: a"], &["x-a: A"]),
        ("missing-later", &["vary: x-a"], &["x-a: 1"], &[]),
        ("missing-first", &["vary: x-a"], &[], &["x-a: 1"]),
        ("missing-is-not-empty", &["vary: x-a"], &[], &["x-a: "]),
        ("field-case-other", &["vary: X-A"], &["x-a: 1"], &["x-a: 2"]),
        (
            "two-first-other",
            &["vary: x-a, x-b"],
            &["x-a: 1", "x-b: 2"],
            &["x-a: 3", "x-b: 2"],
        ),
        (
            "two-second-other",
            &["vary: x-a, x-b"],
            &["x-a: 1", "x-b: 2"],
            &["x-a: 1", "x-b: 3"],
        ),
        (
            "two-second-missing",
            &["vary: x-a, x-b"],
            &["x-a: 1", "x-b: 2"],
            &["x-a: 1"],
        ),
        (
            "two-swapped",
            &["vary: x-a, x-b"],
            &["x-a: 1", "x-b: 2"],
            &["x-a: 2", "x-b: 1"],
        ),
        (
            "two-lines-other",
            &["vary: x-a", "vary: x-b"],
            &["x-a: 1", "x-b: 2"],
            &["x-a: 1", "x-b: 3"],
        ),
        (
            "more-values",
            &["vary: x-a"],
            &["x-a: 1"],
            &["x-a: 1", "x-a: 2"],
        ),
        (
            "framing",
            &["vary: x-a, x-b"],
            &["x-a: 1, x-b: 2"],
            &["x-a: 1", "x-b: 2"],
        ),
        (
            "language-other",
            &["vary: accept-language"],
            &["accept-language: de"],
            &["accept-language: en"],
        ),
        (
            "encoding-other",
            &["vary: accept-encoding"],
            &["accept-encoding: gzip"],
            &["accept-encoding: identity"],
        ),
        (
            "cookie",
            &["vary: cookie"],
            &["cookie: a=1"],
            &["cookie: a=2"],
        ),
        (
            "user-agent",
            &["vary: user-agent"],
            &["user-agent: one"],
            &["user-agent: two"],
        ),
    ];
    let same = same.into_iter().map(|(id, vary, first, second)| {
        let case = pair(&format!("hit-{id}"), vary, first, second).reused();
        case.of_kind(Kind::Should)
    });
    let other = other.into_iter();
    let other = other.map(|(id, vary, first, second)| {
        pair(&format!("miss-{id}"), vary, first, second).fetched()
    });
    same.chain(other).collect()
}

/// Differences that mean nothing, by the field's own definition. They may be seen through; Northgate sees through those
/// that are the same for every list.
fn normalised() -> Vec<Case> {
    let rows: [Row; 6] = [
        (
            "space",
            &["vary: accept-language"],
            &["accept-language: de, en"],
            &["accept-language: de,en"],
        ),
        (
            "more-space",
            &["vary: accept-language"],
            &["accept-language: de, en"],
            &["accept-language:  de ,  en"],
        ),
        (
            "lines",
            &["vary: accept-language"],
            &["accept-language: de, en"],
            &["accept-language: de", "accept-language: en"],
        ),
        (
            "language-case",
            &["vary: accept-language"],
            &["accept-language: de-at"],
            &["accept-language: de-AT"],
        ),
        (
            "language-order",
            &["vary: accept-language"],
            &["accept-language: de, en"],
            &["accept-language: en, de"],
        ),
        (
            "encoding-order",
            &["vary: accept-encoding"],
            &["accept-encoding: gzip, br"],
            &["accept-encoding: br, gzip"],
        ),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, vary, first, second)| {
            let case = pair(&format!("normal-{id}"), vary, first, second);
            let case = match id {
                // Some who negotiate take the first of several that are equal.
                "language-order" => case.fetched(),
                _ => case.reused(),
            };
            case.of_kind(Kind::May)
        })
        .collect();
    cases.extend([
        pair(
            "normal-weights-are-not-lost",
            &["vary: accept-language"],
            &["accept-language: de;q=1.0, en;q=0.5"],
            &["accept-language: de;q=0.5, en;q=1.0"],
        )
        .fetched(),
        pair(
            "normal-own-order-counts",
            &["vary: x-a"],
            &["x-a: 1, 2"],
            &["x-a: 2, 1"],
        )
        .fetched(),
        pair(
            "normal-quoted-comma",
            &["vary: x-a"],
            &["x-a: \"1,2\""],
            &["x-a: \"1, 2\""],
        )
        .fetched(),
    ]);
    cases
}

fn several() -> Vec<Case> {
    let store = |case: Case, value: &str| {
        let case = case.get().with(format!("x-a: {value}"));
        case.says(&[LIFE, "vary: x-a"]).fetched()
    };
    let two = |id: &str| store(store(must(id, VARY), "1"), "2");
    vec![
        two("vary-two-variants")
            .get()
            .with("x-a: 1")
            .reused()
            .of(0)
            .get()
            .with("x-a: 2")
            .reused()
            .of(1),
        store(two("vary-three-variants"), "3")
            .get()
            .with("x-a: 2")
            .reused()
            .of(1)
            .get()
            .with("x-a: 3")
            .reused()
            .of(2)
            .get()
            .with("x-a: 4")
            .fetched(),
        must("vary-changes-between-responses", VARY)
            .get()
            .with("x-a: 1")
            .with("x-b: 1")
            .says(&[LIFE, "vary: x-a"])
            .get()
            .with("x-a: 2")
            .with("x-b: 1")
            .says(&[LIFE, "vary: x-b"])
            .get()
            .with("x-a: 3")
            .with("x-b: 2")
            .fetched(),
        must("vary-only-on-the-second", VARY)
            .get()
            .with("x-a: 1")
            .says(&["cache-control: max-age=10", "age: 20"])
            .get()
            .with("x-a: 1")
            .says(&[LIFE, "vary: x-a"])
            .get()
            .with("x-a: 2")
            .fetched(),
        may("vary-less-is-the-newest", "RFC 9111 section 4")
            .get()
            .with("x-a: 1")
            .says(&[LIFE, "vary: x-a"])
            .get()
            .with("x-a: 2")
            .says(&[LIFE])
            .get()
            .with("x-a: 3")
            .reused()
            .of(1),
        may(
            "vary-validators-of-other-variants-are-not-sent",
            "RFC 9111 section 4.3.1",
        )
        .get()
        .with("x-a: 1")
        .says(&[LIFE, "vary: x-a", "etag: \"one\""])
        .get()
        .with("x-a: 2")
        .says(&[LIFE, "vary: x-a", "etag: \"two\""])
        .get()
        .with("x-a: 3")
        .sees_no("if-none-match")
        .fetched(),
        must("vary-validates-its-own-variant", "RFC 9111 section 4.3.1")
            .get()
            .with("x-a: 1")
            .says(&[
                "cache-control: max-age=10",
                "age: 20",
                "vary: x-a",
                "etag: \"one\"",
            ])
            .get()
            .with("x-a: 2")
            .says(&[LIFE, "vary: x-a", "etag: \"two\""])
            .get()
            .with("x-a: 1")
            .says(&["etag: \"one\""])
            .validated()
            .of(0),
        must("vary-head-too", VARY)
            .get()
            .with("x-a: 1")
            .says(&[LIFE, "vary: x-a"])
            .head()
            .with("x-a: 2")
            .fetched(),
        should("vary-field-is-kept", VARY)
            .get()
            .with("x-a: 1")
            .says(&[LIFE, "vary: x-a"])
            .get()
            .with("x-a: 1")
            .reused()
            .has("vary: x-a"),
        should("vary-many-variants", VARY)
            .get()
            .with("x-a: 1")
            .with("x-b: 1")
            .with("x-c: 1")
            .says(&[LIFE, "vary: x-a, x-b, x-c"])
            .get()
            .with("x-c: 1")
            .with("x-b: 1")
            .with("x-a: 1")
            .reused(),
        must("vary-collapsed-only-within-variants", VARY)
            .get()
            .with("x-a: 1")
            .says(&[LIFE, "vary: x-a"])
            .get()
            .with("x-a: 2")
            .copies(5)
            .says(&[LIFE, "vary: x-a"])
            .delay(300)
            .times(1..=1)
            .of_kind(Kind::Should),
    ]
}

fn stars() -> Vec<Case> {
    let rows: [(&str, &[&str]); 7] = [
        ("alone", &["vary: *"]),
        ("last", &["vary: x-a, *"]),
        ("first", &["vary: *, x-a"]),
        ("other-line", &["vary: x-a", "vary: *"]),
        ("twice", &["vary: *, *"]),
        ("after-nothing", &["vary: , *"]),
        ("on-two-lines", &["vary: *", "vary: *"]),
    ];
    let mut cases = Vec::new();
    for (name, vary) in rows {
        let case = must(format!("vary-star-{name}"), STAR)
            .get()
            .says(&[LIFE])
            .says(vary);
        cases.push(case.get().fetched());
    }
    cases.push(
        must("vary-star-not-for-stale", STAR)
            .get()
            .says(&[
                "cache-control: max-age=10, stale-if-error=60",
                "age: 20",
                "vary: *",
            ])
            .get()
            .status(503)
            .fetched(),
    );
    cases
}
