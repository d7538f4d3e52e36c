//! Falls silent in the middle of an answer.

use super::*;

fn start(protocol: Protocol) -> Faulty {
    faulty::start(protocol, |_| Act::Begin)
}

#[tokio::test]
async fn what_has_begun_is_sent_once() {
    let expected = Expected::of_both([
        Broken("upstream_timeout"),
        Broken("upstream_timeout"),
        Broken("upstream_timeout"),
        Broken("upstream_timeout"),
        Broken("upstream_timeout"),
        Broken("upstream_timeout"),
    ]);
    check(expected, start).await;
}
