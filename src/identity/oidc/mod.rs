//! Login of browsers at a provider of OpenID Connect: the mechanism behind the policy `oidc` and the action `login`.
mod config;
pub mod cookie;
pub mod exchange;
pub mod memory;
pub mod metadata;
pub mod pending;
pub mod seal;
pub mod session;
pub mod shared;
pub use config::Config;
