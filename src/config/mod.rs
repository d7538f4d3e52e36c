//! From files to a running configuration.
//!
//! In: paths of TOML files. Out: a [`Configuration`], or every reason why there is none. Two steps, each of
//! which reports all of its problems: [`load`] for the **shape** (files, includes, types: a [`Document`]), and where
//! that is sound [`compile()`], which **resolves** names that refer to each other and **compiles** templates,
//! certificates, tables and pipelines.
//! This is the only room that names the configs of all others, and it must never know a request.

mod archive;
mod caching;
mod changes;
mod compile;
mod diff;
mod document;
mod gateway;
mod kept;
mod last_good;
mod listeners;
mod load;
mod parts;
mod plans;
mod quarantine;
mod routes;
mod schema;
mod secrets;
mod tables;
mod warnings;

#[cfg(test)]
mod fuzz;

pub use archive::{Archive, ArchiveError};
pub use changes::{Change, Changes, Kind, Place, ValueChange, What};
pub use compile::{Configuration, Settings, compile, recompile, reload};
pub use diff::{NoDiff, diff, diff_with_files};
pub use document::{Document, Objects};
pub use gateway::{GatewayConfig, SandboxConfig};
pub use last_good::{
    NoLastGood, Origin, Start, StartRefused, keep, make_folder, remove_leftovers, start,
};
pub use load::{Files, Loaded, Looks, load, load_text};
pub use parts::part_name;
pub use quarantine::{OnError, Quarantined};
pub use schema::schema;
