//! Reading the files.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Document;
use super::kept::Running;
use crate::text::{Diagnostics, Look, SourceId, Sources, Span, open_file};

/// Files are for people to read; one of this size is not one of ours.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
const MAX_FILES: usize = 10_000;

/// What was read, and everything that is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    pub files: Files,
    pub sources: Sources,
    pub document: Document,
    pub diagnostics: Diagnostics,
}

/// Where a configuration comes from, and how that looked just before it was read.
#[derive(Clone, Debug, Default)]
pub struct Files {
    looks: Looks,
    patterns: Vec<String>,
}

/// How files look, by their paths; `None` where there is none.
pub type Looks = BTreeMap<PathBuf, Option<Look>>;

impl Files {
    /// How everything looked that was read.
    pub fn looks(&self) -> &Looks {
        &self.looks
    }

    /// How it looks now, with what a new load would find beyond it. Blocks on the file system.
    pub fn look_again(&self) -> Looks {
        let found = self.patterns.iter().filter_map(|it| glob::glob(it).ok());
        let found = found.flatten().filter_map(Result::ok);
        let paths = found.chain(self.looks.keys().cloned());
        paths
            .map(|path| (Look::at(&path), path))
            .map(|(look, path)| (path, look))
            .collect()
    }
}

/// Reads a file and what it includes, or all `*.toml` files of a folder. It never fails: what cannot be read is
/// among the diagnostics.
pub fn load(path: &Path) -> Loaded {
    load_on(path, &Running::default())
}

/// As [`load`], without a further look at routes that say what they say in what runs.
pub(super) fn load_on(path: &Path, running: &Running<'_>) -> Loaded {
    let mut loader = Loader::new(running);
    if path.is_dir() {
        let pattern = path.join("*.toml");
        let before = loader.seen.len();
        loader.include(&pattern.to_string_lossy(), None);
        if loader.seen.len() == before {
            loader.loaded.diagnostics.error(
                None,
                format!("{}: no *.toml file in this folder", path.display()),
            );
        }
    } else {
        loader.file(path, None);
    }
    loader.loaded
}

/// Reads a text as if it stood in a file of this name.
pub fn load_text(name: &str, text: &str) -> Loaded {
    let running = Running::default();
    let mut loader = Loader::new(&running);
    loader.text(Path::new(name), text.to_owned());
    loader.loaded
}

/// Reads texts that include one another no more: everything that was to be read is there.
pub(super) fn load_texts(sources: Sources) -> Loaded {
    let mut loaded = Loaded::default();
    for source in sources.ids() {
        let Loaded {
            document,
            diagnostics,
            ..
        } = &mut loaded;
        document.read(source, &sources, &Running::default(), diagnostics);
    }
    Loaded { sources, ..loaded }
}

impl Default for Loaded {
    fn default() -> Loaded {
        Loaded {
            files: Files::default(),
            sources: Sources::new(),
            document: Document::default(),
            diagnostics: Diagnostics::new(),
        }
    }
}

impl Loaded {
    /// The folder that paths in the source are relative to.
    pub fn base(&self, source: SourceId) -> PathBuf {
        base(&self.sources, source)
    }
}

pub(super) fn base(sources: &Sources, source: SourceId) -> PathBuf {
    sources.folder(source).to_path_buf()
}

struct Loader<'r> {
    running: &'r Running<'r>,
    loaded: Loaded,
    /// Canonical paths, so that files that include each other end.
    seen: HashSet<PathBuf>,
}

impl<'r> Loader<'r> {
    fn new(running: &'r Running<'r>) -> Self {
        Loader {
            running,
            loaded: Loaded::default(),
            seen: HashSet::new(),
        }
    }

    fn file(&mut self, path: &Path, from: Option<Span>) {
        let looks = &mut self.loaded.files.looks;
        looks.insert(path.to_path_buf(), Look::at(path));
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if self.seen.len() >= MAX_FILES {
            self.loaded
                .diagnostics
                .error(from, format!("more than {MAX_FILES} files are included"));
            return;
        }
        if !self.seen.insert(canonical) {
            return;
        }
        match read(path) {
            Ok(text) => self.text(path, text),
            Err(error) => {
                self.loaded
                    .diagnostics
                    .error(from, format!("cannot read {}: {error}", path.display()));
            }
        }
    }

    fn text(&mut self, path: &Path, text: String) {
        let Loaded {
            sources,
            document,
            diagnostics,
            ..
        } = &mut self.loaded;
        let source = sources.add(path.to_string_lossy(), text);
        let includes = document.read(source, sources, self.running, diagnostics);
        let folder = base(sources, source);
        for include in includes {
            let pattern = folder.join(&include.value);
            self.include(&pattern.to_string_lossy(), Some(include.span));
        }
    }

    /// A pattern with a wildcard may find nothing; a plain path must be there.
    fn include(&mut self, pattern: &str, from: Option<Span>) {
        self.loaded.files.patterns.push(pattern.to_owned());
        let paths = match glob::glob(pattern) {
            Ok(paths) => paths,
            Err(error) => {
                self.loaded
                    .diagnostics
                    .error(from, format!("include: {}", error.msg));
                return;
            }
        };
        let mut paths: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
        paths.sort_unstable();
        if paths.is_empty() && !pattern.contains(['*', '?', '[']) {
            self.loaded
                .diagnostics
                .error(from, format!("include: there is no file {pattern}"));
        }
        for path in paths {
            self.file(&path, from);
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = open_file(path)?;
    if file.metadata()?.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_or_a_pipe_is_no_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.toml");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [Path::new("/dev/zero"), &pipe] {
            let loaded = load(path);
            let said: Vec<_> = loaded.diagnostics.iter().map(|it| &it.message).collect();
            assert!(
                said.iter().any(|it| it.ends_with("it is not a file")),
                "{said:?}"
            );
        }
    }
}
