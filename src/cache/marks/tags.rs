//! Tags of responses: which fields have them, and what becomes of them.

use http::{HeaderMap, HeaderName};

use super::sign::Sign;

/// How many tags an entry has at most: 1 KiB of memory.
pub const MOST_TAGS: usize = 128;

/// The tags of an entry, in order and each once.
///
/// An entry with more than [`MOST_TAGS`] has none of them, and is purged with whatever tag is purged: so it is kept, and
/// too much is purged, but never too little. How long a tag may be is bounded by how long a response's head may be, and
/// takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    signs: Box<[Sign]>,
    are_too_many: bool,
}

/// What stands between the tags of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    Space,
    Comma,
}

/// A field with tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagField {
    pub name: HeaderName,
    pub separator: Separator,
}

impl TagField {
    /// `Surrogate-Key`, with spaces, and `Cache-Tag`, with commas.
    pub fn usual() -> [TagField; 2] {
        ["surrogate-key", "cache-tag"].map(|name| TagField::named(HeaderName::from_static(name)))
    }

    /// A field with spaces where it is one that is known for that, and otherwise with commas.
    pub fn named(name: HeaderName) -> TagField {
        let separator = match name.as_str() {
            "surrogate-key" | "xkey" | "edge-surrogate-key" => Separator::Space,
            _ => Separator::Comma,
        };
        TagField { name, separator }
    }

    fn tags<'a>(&self, value: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let separator = self.separator;
        let is_between = move |byte: &u8| match separator {
            Separator::Space => byte.is_ascii_whitespace(),
            Separator::Comma => *byte == b',',
        };
        let tags = value.split(is_between).map(<[u8]>::trim_ascii);
        tags.filter(|tag| !tag.is_empty())
    }
}

impl Tags {
    /// Those that a response has. What it costs is a SHA-256 for each, and none where no field is there.
    pub fn of(headers: &HeaderMap, fields: &[TagField]) -> Tags {
        let values = fields.iter().flat_map(|field| {
            let values = headers.get_all(&field.name).iter();
            values.flat_map(|value| field.tags(value.as_bytes()))
        });
        values.map(Sign::tag).collect()
    }

    /// Whatever tag is purged, it is about this entry.
    pub fn too_many() -> Tags {
        Tags {
            signs: Box::default(),
            are_too_many: true,
        }
    }

    /// These and others.
    #[must_use]
    pub fn and(self, others: Tags) -> Tags {
        match self.are_too_many || others.are_too_many {
            true => Tags::too_many(),
            false => self.signs.iter().chain(&others.signs).copied().collect(),
        }
    }

    pub fn are_too_many(&self) -> bool {
        self.are_too_many
    }

    pub fn signs(&self) -> &[Sign] {
        &self.signs
    }
}

impl FromIterator<Sign> for Tags {
    fn from_iter<I: IntoIterator<Item = Sign>>(signs: I) -> Tags {
        let mut all = Vec::new();
        for sign in signs {
            if let Err(place) = all.binary_search(&sign) {
                if all.len() == MOST_TAGS {
                    return Tags::too_many();
                }
                all.insert(place, sign);
            }
        }
        Tags {
            signs: all.into(),
            are_too_many: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(lines: &[(&str, &str)], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            headers.append(HeaderName::try_from(*name).expect("a name"), value);
        }
        let tags = Tags::of(&headers, &TagField::usual());
        let expected: Tags = expected
            .iter()
            .map(|tag| Sign::tag(tag.as_bytes()))
            .collect();
        assert_eq!(tags, expected, "{lines:?}");
    }

    #[test]
    fn fields_and_what_is_between() {
        check(&[], &[]);
        check(&[("surrogate-key", "")], &[]);
        check(&[("surrogate-key", " a  b\tc ")], &["a", "b", "c"]);
        check(&[("surrogate-key", "a,b c")], &["a,b", "c"]);
        check(&[("cache-tag", "a, b c ,,d,")], &["a", "b c", "d"]);
        check(&[("cache-tag", "a"), ("cache-tag", "b")], &["a", "b"]);
        check(&[("cache-tag", "a"), ("surrogate-key", "b")], &["a", "b"]);
        check(&[("cache-tag", "a,A,a")], &["a"]);
        check(&[("cache-tag", "é,ü")], &["ü", "é"]);
        check(&[("x-tag", "a")], &[]);
        let of = |name| TagField::named(HeaderName::from_static(name)).separator;
        assert_eq!(of("xkey"), Separator::Space);
        assert_eq!(of("x-my-tags"), Separator::Comma);
    }

    #[test]
    fn too_many_are_all() {
        let of = |count: usize| {
            let names: Vec<_> = (0..count).map(|index| format!("tag-{index}")).collect();
            let value = HeaderValue::try_from(names.join(" ")).expect("a value");
            let headers = [(HeaderName::from_static("surrogate-key"), value)];
            Tags::of(&headers.into_iter().collect(), &TagField::usual())
        };
        assert_eq!(of(MOST_TAGS).signs().len(), MOST_TAGS);
        assert!(!of(MOST_TAGS).are_too_many());
        assert_eq!(of(MOST_TAGS + 1), Tags::too_many());
        let signs = of(MOST_TAGS);
        assert!(signs.signs().is_sorted());
    }
}
