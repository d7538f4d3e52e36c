//! Serving what is stale: RFC 5861, RFC 9111 section 4.2.4. Without leave by the origin Northgate serves nothing stale.

use crate::case::{Case, Ending, Kind, Outcome, may, must, should};

const WHILE: &str = "RFC 5861 section 3";
const IF_ERROR: &str = "RFC 5861 section 4";
const SERVING: &str = "RFC 9111 section 4.2.4";

pub fn cases() -> Vec<Case> {
    let parts = [
        while_revalidating(),
        if_error(),
        forbidden(),
        without_leave(),
    ];
    parts.into_iter().flatten().collect()
}

fn begin(case: Case, directives: &str) -> Case {
    let control = format!("cache-control: {directives}");
    case.get().says(&[&control, "age: 20"]).get()
}

fn while_revalidating() -> Vec<Case> {
    let swr = "max-age=10, stale-while-revalidate=3600";
    vec![
        begin(should("swr-is-served", WHILE), swr).refreshing(),
        begin(should("swr-has-its-age", WHILE), swr)
            .refreshing()
            .age(20..=24),
        begin(should("swr-is-refreshed", WHILE), swr)
            .refreshing()
            .says(&["cache-control: max-age=3600"])
            .content("new")
            .get()
            .after(400)
            .outcome(Outcome::Local)
            .shows("new"),
        should("swr-is-validated", WHILE)
            .get()
            .says(&[
                "cache-control: max-age=10, stale-while-revalidate=3600",
                "age: 20",
                "etag: \"a\"",
            ])
            .get()
            .status(304)
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .refreshing()
            .sees("if-none-match: \"a\"")
            .get()
            .after(400)
            .reused(),
        should("swr-answers-at-once", WHILE)
            .get()
            .says(&[
                "cache-control: max-age=10, stale-while-revalidate=3600",
                "age: 20",
            ])
            .get()
            .delay(1000)
            .refreshing()
            .get()
            .outcome(Outcome::Stale),
        begin(should("swr-asks-once", WHILE), swr)
            .copies(8)
            .delay(600)
            .refreshing()
            .times(1..=1),
        begin(
            must("swr-ends", WHILE),
            "max-age=10, stale-while-revalidate=5",
        )
        .fetched(),
        begin(must("swr-0", WHILE), "max-age=10, stale-while-revalidate=0").fetched(),
        begin(
            must("swr-bad", WHILE),
            "max-age=10, stale-while-revalidate=long",
        )
        .fetched()
        .of_kind(Kind::May),
        begin(
            should("swr-case", WHILE),
            "max-age=10, Stale-While-Revalidate=3600",
        )
        .refreshing(),
        begin(
            must("swr-not-for-no-cache-clients", "RFC 9111 section 5.2.1.4"),
            swr,
        )
        .with("cache-control: no-cache")
        .fetched(),
        begin(
            must("swr-not-for-max-age-clients", "RFC 9111 section 5.2.1.1"),
            swr,
        )
        .with("cache-control: max-age=5")
        .fetched()
        .of_kind(Kind::Should),
        begin(should("swr-for-head", WHILE), swr)
            .refreshing()
            .of_kind(Kind::May),
        begin(should("swr-error-keeps-what-is-stored", WHILE), swr)
            .status(503)
            .refreshing()
            .get()
            .after(400)
            .outcome(Outcome::Stale)
            .of(0),
        should("swr-after-time", WHILE)
            .get()
            .says(&["cache-control: max-age=1, stale-while-revalidate=60"])
            .get()
            .after(2200)
            .refreshing(),
        must("swr-ends-by-time", WHILE)
            .get()
            .says(&["cache-control: max-age=1, stale-while-revalidate=1"])
            .get()
            .after(3200)
            .fetched(),
        should("swr-fresh-is-not-refreshed", WHILE)
            .get()
            .says(&["cache-control: max-age=3600, stale-while-revalidate=60"])
            .get()
            .reused()
            .get()
            .after(300)
            .reused()
            .times(0..=0),
    ]
}

