//! What one request has taken of limits.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Key, Limiter, Standing};

/// What one request has taken of limits, and how its keys stand since.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order in which they were asked. The last one is why the request was refused, if it was.
    pub charges: SmallVec<[Charge; 1]>,
}

/// One limiter's decision about a request.
#[derive(Clone, Debug)]
pub struct Charge {
    pub limiter: Arc<Limiter>,
    pub key: Key,
    pub standing: Standing,
}
