//! Answers with what is no HTTP.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| Act::Break(faulty::How::Garbage))
}

#[tokio::test]
async fn what_does_nothing_twice_goes_elsewhere() {
    let expected = Expected::of_both([
        Again,
        Failed("upstream_protocol"),
        Again,
        Failed("upstream_protocol"),
        Failed("upstream_protocol"),
        Failed("upstream_protocol"),
    ]);
    check(expected, start).await;
}
