//! Resets the connection in the place of an answer.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| Act::Break(faulty::How::Reset))
}

#[tokio::test]
async fn what_does_nothing_twice_goes_elsewhere() {
    let expected = Expected::of_both([
        Again,
        Failed("upstream_reset"),
        Again,
        Failed("upstream_reset"),
        Failed("upstream_reset"),
        Failed("upstream_reset"),
    ]);
    check(expected, start).await;
}
