//! The program as its users meet it: the real binary, its exit codes and what it prints. One file per command.
//!
//! What `explain` says is pinned; `NORTHGATE_BLESS=1 cargo test --test cli` writes these files anew.

mod program;
mod running;

mod breakers;
mod canaries;
mod check;
mod demo;
mod diff;
mod documents;
mod explain;
mod health;
mod key;
mod last_good;
mod limits;
mod reload;
mod run;
mod sandbox;
mod schema;
mod size;
mod usage;
