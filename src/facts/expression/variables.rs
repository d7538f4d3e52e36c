//! What an expression can name, and the values of that.

use std::borrow::Cow;

use cel::common::types::CelString;
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use http::HeaderName;
use serde_json::{Map, Value};

use super::chain::Step;
use super::functions::Pattern;
use super::parts;
use super::typing::Type;
use super::values::{self, LONGEST_TEXT};
use super::{ExpressionError, Problem};
use crate::facts::asked::{decode, header, parameter, query};
use crate::facts::{Gathered, PartField, Variables, View, host};
use crate::identity::{CertificateField, Identity};
use crate::text::nearest;

/// Something that an expression names. Each is looked up where the evaluation comes to it, and not before.
#[derive(Debug)]
pub(super) struct Slot {
    /// As it was written.
    pub(super) name: Box<str>,
    pub(super) variable: Variable,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Variable {
    Identity(IdentityField),
    /// A claim in claims; all of them where the path is empty.
    Claim(Box<[Box<str>]>),
    Method,
    Scheme,
    RequestId,
    Host,
    Path,
    Header(HeaderName),
    Query(Box<str>),
    Capture(usize),
    ClientIp,
    Certificate,
    CertificateField(CertificateField),
    /// Something of an aggregation's part.
    Part(PartField),
    /// Whether another is there.
    Has(Box<Variable>),
    Pattern(Pattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdentityField {
    Subject,
    Consumer,
    Plan,
    Credential,
    Authenticator,
    Provider,
    Scopes,
    Roles,
    Groups,
}

const ROOTS: [&str; 4] = ["identity", "request", "path", "client"];

const IDENTITY: [(&str, IdentityField); 9] = [
    ("subject", IdentityField::Subject),
    ("consumer", IdentityField::Consumer),
    ("plan", IdentityField::Plan),
    ("credential", IdentityField::Credential),
    ("authenticator", IdentityField::Authenticator),
    ("provider", IdentityField::Provider),
    ("scopes", IdentityField::Scopes),
    ("roles", IdentityField::Roles),
    ("groups", IdentityField::Groups),
];

const REQUEST: [(&str, Variable); 5] = [
    ("method", Variable::Method),
    ("scheme", Variable::Scheme),
    ("id", Variable::RequestId),
    ("host", Variable::Host),
    ("path", Variable::Path),
];

/// What a chain of fields begins with.
pub(super) struct Named {
    pub(super) variable: Variable,
    pub(super) of: Type,
    /// How many of the steps it takes.
    pub(super) steps: usize,
}

/// Finds what `root.step.step…` begins with.
pub(super) fn named(
    root: &Step,
    steps: &[Step],
    variables: Variables<'_>,
) -> Result<Named, ExpressionError> {
    let fail = |step: &Step, problem: fn(Box<str>) -> Problem| {
        ExpressionError::new(step.at.clone(), problem(step.name.clone()))
    };
    let Some(first) = steps.first() else {
        return Err(if roots(variables).contains(&&*root.name) {
            fail(root, Problem::Object).help(fields_of(&root.name, variables))
        } else {
            let error = fail(root, Problem::UnknownName);
            unknown(error, &root.name, &roots(variables))
        });
    };
    let one = |variable, of| Named {
        variable,
        of,
        steps: 1,
    };
    match (&*root.name, &*first.name) {
        ("identity", "claims") => {
            let path: Box<[_]> = steps[1..].iter().map(|step| step.name.clone()).collect();
            let of = if path.is_empty() {
                Type::Map(Box::new(Type::Dyn))
            } else {
                Type::Dyn
            };
            Ok(Named {
                variable: Variable::Claim(path),
                of,
                steps: steps.len(),
            })
        }
        ("identity", name) => match IDENTITY.iter().find(|(known, _)| *known == name) {
            Some((_, field)) => Ok(one(Variable::Identity(*field), field.type_of())),
            None => {
                let known: Vec<_> = IDENTITY.iter().map(|(name, _)| *name).collect();
                let error = fail(first, Problem::UnknownField);
                let claims = format!("a claim is `identity.claims.{name}`");
                Err(
                    match nearest(name, known.iter().copied().chain(["claims"])) {
                        Some(near) => error.help(format!("did you mean `{near}`?")),
                        None => error.help(claims),
                    },
                )
            }
        },
        ("request", map @ ("headers" | "query")) => {
            let Some(step) = steps.get(1) else {
                let at = root.at.start..first.at.end;
                let problem = Problem::ByNameAlone(format!("request.{map}").into());
                let help = format!("write `request.{map}[\"…\"]`");
                return Err(ExpressionError::new(at, problem).help(help));
            };
            let variable = if map == "query" {
                Variable::Query(step.name.clone())
            } else {
                let name = HeaderName::from_bytes(step.name.as_bytes());
                Variable::Header(name.map_err(|_| fail(step, Problem::HeaderName))?)
            };
            Ok(Named {
                variable,
                of: Type::Text,
                steps: 2,
            })
        }
        ("request", name) => match REQUEST.iter().find(|(known, _)| *known == name) {
            Some((_, variable)) => Ok(one(variable.clone(), Type::Text)),
            None => {
                let known = REQUEST
                    .iter()
                    .map(|(name, _)| *name)
                    .chain(["headers", "query"]);
                let known: Vec<_> = known.collect();
                Err(unknown(fail(first, Problem::UnknownField), name, &known))
            }
        },
        ("path", name) => match variables {
            Variables::Shared => Err(fail(first, Problem::CaptureOutsideRoute)),
            _ => {
                let names = variables.names();
                match names.iter().position(|known| **known == *name) {
                    Some(index) => Ok(one(Variable::Capture(index), Type::Text)),
                    None => {
                        let known: Vec<_> = names.iter().map(|name| &**name).collect();
                        let error = fail(first, Problem::UnknownParameter);
                        Err(unknown(error, name, &known))
                    }
                }
            }
        },
        ("parts", _) if matches!(variables, Variables::Parts { .. }) => {
            parts::named(steps, variables)
        }
        ("client", "ip") => Ok(one(Variable::ClientIp, Type::Text)),
        ("client", "certificate") => match steps.get(1) {
            None => Ok(one(Variable::Certificate, Type::Null)),
            Some(step) => {
                let mut fields = certificate_fields();
                match fields.find(|(known, _)| **known == *step.name) {
                    Some((_, field)) => Ok(Named {
                        variable: Variable::CertificateField(field),
                        of: if is_list(field) {
                            Type::texts()
                        } else {
                            Type::Text
                        },
                        steps: 2,
                    }),
                    None => {
                        let known: Vec<_> = certificate_fields().map(|(name, _)| name).collect();
                        Err(unknown(
                            fail(step, Problem::UnknownField),
                            &step.name,
                            &known,
                        ))
                    }
                }
            }
        },
        ("client", name) => Err(unknown(
            fail(first, Problem::UnknownField),
            name,
            &["ip", "certificate"],
        )),
        _ => Err(unknown(
            fail(root, Problem::UnknownName),
            &root.name,
            &roots(variables),
        )),
    }
}

fn roots(variables: Variables<'_>) -> Vec<&'static str> {
    let parts = matches!(variables, Variables::Parts { .. }).then_some("parts");
    ROOTS.into_iter().chain(parts).collect()
}

fn fields_of(root: &str, variables: Variables<'_>) -> String {
    let names = |names: &mut dyn Iterator<Item = &str>| {
        let names: Vec<_> = names.map(|name| format!("`{root}.{name}`")).collect();
        match names.is_empty() {
            true => "the route's path has no parameters at all".to_owned(),
            false => format!("it has {}", names.join(", ")),
        }
    };
    match root {
        "identity" => names(
            &mut IDENTITY
                .iter()
                .map(|(name, _)| *name)
                .chain(["claims.NAME"]),
        ),
        "request" => {
            let maps = ["headers[\"NAME\"]", "query[\"NAME\"]"];
            names(&mut REQUEST.iter().map(|(name, _)| *name).chain(maps))
        }
        "path" => names(&mut variables.names().iter().map(|name| &**name)),
        "parts" => names(&mut variables.parts().iter().map(|name| &**name)),
        _ => names(&mut ["ip", "certificate.FIELD"].into_iter()),
    }
}

fn unknown(error: ExpressionError, name: &str, known: &[&str]) -> ExpressionError {
    match nearest(name, known.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => error.help("its path has no parameters at all"),
        None => {
            let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            error.help(format!("known are {}", known.join(", ")))
        }
    }
}

/// All but the whole certificate, with which nothing can be done here.
fn certificate_fields() -> impl Iterator<Item = (&'static str, CertificateField)> {
    let all = CertificateField::ALL.into_iter();
    all.filter(|(_, field)| *field != CertificateField::Der)
}

/// Whether there may be several of it, with commas between them.
fn is_list(field: CertificateField) -> bool {
    use CertificateField::{Dns, Email, Ip, Uri};
    matches!(field, Dns | Uri | Email | Ip)
}

impl IdentityField {
    fn type_of(self) -> Type {
        match self {
            IdentityField::Scopes | IdentityField::Roles | IdentityField::Groups => Type::texts(),
            _ => Type::Text,
        }
    }
}

/// The values of an expression's slots for one request.
pub(super) struct Bindings<'a> {
    pub(super) slots: &'a [Slot],
    pub(super) gathered: Gathered<'a>,
}

impl VariableResolver for Bindings<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        // Slots go by their number, which no name of the user's begins with.
        let slot = self.slots.get(name.parse::<usize>().ok()?)?;
        slot.variable.value(self.gathered)
    }
}

impl Variable {
    /// The value; `None` where there is none that an expression could use.
    fn value<'v>(&'v self, gathered: Gathered<'v>) -> Option<CowVal<'v, 'v>> {
        let view = gathered.view;
        let View { facts, request } = view;
        let text = match self {
            Variable::Pattern(pattern) => return Some(CowVal::Borrowed(pattern)),
            Variable::Has(variable) => return variable.is_present(gathered).map(values::truth),
            Variable::Certificate => return None,
            Variable::Part(field) => return parts::value(field, gathered),
            Variable::Identity(field) => {
                return identity_field(facts.identity.as_deref()?, *field);
            }
            Variable::Claim(path) => {
                return values::json(claim(&facts.identity.as_deref()?.claims, path)?);
            }
            Variable::CertificateField(field) => {
                let mut text = Vec::new();
                facts.certificate.as_ref()?.write(*field, &mut text)?;
                let text = String::from_utf8(text).ok()?;
                if is_list(*field) {
                    let names = text.split(',').map(|name| name.to_owned().into());
                    return values::list(names);
                }
                Cow::Owned(text)
            }
            Variable::Method => Cow::Borrowed(request.method.as_str()),
            Variable::Scheme => Cow::Borrowed(facts.scheme.as_str()),
            Variable::RequestId => Cow::Borrowed(facts.request_id.as_str()),
            Variable::Host => Cow::Owned(normal_host(host(request)?)),
            Variable::Path => Cow::Borrowed(request.uri.path()),
            Variable::Header(name) => header(view, name)?,
            Variable::Query(name) => parameter(view, name)?,
            Variable::Capture(index) => {
                let &(start, end) = facts.captures.get(*index)?;
                decode(request.uri.path().get(start as usize..end as usize)?, false)?
            }
            Variable::ClientIp => Cow::Owned(facts.client.to_string()),
        };
        (text.len() <= LONGEST_TEXT).then(|| CowVal::owned(values::string(text)))
    }

