//! Consumers: the callers that the configuration knows by name.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ahash::RandomState;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{api_key, basic, hmac, mtls};
use crate::text::{Name, Span, Spanned};

/// Somebody who calls: a partner, a program, a team. What it shows to prove that is listed by kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ConsumerConfig")]
pub struct Config {
    /// What it has bought: the name of a plan. Default: none, so that it has that of `gateway.default_plan`.
    pub plan: Option<Spanned<Name>>,
    /// What it is, for `acl`. Default: none.
    pub roles: Vec<Box<str>>,
    /// What it belongs to, for `acl`. Default: none.
    pub groups: Vec<Box<str>>,
    /// What it may do, for `acl`; a credential may narrow it down. Default: none.
    pub scopes: Vec<Box<str>>,
    /// Certificates that prove the consumer, for `mtls`. Default: none.
    pub certificates: Vec<Spanned<mtls::Certificate>>,
    /// Keys that the consumer signs its requests with, for `hmac`. Default: none.
    pub signing_keys: Vec<Spanned<hmac::SigningKey>>,
    /// Keys that prove the consumer, for `api_key`: their hashes, as `northgate key` prints them. At most two may be good
    /// at a time. Default: none.
    pub api_keys: Vec<Spanned<api_key::ApiKey>>,
    /// Passwords that prove the consumer, for `basic`: their hashes, of argon2id or bcrypt; at most two. The name is the
    /// consumer's. `northgate key password` makes one. Default: none.
    pub passwords: Vec<Spanned<basic::PasswordHash>>,
}

/// Somebody whom the configuration knows.
#[derive(Debug, Default, PartialEq)]
pub struct Consumer {
    pub name: Box<str>,
    pub plan: Option<Box<str>>,
    pub roles: Box<[Box<str>]>,
    pub groups: Box<[Box<str>]>,
    pub scopes: Box<[Box<str>]>,
}

impl Consumer {
    fn new(name: &str, config: &Config) -> Consumer {
        Consumer {
            name: name.into(),
            plan: config.plan.as_ref().map(|plan| plan.as_str().into()),
            roles: config.roles.as_slice().into(),
            groups: config.groups.as_slice().into(),
            scopes: config.scopes.as_slice().into(),
        }
    }
}

/// All consumers, by name.
#[derive(Debug, Default)]
pub struct Consumers {
    by_name: HashMap<Box<str>, Arc<Consumer>, RandomState>,
}

impl Consumers {
    pub fn find(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_name.get(name)
    }

    pub(super) fn of(entries: &[Entry<'_>]) -> Consumers {
        let named = |entry: &Entry<'_>| (entry.consumer.name.clone(), entry.consumer.clone());
        Consumers {
            by_name: entries.iter().map(named).collect(),
        }
    }
}

/// A consumer beside what is written about it, for kinds to find its credentials.
pub struct Entry<'d> {
    pub consumer: Arc<Consumer>,
    pub config: &'d Config,
    /// Of its name.
    pub span: Span,
    /// That paths in there are relative to.
    pub folder: &'d Path,
}

impl<'d> Entry<'d> {
    pub fn new(name: &str, config: &'d Config, span: Span, folder: &'d Path) -> Entry<'d> {
        Entry {
            consumer: Arc::new(Consumer::new(name, config)),
            config,
            span,
            folder,
        }
    }
}
