//! One value of a file that cannot be read as a whole.

use toml::de::DeTable;

use super::nesting;

/// The string under a key of a table, from the first line of the table's own that says it and is good by itself,
/// whatever the others are. Half of a string is none.
pub fn salvage(text: &str, table: &str, key: &str) -> Option<String> {
    let header = format!("[{table}]");
    let mut is_inside = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with('[') {
            is_inside = line.starts_with(&header);
        } else if is_inside && line.starts_with(key) {
            let value = string(line, key);
            if value.is_some() {
                return value;
            }
        }
    }
    None
}

fn string(line: &str, key: &str) -> Option<String> {
    if nesting::overlong_key(line).is_some() {
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(line);
    let value = root.get_ref().get(key).filter(|_| errors.is_empty())?;
    value.get_ref().as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_found_among_mistakes() {
        let check = |text: &str, expected: Option<&str>| {
            let found = salvage(text, "gateway", "state_dir");
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("[gateway]\nstate_dir = \"/a\"\n", Some("/a"));
        check(
            "x = [\n[gateway]\nstate_dir = '/a' # here\n[routes.a\n",
            Some("/a"),
        );
        check(
            "  [gateway] # it\nworkers = \nstate_dir = \"/a\"",
            Some("/a"),
        );
        check("[gateway]\nstate_dir = \"/a", None);
        check(
            "[gateway]\nstate_dir = 1\n[gateway]\nstate_dir = \"/b\"",
            Some("/b"),
        );
        check("[gateway.policies]\nstate_dir = \"/a\"", None);
        check("[routes]\nstate_dir = \"/a\"", None);
        check("[gateway]\n[routes]\nstate_dir = \"/a\"", None);
        check("", None);
    }
}
