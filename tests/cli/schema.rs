//! `northgate schema` and `northgate errors`: what editors and the documents are made from.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::program::{golden, json, northgate};

#[test]
fn the_schema_takes_what_the_program_takes() {
    let validator = schema();
    let mut count = 0;
    let mut refused = String::new();
    let folders = [
        "conf",
        "tests/config/accept",
        "tests/config/accept/include",
        "tests/config/accept/folder",
    ];
    for path in folders.into_iter().flat_map(toml_files) {
        let document = toml(&path);
        for error in validator.iter_errors(&document) {
            refused += &format!("{}: {}: {error}\n", path.display(), error.instance_path());
        }
        count += 1;
    }
    assert!(count > 30, "{count} files");
    assert!(refused.is_empty(), "\n{refused}");
}

/// What is wrong by its shape alone an editor can underline; names and files it cannot know.
#[test]
fn the_schema_refuses_what_has_a_wrong_shape() {
    let validator = schema();
    let mut taken = Vec::new();
    for name in [
        "admin-missing-bind",
        "gateway-access-log-format",
        "gateway-policy-unknown",
        "gateway-unknown-key",
        "gateway-workers-zero",
        "include-not-an-array",
        "listener-limits-unknown-key",
        "listener-protocol-unknown",
        "listener-timeouts-unit",
        "listener-tls-key-string",
        "listener-tls-min-version",
        "policy-on",
        "policy-unknown-key",
        "route-header-condition-unknown",
        "route-match-unknown-key",
        "route-method-lowercase",
        "route-missing-match",
        "section-array",
        "section-unknown",
        "upstream-balance-unknown",
        "upstream-endpoint-unknown-key",
        "upstream-endpoint-weight-zero",
        "upstream-missing-endpoints",
        "upstream-protocol-unknown",
    ] {
        let path = PathBuf::from(format!("tests/config/reject/{name}.toml"));
        if validator.is_valid(&toml(&path)) {
            taken.push(name);
        }
    }
    assert!(taken.is_empty(), "{taken:?}");
}

fn schema() -> jsonschema::Validator {
    let run = northgate(&["schema"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let schema = json(&run.out);
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).expect("it is a schema")
}

#[test]
fn errors_prints_the_index() {
    let run = northgate(&["errors"]);
    assert_eq!(run.code, 0);
    assert_eq!(run.out, golden("src/response/errors.md"));
}

fn toml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the file can be read");
    let document = toml::from_str(&text);
    let mut document = document.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    dates_as_strings(&mut document);
    document
}

/// Which is what editors take them for: JSON, of which the schema is, has no dates.
fn dates_as_strings(value: &mut Value) {
    match value {
        Value::Object(table) => match table.get("$__toml_private_datetime") {
            Some(date) => *value = date.clone(),
            None => table.values_mut().for_each(dates_as_strings),
        },
        Value::Array(elements) => elements.iter_mut().for_each(dates_as_strings),
        _ => {}
    }
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("tests run in the crate's root");
    entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect()
}
