//! Accepts, reads, and never says a word.

use super::wait_for_close;
use crate::harness::RawOrigin;

pub fn start() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move { wait_for_close(&mut stream).await })
}
