//! From files to a running configuration.
//!
//! In: paths of TOML files. Out: a [`Configuration`], or every reason why there is none. Two steps, each of
//! which reports all of its problems: [`load`] for the **shape** (files, includes, types: a [`Document`]), and where
//! that is sound [`compile()`], which **resolves** names that refer to each other and **compiles** templates,
//! certificates, tables and pipelines.
//! This is the only room that names the configs of all others, and it must never know a request.

mod compile;
mod document;
mod gateway;
mod listeners;
mod load;
mod routes;
mod schema;
mod warnings;

#[cfg(test)]
mod fuzz;

pub use compile::{Configuration, Settings, compile, recompile};
pub use document::{Document, Objects};
pub use gateway::{GatewayConfig, SandboxConfig};
pub use load::{Files, Loaded, Looks, load, load_text};
pub use schema::schema;
