//! Where parts land in the answer: `at` and `merge`.

use super::config::{Merge, PartConfig};
use super::json::written;
use super::shape::{Path, Shape};
use crate::text::{Name, Span, Spanned, Subject, quoted};

/// What the gateway itself says in an answer.
pub(super) const DEGRADED: &str = "degraded";
pub(super) const DEGRADED_PARTS: &str = "degraded_parts";

/// Where a part lands.
#[derive(Clone, Debug, PartialEq)]
pub struct Landing {
    /// The fields that lead there. Empty where its own fields are those of the answer.
    pub at: Box<[Box<str>]>,
    pub merge: Option<Merge>,
}

/// The answer as a whole: objects, with parts in them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Layout {
    pub root: Vec<Entry>,
    /// The parts whose fields are those of the answer, in order.
    pub fields: Vec<usize>,
    /// What becomes one with what is in a place already, in order.
    pub merges: Vec<Merging>,
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    name: Box<str>,
    /// As JSON has it, with its colon.
    pub key: Box<str>,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    Object(Vec<Entry>),
    Part(usize),
}

/// A part that becomes one with another.
#[derive(Clone, Debug, PartialEq)]
pub struct Merging {
    pub part: usize,
    pub into: usize,
    /// The fields that lead from where the other lands to where this one does.
    pub at: Box<[Box<str>]>,
    pub how: Merge,
}

/// A place, by the fields that lead there, and the part that fills it.
type Filled = (usize, Box<[Box<str>]>);

/// A part as far as it matters where it lands.
pub(super) struct Lander<'c> {
    pub(super) name: &'c Spanned<Name>,
    pub(super) config: &'c PartConfig,
    pub(super) shape: &'c Shape,
}

impl Lander<'_> {
    fn span(&self) -> Span {
        self.config.at.as_ref().map_or(self.name.span, |at| at.span)
    }

    fn landing(&self, subject: &mut Subject<'_>) -> Option<Landing> {
        let merge = self.config.merge.as_ref().map(|merge| merge.value.clone());
        let Some(at) = &self.config.at else {
            let at = [self.name.as_str().into()].into();
            return Some(Landing { at, merge });
        };
        let mut subject = subject.key("at");
        let names = match Path::parse(&at.value) {
            Ok(path) => path
                .names()
                .map(|names| names.into_iter().map(Into::into).collect()),
            Err(_) => None,
        };
        match names {
            Some(names) => Some(Landing { at: names, merge }),
            None => {
                let got = quoted(&at.value);
                let what = format!("must be a field such as \"cart\" or \"user.cart\", got {got}");
                subject.error(at.span, what);
                None
            }
        }
    }

    /// The places that it fills: its own, or those of its fields. `None` after diagnostics.
    fn filled(&self, landing: &Landing, subject: &mut Subject<'_>) -> Option<Vec<Box<[Box<str>]>>> {
        if !landing.at.is_empty() {
            return Some(vec![landing.at.clone()]);
        }
        let Some(names) = self.shape.names() else {
            let what = "puts fields into the answer itself, so it has to say which";
            let mut subject = subject.key("at");
            let problem = subject.error(self.span(), what);
            problem.help("write pick = [\"…\"], or let it land under a name of its own");
            return None;
        };
        let is_known = |name: &String| names.contains(name);
        let good_default = match &self.config.default {
            None => true,
            Some(serde_json::Value::Object(fields)) => fields.keys().all(is_known),
            Some(_) => false,
        };
        if !good_default {
            let what = "must be an object with no other fields than it picks";
            subject.key("default").error(self.span(), what);
            return None;
        }
        Some(names.into_iter().map(|name| [name.into()].into()).collect())
    }
}

