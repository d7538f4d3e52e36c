//! What all policies have in common that count requests: who is counted, by which plan and at what cost, and what clients
//! are told.

mod answers;
mod by;
mod by_plan;
mod clients;
mod cost;
mod counting;
mod draft;
mod written;

pub use answers::{Style, is_field, refuse};
pub use by::{By, ByConfig, Counted};
pub use by_plan::{ByPlan, are_plans, check_plans};
pub use clients::{Clients, ClientsConfig};
pub use cost::{Cost, CostConfig, ResponseCost};
pub use counting::Counting;
pub use draft::Draft;
pub use written::Written;
