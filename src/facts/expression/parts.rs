//! What an expression can name of an aggregation's parts: `parts.profile.body.tier == "gold"`.

use cel::common::types::CelInt;
use cel::common::value::CowVal;
use http::HeaderName;

use super::chain::Step;
use super::typing::Type;
use super::values;
use super::variables::{Named, Variable};
use super::{ExpressionError, Problem};
use crate::facts::{Gathered, Key, PartField, Variables, What};
use crate::text::nearest;

const FIELDS: [&str; 3] = ["body", "headers", "status"];

/// `steps` is what follows `parts`, the part's name first.
pub(super) fn named(steps: &[Step], variables: Variables<'_>) -> Result<Named, ExpressionError> {
    let [name, rest @ ..] = steps else {
        return Err(ExpressionError::new(0..0, Problem::Object("parts".into())));
    };
    let parts = variables.parts();
    let Some(part) = parts.iter().position(|known| *known == name.name) else {
        let error = ExpressionError::new(name.at.clone(), Problem::UnknownPart(name.name.clone()));
        return Err(match nearest(&name.name, parts.iter().map(|it| &**it)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        });
    };
    let named = |what, of, steps| {
        let variable = Variable::Part(PartField { part, what });
        Ok(Named {
            variable,
            of,
            steps,
        })
    };
    let Some((field, deeper)) = rest.split_first() else {
        let object = format!("parts.{}", name.name);
        let help =
            format!("write `{object}.body`, `{object}.status` or `{object}.headers[\"NAME\"]`");
        let error = ExpressionError::new(name.at.clone(), Problem::Object(object.into()));
        return Err(error.help(help));
    };
    match (&*field.name, deeper) {
        ("status", _) => named(What::Status, Type::Int, 2),
        ("headers", [wanted, ..]) => match HeaderName::try_from(&*wanted.name) {
            Ok(header) => named(What::Header(header), Type::Text, 3),
            Err(_) => Err(ExpressionError::new(
                wanted.at.clone(),
                Problem::HeaderName(wanted.name.clone()),
            )),
        },
        ("headers", []) => {
            let object = format!("parts.{}.headers", name.name);
            let error = ExpressionError::new(field.at.clone(), Problem::ByNameAlone(object.into()));
            Err(error)
        }
        ("body", path) => {
            let keys = path.iter().map(|step| Key::Field(step.name.clone()));
            named(What::Body(keys.collect()), Type::Dyn, steps.len())
        }
        (other, _) => {
            let error = ExpressionError::new(field.at.clone(), Problem::UnknownField(other.into()));
            Err(error.help(match nearest(other, FIELDS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "known are `body`, `headers` and `status`".to_owned(),
            }))
        }
    }
}

pub(super) fn value<'v>(field: &PartField, gathered: Gathered<'v>) -> Option<CowVal<'v, 'v>> {
    let (part, answers) = (field.part, gathered.answers);
    match &field.what {
        What::Status => {
            let status = answers.status(part)?;
            Some(CowVal::owned(CelInt::from(i64::from(status.as_u16()))))
        }
        What::Header(name) => {
            let text = answers.header(part, name)?.to_str().ok()?;
            Some(CowVal::owned(values::string(text.into())))
        }
        What::Body(path) => values::parsed(&answers.body(part, path)?),
        What::Shaped => values::parsed(&answers.shaped(part)?),
    }
}

/// Whether it is there, also where it is nothing that an expression could use.
pub(super) fn is_present(field: &PartField, gathered: Gathered<'_>) -> bool {
    let (part, answers) = (field.part, gathered.answers);
    match &field.what {
        What::Status => answers.status(part).is_some(),
        What::Header(name) => answers.header(part, name).is_some(),
        What::Body(path) => answers.body(part, path).is_some(),
        What::Shaped => answers.shaped(part).is_some(),
    }
}

impl Variable {
    /// What it names of a part.
    pub(super) fn part(&self) -> Option<&PartField> {
        match self {
            Variable::Part(field) => Some(field),
            Variable::Has(inner) => inner.part(),
            _ => None,
        }
    }

    /// The client's header that it names.
    pub(super) fn client_header(&self) -> Option<&HeaderName> {
        match self {
            Variable::Header(name) => Some(name),
            Variable::Has(inner) => inner.client_header(),
            _ => None,
        }
    }

    pub(super) fn is_of_caller(&self) -> bool {
        match self {
            Variable::ClientIp | Variable::RequestId => true,
            Variable::Identity(_)
            | Variable::Claim(_)
            | Variable::Certificate
            | Variable::CertificateField(_) => true,
            Variable::Has(inner) => inner.is_of_caller(),
            _ => false,
        }
    }
}
