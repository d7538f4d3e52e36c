//! The `northgate` command.

use std::process::ExitCode;

/// Small, quick with many threads, and gives memory back; glibc's allocator makes a long-running proxy grow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all, because Pingora installs another provider where it finds none. It fails only where there is
    // one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    northgate::cli::main()
}
