//! Conditions on headers and query parameters as written.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ValueMatch;
use crate::text::{RegexPattern, Shorthand, Spanned, Subject, shorthand, shorthand_schema};

/// What a header or a query parameter must be: `"2"` or `{ regex = "…" }`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueCondition(ValueForm);

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueForm {
    /// Exactly this.
    Exact(String),
    /// Something that begins with this.
    Prefix(String),
    /// Something that this matches as a whole.
    Regex(Spanned<String>),
    /// `true`: it must be there; `false`: it must not.
    Present(bool),
}

impl FromStr for ValueCondition {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(ValueCondition(ValueForm::Exact(text.into())))
    }
}

impl From<ValueForm> for ValueCondition {
    fn from(form: ValueForm) -> Self {
        ValueCondition(form)
    }
}

impl Shorthand for ValueCondition {
    type Long = ValueForm;
    const EXPECTED: &'static str = "a value such as \"2\", or a table such as { prefix = \"2.\" }, { regex = \"2|3\" } or { present = true }";
}

impl<'de> Deserialize<'de> for ValueCondition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for ValueCondition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ValueCondition".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        shorthand_schema::<Self>(generator)
    }
}

impl ValueCondition {
    pub(super) fn build(&self, subject: &mut Subject<'_>) -> Option<ValueMatch> {
        Some(match &self.0 {
            ValueForm::Exact(text) => ValueMatch::Exact(text.as_str().into()),
            ValueForm::Prefix(text) => ValueMatch::Prefix(text.as_str().into()),
            ValueForm::Present(is_there) => ValueMatch::Present(*is_there),
            ValueForm::Regex(source) => {
                ValueMatch::Regex(RegexPattern::build(source, &mut subject.key("regex"))?)
            }
        })
    }
}