    /// Whether it is there, also where it is nothing that an expression could use. `None` for a field of what is not
    /// there, or has no fields: by CEL that is an error.
    fn is_present(&self, gathered: Gathered<'_>) -> Option<bool> {
        let view = gathered.view;
        let View { facts, request } = view;
        Some(match self {
            Variable::Claim(path) => {
                let claims = facts.identity.as_deref().map(|identity| &identity.claims);
                match (path.split_last(), claims) {
                    (None, claims) => claims.is_some(),
                    (Some((name, [])), claims) => {
                        claims.is_some_and(|claims| claims.contains_key(&**name))
                    }
                    (Some((name, of)), claims) => match claim(claims?, of)? {
                        values::Claim::All(claims) => claims.contains_key(&**name),
                        values::Claim::One(value) => value.as_object()?.contains_key(&**name),
                    },
                }
            }
            Variable::Header(name) => request.headers.contains_key(name),
            Variable::Query(name) => query(view, name).next().is_some(),
            Variable::Certificate => facts.certificate.is_some(),
            Variable::Capture(index) => facts.captures.get(*index).is_some(),
            Variable::Part(field) => parts::is_present(field, gathered),
            other => other.value(gathered).is_some(),
        })
    }
}

fn identity_field(identity: &Identity, field: IdentityField) -> Option<CowVal<'_, '_>> {
    let text = match field {
        IdentityField::Scopes => return words(&identity.scopes),
        IdentityField::Roles => return words(&identity.roles),
        IdentityField::Groups => return words(&identity.groups),
        IdentityField::Subject => &*identity.subject,
        IdentityField::Consumer => identity.consumer()?,
        IdentityField::Plan => identity.plan.as_deref()?,
        IdentityField::Credential => identity.credential.as_deref()?,
        IdentityField::Authenticator => identity.authenticator,
        IdentityField::Provider => &identity.provider,
    };
    Some(CowVal::owned(CelString::from(text)))
}

fn words(words: &[Box<str>]) -> Option<CowVal<'_, '_>> {
    values::list(words.iter().map(|word| Cow::Borrowed(&**word)))
}

fn claim<'c>(claims: &'c Map<String, Value>, path: &[Box<str>]) -> Option<values::Claim<'c>> {
    let Some((first, rest)) = path.split_first() else {
        return Some(values::Claim::All(claims));
    };
    let mut value = claims.get(&**first)?;
    for name in rest {
        value = value.as_object()?.get(&**name)?;
    }
    Some(values::Claim::One(value))
}

/// In lower case, without a port and without the dot of the root.
fn normal_host(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
