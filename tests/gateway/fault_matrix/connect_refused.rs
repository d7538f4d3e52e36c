//! Nobody listens.

use std::fmt;
use std::net::SocketAddr;

use super::*;

struct Nobody(SocketAddr);

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Fault for Nobody {
    fn asked(&self) -> Vec<Asked> {
        Vec::new()
    }
}

#[tokio::test]
async fn any_request_goes_elsewhere() {
    let expected = Expected {
        reads: Reads::Nothing,
        ..Expected::of_both([Again; 6])
    };
    check(expected, |_| Nobody(own_address())).await;
}
