//! Answers with 500.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| Act::Answer(reply(500, &[], full("it broke"))))
}

#[tokio::test]
async fn what_does_nothing_twice_goes_elsewhere() {
    let expected = Expected::of_both([
        Again,
        Passed(500),
        Again,
        Passed(500),
        Passed(500),
        Passed(500),
    ]);
    check(expected, start).await;
}