fn if_error() -> Vec<Case> {
    let sie = "max-age=10, stale-if-error=3600";
    let mut cases = Vec::new();
    for status in [500, 502, 503, 504] {
        let case = should(format!("sie-{status}"), IF_ERROR);
        cases.push(begin(case, sie).status(status).stale());
    }
    for status in [400, 403, 404, 410, 429, 501] {
        let case = must(format!("sie-not-{status}"), IF_ERROR);
        cases.push(begin(case, sie).status(status).fetched());
    }
    for (name, ending) in [
        ("closed", Ending::Nothing),
        ("cut", Ending::CutLength),
        ("reset", Ending::Reset),
    ] {
        let case = begin(should(format!("sie-{name}"), IF_ERROR), sie).ending(ending);
        // Once something was passed on there is no way back.
        cases.push(match ending {
            Ending::Nothing => case.stale(),
            _ => case.anything(),
        });
    }
    cases.extend([
        begin(must("sie-ends", IF_ERROR), "max-age=10, stale-if-error=5")
            .status(503)
            .fetched(),
        begin(must("sie-0", IF_ERROR), "max-age=10, stale-if-error=0")
            .status(503)
            .fetched(),
        begin(should("sie-has-its-age", IF_ERROR), sie)
            .status(503)
            .stale()
            .age(20..=24),
        begin(must("sie-good-is-new", IF_ERROR), sie).fetched(),
        begin(should("sie-again-and-again", IF_ERROR), sie)
            .status(503)
            .stale()
            .get()
            .status(503)
            .stale()
            .get()
            .fetched(),
        begin(
            should("sie-with-swr-past", IF_ERROR),
            "max-age=1, stale-while-revalidate=1, stale-if-error=3600",
        )
        .status(503)
        .stale(),
        should("sie-by-time", IF_ERROR)
            .get()
            .says(&["cache-control: max-age=1, stale-if-error=60"])
            .get()
            .after(2200)
            .status(500)
            .stale(),
        must("sie-error-is-not-stored-instead", IF_ERROR)
            .get()
            .says(&["cache-control: max-age=10, stale-if-error=3600", "age: 20"])
            .get()
            .status(500)
            .says(&["cache-control: no-store"])
            .stale()
            .get()
            .fetched(),
        may("sie-error-with-a-life-of-its-own", IF_ERROR)
            .get()
            .says(&["cache-control: max-age=10, stale-if-error=3600", "age: 20"])
            .get()
            .status(500)
            .says(&["cache-control: max-age=3600"])
            .stale(),
        must("sie-of-the-error-says-nothing", IF_ERROR)
            .get()
            .says(&["cache-control: max-age=10", "age: 20"])
            .get()
            .status(500)
            .says(&["cache-control: stale-if-error=3600"])
            .fetched(),
        should("sie-variant-of-its-own", "RFC 9111 section 4.1")
            .get()
            .with("x-a: 1")
            .says(&[
                "cache-control: max-age=10, stale-if-error=3600",
                "age: 20",
                "vary: x-a",
            ])
            .get()
            .with("x-a: 2")
            .status(503)
            .fetched()
            .of_kind(Kind::Must),
        should("sie-head", IF_ERROR)
            .get()
            .says(&["cache-control: max-age=10, stale-if-error=3600", "age: 20"])
            .head()
            .status(503)
            .stale()
            .of_kind(Kind::May),
    ]);
    cases
}

fn forbidden() -> Vec<Case> {
    let mut cases = Vec::new();
    for directive in ["must-revalidate", "proxy-revalidate", "no-cache"] {
        for (name, extension) in [("swr", "stale-while-revalidate"), ("sie", "stale-if-error")] {
            let case = must(format!("stale-{name}-not-with-{directive}"), SERVING);
            let directives = format!("max-age=10, {extension}=3600, {directive}");
            cases.push(begin(case, &directives).status(503).fetched());
        }
    }
    // RFC 9111 section 5.2.2.10: it means proxy-revalidate too; but who says both means both.
    for (name, extension) in [("swr", "stale-while-revalidate"), ("sie", "stale-if-error")] {
        let case = may(
            format!("stale-{name}-with-s-maxage"),
            "RFC 9111 section 5.2.2.10",
        );
        let directives = format!("s-maxage=10, {extension}=3600");
        cases.push(begin(case, &directives).status(503).stale());
    }
    cases
}

fn without_leave() -> Vec<Case> {
    vec![
        begin(may("stale-not-without-leave-503", SERVING), "max-age=10")
            .status(503)
            .fetched(),
        begin(may("stale-not-without-leave-closed", SERVING), "max-age=10")
            .ending(Ending::Nothing)
            .broken(),
        begin(
            must("stale-must-revalidate-closed", SERVING),
            "max-age=10, must-revalidate",
        )
        .ending(Ending::Nothing)
        .broken(),
        must("stale-by-expires-is-not-served", SERVING)
            .get()
            .says(&["expires: {now-60}", "date: {now-120}"])
            .get()
            .fetched(),
    ]
}
