//! What the parameters of a template matched.

use smallvec::SmallVec;

/// The byte ranges of a path that a template's parameters matched, in the order of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(SmallVec<[(u32, u32); 4]>);

impl Captures {
    /// The text of a capture. `path` must be the path that was matched.
    #[must_use]
    pub fn value<'p>(&self, path: &'p str, index: usize) -> Option<&'p str> {
        let &(start, end) = self.0.get(index)?;
        path.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// The texts of all captures. `path` must be the path that was matched.
    pub fn values<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        (0..self.0.len()).filter_map(move |index| self.value(path, index))
    }

    /// The ranges themselves.
    pub fn into_ranges(self) -> crate::facts::Captures {
        self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `segment`, with which `tail`, the end of `path`, starts.
    pub(super) fn push_param(&mut self, path: &str, tail: &str, segment: &str) {
        let start = path.len() - tail.len();
        self.push(start, start + segment.len());
    }

    /// Adds all of `tail`, the end of `path`; `None` when the path ended before the slash.
    pub(super) fn push_rest(&mut self, path: &str, tail: Option<&str>) {
        self.push(path.len() - tail.map_or(0, str::len), path.len());
    }

    fn push(&mut self, start: usize, end: usize) {
        // No request line is 4 GiB long; one that were would have captures without values.
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        self.0.push((offset(start), offset(end)));
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}
