//! One process takes the place of another: the real binary, started, upgraded, broken and killed; and what the service
//! manager gives it and is told.

#[path = "../cli/program.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of the command line, which use more of it"
)]
mod program;
#[path = "../cli/running.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of the command line, which use more of it"
)]
mod running;
mod service;

mod activation;
mod cache;
mod failures;
mod killed;
mod notify;
mod succession;
