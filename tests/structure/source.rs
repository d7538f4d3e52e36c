//! The files under `src/`, and which rooms they name.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::lexer::{blank_comments_and_literals, blank_tests, first_names, is_word, line_of};

/// One file under `src/`.
pub struct SourceFile {
    /// Relative to the crate.
    pub path: PathBuf,
    /// The folder or file right under `src/`; none for `main.rs` and `lib.rs`.
    pub room: Option<String>,
    pub text: String,
    /// Without comments and the insides of literals, byte for byte in the same place.
    pub all_code: String,
    /// Also without what is only compiled for tests.
    pub code: String,
}

impl SourceFile {
    fn read(path: PathBuf) -> SourceFile {
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        let all_code = blank_comments_and_literals(&text);
        let code = blank_tests(&all_code);
        let below: Vec<String> = path
            .components()
            .skip(1)
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        let room = match below.as_slice() {
            [file] if ["main.rs", "lib.rs"].contains(&file.as_str()) => None,
            [first, ..] => Some(first.trim_end_matches(".rs").to_owned()),
            [] => None,
        };
        SourceFile {
            path,
            room,
            text,
            all_code,
            code,
        }
    }

    /// The rooms named by `crate::ROOM`, `crate::{ROOM, …}` and a `super::` that leaves the room.
    pub fn rooms_used(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let out_of_room = "super::".repeat(self.module_depth());
        for root in ["crate::", out_of_room.as_str()] {
            for (at, _) in self.code.match_indices(root) {
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|before| is_word(before) || before == ':') {
                    continue;
                }
                let line = line_of(&self.code, at);
                let names = first_names(&self.code[at + root.len()..]);
                // Public items of the crate's root, such as macros, are in no room.
                found.extend(
                    names
                        .into_iter()
                        .filter(|name| name.starts_with(char::is_lowercase))
                        .map(|name| (line, name)),
                );
            }
        }
        found
    }

    /// How many `super` lead from this file's module to the crate's root.
    fn module_depth(&self) -> usize {
        let components = self.path.components().count() - 1;
        if self.path.ends_with("mod.rs") {
            components - 1
        } else {
            components
        }
    }
}

/// All files that run; those behind `#[cfg(test)] mod NAME;` are left out.
pub fn files() -> Vec<SourceFile> {
    let mut paths = Vec::new();
    collect(Path::new("src"), &mut paths);
    paths.sort_unstable();
    assert!(paths.len() > 50, "tests run in the crate's root");
    let files: Vec<SourceFile> = paths.into_iter().map(SourceFile::read).collect();
    let tests: BTreeSet<PathBuf> = files.iter().flat_map(test_modules).collect();
    // With a folder goes all that is in there.
    let folders: BTreeSet<&Path> = tests
        .iter()
        .filter(|path| path.ends_with("mod.rs"))
        .filter_map(|path| path.parent())
        .collect();
    let is_test = |file: &SourceFile| {
        let mut around = file.path.ancestors();
        tests.contains(&file.path) || around.any(|folder| folders.contains(folder))
    };
    files.into_iter().filter(|file| !is_test(file)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The files of `#[cfg(test)] mod NAME;`.
fn test_modules(file: &SourceFile) -> Vec<PathBuf> {
    let is_door = ["mod.rs", "lib.rs", "main.rs"]
        .iter()
        .any(|door| file.path.ends_with(door));
    let folder = if is_door {
        folder_of(&file.path)
    } else {
        file.path.with_extension("")
    };
    let modules = file
        .all_code
        .match_indices("#[cfg(test)]")
        .filter_map(|(at, attribute)| {
            let item = at + attribute.len();
            let end = item + file.all_code[item..].find([';', '{'])?;
            let (attributes, name) = file.all_code[item..end].rsplit_once("mod ")?;
            if !file.all_code[end..].starts_with(';') {
                return None;
            }
            Some(match attributes.contains("path") {
                // The literal is blank in the code.
                true => vec![folder_of(&file.path).join(file.text[item..end].split('"').nth(1)?)],
                false => vec![
                    folder.join(format!("{name}.rs")),
                    folder.join(name).join("mod.rs"),
                ],
            })
        });
    modules.flatten().collect()
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}
