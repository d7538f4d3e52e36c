//! Heuristic freshness: RFC 9111 section 4.2.2. Northgate takes a tenth of the time since the last change, at most a day.

use crate::case::{Case, Kind, may, must, no_reuse, reuse, should};

const HEURISTIC: &str = "RFC 9111 section 4.2.2";
const STATUSES: &str = "RFC 9110 section 15.1";
/// A tenth of ten days is a day.
const OLD: &str = "last-modified: {now-864000}";

/// The statuses that RFC 9110 section 15.1 names; 206 is with the ranges.
const CACHEABLE: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
const OTHERS: [u16; 17] = [
    201, 202, 302, 303, 307, 400, 401, 402, 403, 406, 409, 422, 429, 500, 502, 503, 599,
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for status in CACHEABLE {
        let case = may(format!("heuristic-{status}"), STATUSES).get();
        cases.push(case.status(status).says(&[OLD]).get().reused());
    }
    for status in OTHERS {
        let case = must(format!("heuristic-not-{status}"), STATUSES).get();
        cases.push(case.status(status).says(&[OLD]).get().fetched());
    }
    // How long it is taken for fresh is Northgate's choice, as far as the RFC leaves it one.
    let chosen: [(&str, &[&str]); 6] = [
        ("just-changed", &["last-modified: {now}"]),
        ("changes-tomorrow", &["last-modified: {now+86400}"]),
        ("without-last-modified", &["etag: \"a\""]),
        ("bad-date", &["last-modified: yesterday"]),
        ("age-above", &["last-modified: {now-1000}", "age: 500"]),
        (
            "at-most-a-day",
            &["last-modified: {now-86400000}", "age: 90000"],
        ),
    ];
    for (id, fields) in chosen {
        let case = no_reuse(format!("heuristic-{id}"), HEURISTIC, fields);
        cases.push(case.of_kind(Kind::Should));
    }
    cases.extend([
        reuse(
            "heuristic-no-warning-needed",
            HEURISTIC,
            &[OLD, "cache-control: foobar"],
        ),
        no_reuse(
            "heuristic-not-with-max-age-0",
            HEURISTIC,
            &[OLD, "cache-control: max-age=0"],
        ),
        no_reuse(
            "heuristic-not-with-expires",
            HEURISTIC,
            &[OLD, "expires: {now-60}"],
        ),
        no_reuse(
            "heuristic-not-with-no-cache",
            HEURISTIC,
            &[OLD, "cache-control: no-cache"],
        ),
        no_reuse(
            "heuristic-not-with-no-store",
            HEURISTIC,
            &[OLD, "cache-control: no-store"],
        ),
        no_reuse(
            "heuristic-not-with-private",
            HEURISTIC,
            &[OLD, "cache-control: private"],
        ),
        may("heuristic-public-makes-understood", HEURISTIC)
            .get()
            .status(203)
            .says(&[OLD, "cache-control: public"])
            .get()
            .reused(),
        may("heuristic-public-201", HEURISTIC)
            .get()
            .status(201)
            .says(&[OLD, "cache-control: public"])
            .get()
            .reused(),
        may("heuristic-query-too", HEURISTIC)
            .get()
            .at("?a=b")
            .says(&[OLD])
            .get()
            .at("?a=b")
            .reused(),
        should("heuristic-is-no-life-of-a-minute", HEURISTIC)
            .get()
            .says(&["last-modified: {now-15}"])
            .get()
            .after(2600)
            .fetched(),
    ]);
    cases
}
