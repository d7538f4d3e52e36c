//! Answers with 503, and asks for a minute.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| {
        Act::Answer(reply(503, &[("retry-after", "60")], full("later")))
    })
}

#[tokio::test]
async fn what_does_nothing_twice_goes_elsewhere() {
    let expected = Expected::of_both([
        Again,
        Passed(503),
        Again,
        Passed(503),
        Passed(503),
        Passed(503),
    ]);
    check(expected, start).await;
}
