//! What all policies have in common that count requests: who is counted.

mod by;

pub use by::{By, Counted};
