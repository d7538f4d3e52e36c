//! Does not answer.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| Act::Nothing)
}

#[tokio::test]
async fn what_does_nothing_twice_goes_elsewhere() {
    let expected = Expected::of_both([
        Again,
        Failed("upstream_timeout"),
        Again,
        Failed("upstream_timeout"),
        Failed("upstream_timeout"),
        Failed("upstream_timeout"),
    ]);
    check(expected, start).await;
}