impl Layout {
    /// Parts go by their places in `landers`. `None` after diagnostics; no two parts that do not merge ever have the same
    /// place, or one in another's.
    pub(super) fn build(landers: &[Lander<'_>], subject: &mut Subject<'_>) -> Option<Layout> {
        let before = subject.error_count();
        let mut landings = Vec::with_capacity(landers.len());
        for lander in landers {
            landings.push(lander.landing(&mut subject.key(lander.name.as_str()))?);
        }
        let mut filled: Vec<Filled> = Vec::new();
        for (part, (lander, landing)) in landers.iter().zip(&landings).enumerate() {
            if landing.merge.is_some() {
                continue;
            }
            let mut subject = subject.key(lander.name.as_str());
            let Some(places) = lander.filled(landing, &mut subject) else {
                continue;
            };
            for place in places {
                check_free(landers, &filled, lander, &place, &mut subject);
                filled.push((part, place));
            }
        }
        let mut layout = Layout::default();
        for (part, (lander, landing)) in landers.iter().zip(&landings).enumerate() {
            match &landing.merge {
                Some(how) => {
                    let mut subject = subject.key(lander.name.as_str());
                    let it = merging(part, landing, how, (&filled, &landings));
                    match it {
                        Some(it) => layout.merges.push(it),
                        None => no_base(lander, landing, &mut subject),
                    }
                }
                None if landing.at.is_empty() => layout.fields.push(part),
                None => put(&mut layout.root, &landing.at, part),
            }
        }
        (subject.error_count() == before).then_some(layout)
    }
}

/// Says so where a place is somebody else's, or the gateway's.
fn check_free(
    landers: &[Lander<'_>],
    filled: &[Filled],
    lander: &Lander<'_>,
    place: &[Box<str>],
    subject: &mut Subject<'_>,
) {
    let written = place.join(".");
    if let Some(first @ (DEGRADED | DEGRADED_PARTS)) = place.first().map(|it| &**it) {
        let what = format!("lands at `{first}`, where the gateway says what is missing");
        let problem = subject.error(lander.span(), what);
        problem.help("write at = \"…\" with another name");
    }
    let overlaps = |other: &[Box<str>]| place.starts_with(other) || other.starts_with(place);
    let mut others = filled.iter();
    if let Some((other, theirs)) = others.find(|(_, theirs)| overlaps(theirs))
        && let Some(other) = landers.get(*other)
    {
        let theirs = theirs.join(".");
        let what = match theirs == written {
            true => format!("lands at `{written}`, and so does `{}`", other.name.value),
            false => format!(
                "lands at `{written}`, which does not go with `{}` at `{theirs}`",
                other.name.value
            ),
        };
        let problem = subject.error(lander.span(), what);
        problem.also(other.span(), format!("`{}`", other.name.value));
        problem.help("write at = \"…\" with another name, or merge where both are meant to be one");
    }
}

/// The part that is at the place, or about it.
fn merging(
    part: usize,
    landing: &Landing,
    how: &Merge,
    (filled, landings): (&[Filled], &[Landing]),
) -> Option<Merging> {
    if landing.at.is_empty() {
        return None;
    }
    let mut bases = filled.iter();
    let (into, _) = bases.find(|(_, place)| landing.at.starts_with(place))?;
    let base = landings.get(*into)?;
    Some(Merging {
        part,
        into: *into,
        at: landing.at.strip_prefix(&*base.at)?.into(),
        how: how.clone(),
    })
}

fn no_base(lander: &Lander<'_>, landing: &Landing, subject: &mut Subject<'_>) {
    let what = match landing.at.is_empty() {
        true => "merges with the answer itself; it can do so with another part alone".to_owned(),
        false => format!(
            "merges with what lands at `{}`, and no other part does",
            landing.at.join(".")
        ),
    };
    let problem = subject.error(lander.span(), what);
    problem.help("write at = \"…\" where another part without merge lands, or in what that has");
}

fn put(entries: &mut Vec<Entry>, at: &[Box<str>], part: usize) {
    let Some((name, deeper)) = at.split_first() else {
        return;
    };
    let place = match deeper {
        [] => Place::Part(part),
        deeper => {
            if let Some(Entry {
                place: Place::Object(inner),
                ..
            }) = entries.iter_mut().find(|entry| entry.name == *name)
            {
                return put(inner, deeper, part);
            }
            let mut inner = Vec::new();
            put(&mut inner, deeper, part);
            Place::Object(inner)
        }
    };
    entries.push(Entry {
        name: name.clone(),
        key: format!("{}:", written(name)).into(),
        place,
    });
}
