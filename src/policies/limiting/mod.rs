//! What all policies have in common that count requests: who is counted, and what clients are told.

mod answers;
mod by;
mod clients;

pub use answers::{Style, is_field, refuse};
pub use by::{By, Counted};
pub use clients::{Clients, ClientsConfig};
