//! Nothing answers an attempt to connect.

use super::*;
use crate::origins::black_hole::{self, BlackHole};

impl Fault for BlackHole {
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
    check(expected, |_| black_hole::start()).await;
}
