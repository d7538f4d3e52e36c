//! Values of a request as CEL has them. Text is lent, not copied.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use serde_json::{Map, Value};

/// The longest text that a request can put into an expression, in bytes.
pub(super) const LONGEST_TEXT: usize = 64 * 1024;
/// The most values in one value, names of fields among them.
pub(super) const MOST_VALUES: usize = 1024;
/// How deep a claim may be.
const DEEPEST: usize = 16;

pub(super) fn truth<'v>(truth: bool) -> CowVal<'v, 'v> {
    CowVal::owned(CelBool::from(truth))
}

/// `None` where there are too many.
pub(super) fn list<'v>(texts: impl Iterator<Item = Cow<'v, str>>) -> Option<CowVal<'v, 'v>> {
    let mut budget = Budget::default();
    let mut values: Vec<Box<dyn Val + 'v>> = Vec::new();
    for text in texts {
        budget.spend(text.len())?;
        values.push(Box::new(string(text)));
    }
    Some(CowVal::owned(CelList::from(values)))
}

pub(super) fn string(text: Cow<'_, str>) -> CelString<'_> {
    match text {
        Cow::Borrowed(text) => CelString::from(text),
        Cow::Owned(text) => CelString::from(text),
    }
}

/// How much more of one value there may be: its elements and the bytes of all text in them.
struct Budget {
    values: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            values: MOST_VALUES,
            bytes: LONGEST_TEXT,
        }
    }
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.values = self.values.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(())
    }
}

/// A claim, or all of them.
#[derive(Clone, Copy)]
pub(super) enum Claim<'v> {
    All(&'v Map<String, Value>),
    One(&'v Value),
}

/// `None` for what is too large or too deep.
pub(super) fn json(claim: Claim<'_>) -> Option<CowVal<'_, '_>> {
    let mut budget = Budget::default();
    Some(CowVal::Owned(match claim {
        Claim::All(claims) => map(claims, &mut budget, DEEPEST)?,
        Claim::One(value) => one(value, &mut budget, DEEPEST)?,
    }))
}

/// JSON of which nothing is kept elsewhere. `None` for what is too large or too deep.
pub(super) fn parsed<'v>(text: &str) -> Option<CowVal<'v, 'v>> {
    // What it takes as text is about what it takes as values.
    let value: Value = (text.len() <= LONGEST_TEXT).then(|| serde_json::from_str(text).ok())??;
    owned(value, &mut Budget::default(), DEEPEST).map(CowVal::Owned)
}

fn owned<'v>(value: Value, budget: &mut Budget, depth: usize) -> Option<Box<dyn Val + 'v>> {
    let depth = depth.checked_sub(1)?;
    Some(match value {
        Value::String(text) => {
            budget.spend(text.len())?;
            Box::new(CelString::from(text))
        }
        Value::Array(elements) => {
            budget.spend(0)?;
            let elements = elements
                .into_iter()
                .map(|element| owned(element, budget, depth));
            let elements: Option<Vec<_>> = elements.collect();
            Box::new(CelList::from(elements?))
        }
        Value::Object(fields) => {
            budget.spend(0)?;
            let fields = fields.into_iter().map(|(name, value)| {
                budget.spend(name.len())?;
                let value = owned(value, budget, depth)?;
                Some((CelMapKey::from(name), value))
            });
            let fields: Option<HashMap<_, _>> = fields.collect();
            Box::new(CelMap::from(fields?))
        }
        scalar => {
            budget.spend(0)?;
            scalar_of(&scalar)?
        }
    })
}

/// What is no text and has nothing in it.
fn scalar_of<'v>(value: &Value) -> Option<Box<dyn Val + 'v>> {
    Some(match value {
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => Box::new(CelDouble::from(number.as_f64()?)),
        },
        _ => Box::new(CelNull),
    })
}

fn one<'v>(value: &'v Value, budget: &mut Budget, depth: usize) -> Option<Box<dyn Val + 'v>> {
    let bytes = value.as_str().map_or(0, str::len);
    budget.spend(bytes)?;
    let depth = depth.checked_sub(1)?;
    Some(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => scalar_of(value)?,
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(elements) => {
            let elements = elements.iter().map(|element| one(element, budget, depth));
            let elements: Option<Vec<_>> = elements.collect();
            Box::new(CelList::from(elements?))
        }
        Value::Object(fields) => map(fields, budget, depth)?,
    })
}

fn map<'v>(
    fields: &'v Map<String, Value>,
    budget: &mut Budget,
    depth: usize,
) -> Option<Box<dyn Val + 'v>> {
    let fields = fields.iter().map(|(name, value)| {
        budget.spend(name.len())?;
        let value = one(value, budget, depth)?;
        Some((CelMapKey::from(name.as_str()), value))
    });
    let fields: Option<HashMap<_, _>> = fields.collect();
    Some(Box::new(CelMap::from(fields?)))
}
