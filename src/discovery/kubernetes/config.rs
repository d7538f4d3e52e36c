//! `discovery.kubernetes`.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::access::{self, Unusable};
use crate::text::{Spanned, Subject};

/// Endpoints are those of a service of Kubernetes 1.21 or later, as its EndpointSlices have them.
///
/// It has to be allowed `list` and `watch` of `endpointslices` in `discovery.k8s.io`, in that namespace.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of the service.
    pub service: Spanned<String>,
    /// Default: that of the kubeconfig's context, or of the pod that this runs in.
    pub namespace: Option<Spanned<String>>,
    /// The port of the endpoints: the name that it has in the service, such as `"http"`, or its number on the pods. Default:
    /// the only one that there is.
    pub port: Option<Port>,
    /// How the API server is asked, relative to the configuration file. Tokens and certificates in it and in the files that
    /// it names are read anew as they change; programs that it would have executed are not. Default: as pods are told by
    /// Kubernetes.
    pub kubeconfig: Option<Spanned<PathBuf>>,
    /// Of the kubeconfig. Default: its current one.
    pub context: Option<Spanned<String>>,
}

/// Which port of the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    Number(u16),
    Name(Box<str>),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Number(number) => number.fmt(f),
            Port::Name(name) => name.fmt(f),
        }
    }
}

/// Names of ports are at most that long (RFC 6335).
const LONGEST_PORT: usize = 15;
/// Names of services and namespaces are labels of DNS.
const LONGEST_LABEL: usize = 63;

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Port, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a port such as \"http\", or its number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Port, E> {
        match u16::try_from(number) {
            Ok(number) if number > 0 => Ok(Port::Number(number)),
            _ => Err(E::custom(format_args!(
                "must be a port from 1 to 65535, got {number}"
            ))),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Port, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Port, E> {
        if let Ok(number) = text.parse() {
            return self.visit_i64(number);
        }
        match is_label(text, LONGEST_PORT) {
            true => Ok(Port::Name(text.into())),
            false => Err(E::custom(format_args!(
                "must be the name of a port such as \"http\", or its number, got {text:?}"
            ))),
        }
    }
}

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a port, \"http\", or its number.",
            "type": ["string", "integer"],
            "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
            "minimum": 1,
            "maximum": 65535
        })
    }
}

/// In lower case, as names in Kubernetes are.
fn is_label(text: &str, longest: usize) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte != b'-');
    text.len() <= longest
        && text.bytes().all(is_inner)
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().next_back())
}

impl Config {
    /// Says what is wrong with it. Blocks on the file system; no server is asked.
    pub(super) fn check(&self, base: &Path, subject: &mut Subject<'_>) {
        check_label(&self.service, &mut subject.key("service"), "users");
        if let Some(namespace) = &self.namespace {
            check_label(namespace, &mut subject.key("namespace"), "shop");
        }
        match (&self.kubeconfig, &self.context) {
            (None, Some(context)) => {
                let mut subject = subject.key("context");
                subject.error(context.span, "is that of a kubeconfig, and there is none");
            }
            (None, None) => {}
            (Some(path), context) => {
                let name = context.as_ref().map(|context| context.value.as_str());
                match access::of_kubeconfig(&base.join(&path.value), name) {
                    Ok(config) if config.accept_invalid_certs => {
                        subject
                            .key("kubeconfig")
                            .warning(
                                path.span,
                                "believes whoever answers at the server's address",
                            )
                            .help(
                                "give it certificate-authority instead of insecure-skip-tls-verify",
                            );
                    }
                    Ok(_) => {}
                    Err(Unusable::Context(problem)) => {
                        let span = context.as_ref().map_or(path.span, |context| context.span);
                        subject.key("context").error(span, problem);
                    }
                    Err(Unusable::Other(problem)) => {
                        subject.key("kubeconfig").error(path.span, problem);
                    }
                }
            }
        }
    }
}

fn check_label(name: &Spanned<String>, subject: &mut Subject<'_>, example: &str) {
    if name.value.is_empty() || !is_label(&name.value, LONGEST_LABEL) {
        let got = &name.value;
        let what = format!("must be a name of Kubernetes such as {example:?}, got {got:?}");
        subject.error(name.span, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let check = |text: &str, expected| assert_eq!(is_label(text, 5), expected, "{text}");
        for good in ["a", "a-b", "80", "abcde"] {
            check(good, true);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a=b", "a,b", "abcdef"] {
            check(bad, false);
        }
    }
}
