//! Age, and what time does: RFC 9111 sections 4.2.3 and 5.1.

use crate::case::{Case, may, must, should};

const S_MAXAGE: &str = "RFC 9111 section 5.2.2.10";
const EXPIRES: &str = "RFC 9111 section 5.3";
const AGE: &str = "RFC 9111 section 5.1";
const AGING: &str = "RFC 9111 section 4.2.3";

pub fn cases() -> Vec<Case> {
    let parts = [with_time(), ages()];
    parts.into_iter().flatten().collect()
}

fn with_time() -> Vec<Case> {
    vec![
        must("time-max-age-ends", "RFC 9111 section 4.2")
            .get()
            .says(&["cache-control: max-age=4"])
            .get()
            .reused()
            .get()
            .after(4300)
            .fetched(),
        must("time-s-maxage-ends", S_MAXAGE)
            .get()
            .says(&["cache-control: s-maxage=1, max-age=3600"])
            .get()
            .after(2200)
            .fetched(),
        must("time-expires-ends", EXPIRES)
            .get()
            .says(&["expires: {now+2}"])
            .get()
            .after(3200)
            .fetched(),
        must("time-age-brings-the-end-near", AGE)
            .get()
            .says(&["cache-control: max-age=100", "age: 98"])
            .get()
            .after(2600)
            .fetched(),
        must("time-delay-counts", AGING)
            .get()
            .says(&["cache-control: max-age=1"])
            .delay(1500)
            .get()
            .fetched(),
        should("time-newer-replaces", "RFC 9111 section 4")
            .get()
            .says(&["cache-control: max-age=1"])
            .get()
            .after(2200)
            .says(&["cache-control: max-age=3600"])
            .fetched()
            .get()
            .reused()
            .of(1),
    ]
}

fn ages() -> Vec<Case> {
    vec![
        must("age-is-generated", AGE)
            .get()
            .says(&["cache-control: max-age=3600"])
            .get()
            .reused()
            .age(0..=3),
        must("age-grows", AGE)
            .get()
            .says(&["cache-control: max-age=3600"])
            .get()
            .after(2100)
            .reused()
            .age(2..=5),
        must("age-adds-to-the-upstreams", AGING)
            .get()
            .says(&["cache-control: max-age=3600", "age: 1000"])
            .get()
            .after(1100)
            .reused()
            .age(1001..=1005),
        must("age-by-date", AGING)
            .get()
            .says(&["cache-control: max-age=3600", "date: {now-500}"])
            .get()
            .reused()
            .age(500..=504),
        must("age-greater-of-date-and-age", AGING)
            .get()
            .says(&[
                "cache-control: max-age=3600",
                "date: {now-500}",
                "age: 1000",
            ])
            .get()
            .reused()
            .age(1000..=1004),
        must("age-not-below-0", AGING)
            .get()
            .says(&["cache-control: max-age=3600", "date: {now+500}"])
            .get()
            .reused()
            .age(0..=3),
        must("age-counts-the-delay", AGING)
            .get()
            .says(&["cache-control: max-age=3600"])
            .delay(1200)
            .get()
            .reused()
            .age(1..=4),
        should("age-of-others-is-passed-on", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: 50"])
            .age(50..=53),
        may("age-list-first-counts", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: 0, 7200"])
            .get()
            .reused(),
        may("age-lines-first-counts", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: 7200", "age: 0"])
            .get()
            .fetched(),
        may("age-text-is-ignored", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: old"])
            .get()
            .reused(),
        may("age-negative-is-ignored", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: -7200"])
            .get()
            .reused(),
        may("age-float-is-ignored", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: 7200.0"])
            .get()
            .reused(),
        may("age-with-a-parameter-is-ignored", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: 7200;foo=bar"])
            .get()
            .reused(),
        may("age-with-a-unit-is-ignored", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: 7200s"])
            .get()
            .reused(),
        may("age-quoted-is-ignored", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: \"7200\""])
            .get()
            .reused(),
        may("age-empty-is-ignored", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: "])
            .get()
            .reused(),
        must("age-with-leading-zeros", AGE)
            .get()
            .says(&["cache-control: max-age=3600", "age: 0007200"])
            .get()
            .fetched(),
        must("age-huge-is-old", "RFC 9111 section 1.2.2")
            .get()
            .says(&["cache-control: max-age=3600", "age: 9999999999999999999999"])
            .get()
            .fetched(),
        must("age-starts-anew-when-fetched", AGE)
            .get()
            .says(&["cache-control: max-age=10", "age: 20"])
            .get()
            .says(&["cache-control: max-age=3600"])
            .get()
            .reused()
            .age(0..=3),
    ]
}
