//! Manual pages and completions, made from the definition of the command line.

use std::process::{Command, Stdio};

use super::program::northgate;

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = northgate(&["man", &folder.path().display().to_string()]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let help = northgate(&["--help"]).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut count = 0;
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().expect("a command");
        if !line.starts_with("  ") || line.starts_with("   ") || name == "help" {
            continue;
        }
        let path = folder.path().join(format!("northgate-{name}.1"));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
        count += 1;
    }
    assert!(count > 5, "{help}");
    let page = std::fs::read_to_string(folder.path().join("northgate.1")).expect("the first page");
    assert!(page.contains("northgate\\-run(1)"), "{page}");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let run = northgate(&["man", "/nowhere/at/all"]);
    assert_eq!(run.code, 1);
    assert!(run.err.starts_with("error: /nowhere/at/all: "), "{run:?}");
}

#[test]
fn completions_are_scripts_of_their_shell() {
    let bash = northgate(&["completions", "bash"]);
    assert_eq!(bash.code, 0);
    let script = format!(
        "{}\nCOMP_WORDS=(northgate expl) COMP_CWORD=1\n_northgate northgate expl northgate\necho \"${{COMPREPLY[@]}}\"",
        bash.out
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .output();
    let output = output.expect("bash starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "explain\n");
    assert!(
        northgate(&["completions", "zsh"])
            .out
            .starts_with("#compdef northgate")
    );
    let fish = northgate(&["completions", "fish"]).out;
    assert!(fish.contains("complete -c northgate "), "{fish}");
    assert_eq!(northgate(&["completions", "cmd"]).code, 2);
}
