//! Heuristic freshness: RFC 9111 section 4.2.2. Northgate takes a tenth of the time since the last change, at most a day.

use crate::case::{Case, may, must, no_reuse, reuse};

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
    cases.extend([
        reuse(
            "heuristic-no-warning-needed",
            HEURISTIC,
            &[OLD, "cache-control: foobar"],
        ),
        no_reuse(
            "heuristic-just-changed",
            HEURISTIC,
            &["last-modified: {now}"],
        ),
        no_reuse(
            "heuristic-changes-tomorrow",
            HEURISTIC,
            &["last-modified: {now+86400}"],
        ),
        no_reuse(
            "heuristic-without-last-modified",
            HEURISTIC,
            &["etag: \"a\""],
        ),
        no_reuse(
            "heuristic-bad-date",
            HEURISTIC,
            &["last-modified: yesterday"],
        ),
        no_reuse(
            "heuristic-age-above",
            HEURISTIC,
            &["last-modified: {now-1000}", "age: 500"],
        ),
        no_reuse(
            "heuristic-at-most-a-day",
            HEURISTIC,
            &["last-modified: {now-86400000}", "age: 90000"],
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
        must("heuristic-is-no-life-of-a-minute", HEURISTIC)
            .get()
            .says(&["last-modified: {now-15}"])
            .get()
            .after(2600)
            .fetched(),
    ]);
    cases
}
