//! Closes its sending side in the place of an answer, and goes on reading.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| Act::Break(faulty::How::HalfClose))
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
