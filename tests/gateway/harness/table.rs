//! Tables of cases.

use std::collections::HashSet;

/// That cases have names of their own, and that none was lost.
#[track_caller]
pub fn assert_named<'a>(names: impl IntoIterator<Item = &'a str>, least: usize) {
    let (mut known, mut all) = (HashSet::new(), 0);
    for name in names {
        assert!(known.insert(name), "{name:?} is there twice");
        all += 1;
    }
    assert!(all >= least, "{all} of {least} cases are left");
}
