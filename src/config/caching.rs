//! The `[cache]` of a configuration, compiled.

use std::path::Path;

use super::document::Document;
use crate::cache::Settings;
use crate::stores::Stores;
use crate::text::{Diagnostics, Sources, Subject};

/// How much is kept, and where. `state` is where paths begin; where there is none, they begin at the folder of the file.
pub(super) fn settings(
    document: &Document,
    sources: &Sources,
    (state, stores): (Option<&Path>, &Stores),
    diagnostics: &mut Diagnostics,
) -> Settings {
    let Some(section) = &document.cache else {
        return Settings::default();
    };
    let folder = sources.folder(section.config.span.source);
    let subject = &mut Subject::new(diagnostics, "cache");
    let base = state.unwrap_or(folder);
    section.config.value.settings(base, stores, subject)
}
