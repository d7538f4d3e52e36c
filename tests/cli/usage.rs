//! Mistakes on the command line, and help.

use super::program::northgate;

#[test]
fn mistakes_of_usage_exit_with_2() {
    for arguments in [
        &["chekc"][..],
        &[],
        &["check", "--no-such-flag"],
        &["explain", "-c", "conf/shop.toml", "GET"],
    ] {
        let run = northgate(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.err.contains("Usage:"), "{arguments:?}: {run:?}");
    }
    let near = northgate(&["chekc"]);
    assert!(near.err.contains("'check'"), "{near:?}");
}

#[test]
fn help_and_version_exit_with_0() {
    let version = northgate(&["--version"]);
    assert_eq!(version.code, 0);
    assert_eq!(
        version.out,
        format!("northgate {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = northgate(&["--help"]);
    assert_eq!(help.code, 0);
    for command in [
        "run",
        "check",
        "diff",
        "explain",
        "health",
        "limits",
        "breakers",
        "schema",
        "errors",
        "key",
        "token",
        "demo",
        "completions",
        "man",
    ] {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{}",
            help.out
        );
    }
}
