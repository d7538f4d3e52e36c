//! Resets the connection in the middle of an answer.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| Act::BeginAndReset)
}

#[tokio::test]
async fn what_has_begun_is_sent_once() {
    let expected = Expected::of_both([
        Broken("upstream_reset"),
        Broken("upstream_reset"),
        Broken("upstream_reset"),
        Broken("upstream_reset"),
        Broken("upstream_reset"),
        Broken("upstream_reset"),
    ]);
    check(expected, start).await;
}
