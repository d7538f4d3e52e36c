//! Which claims say what of a caller: from the claims of a token or of a provider's answer to an [`Identity`].

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Consumer, Consumers, Identity, claim};

/// Which claims say what of a caller. A claim within another is named by the way to it, `realm_access.roles`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MappingConfig {
    /// Who calls: a string or a whole number. A caller of whom nothing says it is refused. Default `"sub"`.
    pub subject: Option<Box<str>>,
    /// The name of a configured consumer, such as `"azp"` or `"client_id"`. The consumer gives the plan, where no claim
    /// does, and its roles and groups, beside those of the claims. A caller whose claim names none is refused.
    /// Default: callers are of no consumer.
    pub consumer: Option<Box<str>>,
    /// What may be done with the token: a string of words, or an array. Default `"scope"` or, where that is not there,
    /// `"scp"`.
    pub scopes: Option<Box<str>>,
    /// What the caller is: a string, an array, or an object whose keys they are. Default `"roles"`.
    pub roles: Option<Box<str>>,
    /// What the caller belongs to, written as roles are. Default `"groups"`.
    pub groups: Option<Box<str>>,
    /// What the caller has bought: a string. Default: the consumer's plan.
    pub plan: Option<Box<str>>,
}

/// Why claims make no identity. Says no value of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Unmapped {
    NoSubject,
    NoConsumer,
    Subject,
    Consumer,
    Scopes,
    Roles,
    Groups,
    Plan,
}

impl Unmapped {
    pub fn as_str(self) -> &'static str {
        match self {
            Unmapped::NoSubject => "the claims do not say who the subject is",
            Unmapped::NoConsumer => "the claim of the consumer names none that is configured",
            Unmapped::Subject => "the claim of the subject has a wrong type",
            Unmapped::Consumer => "the claim of the consumer has a wrong type",
            Unmapped::Scopes => "the claim of the scopes has a wrong type",
            Unmapped::Roles => "the claim of the roles has a wrong type",
            Unmapped::Groups => "the claim of the groups has a wrong type",
            Unmapped::Plan => "the claim of the plan has a wrong type",
        }
    }
}

/// Makes identities of claims.
#[derive(Clone, Debug)]
pub struct Mapping {
    names: MappingConfig,
    consumers: Arc<Consumers>,
}

/// What proved an identity.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The kind, `jwt`.
    pub authenticator: &'static str,
    /// The name under it in the configuration.
    pub provider: &'a Arc<str>,
    /// In seconds since 1970; nothing may be remembered beyond it.
    pub expires: Option<u64>,
}

impl Mapping {
    pub fn new(config: &MappingConfig, consumers: &Arc<Consumers>) -> Mapping {
        Mapping {
            names: config.clone(),
            consumers: consumers.clone(),
        }
    }

    /// Who has these claims, which must have been verified.
    pub fn identity(
        &self,
        claims: Map<String, Value>,
        proof: Proof<'_>,
    ) -> Result<Identity, Unmapped> {
        let named = |name: &Option<Box<str>>, usual| {
            claim(&claims, name.as_deref().unwrap_or(usual)).filter(|value| !value.is_null())
        };
        let names = &self.names;
        let subject = text(named(&names.subject, "sub"), Unmapped::Subject)?;
        let mut roles = words(named(&names.roles, "roles"), Unmapped::Roles)?;
        let mut groups = words(named(&names.groups, "groups"), Unmapped::Groups)?;
        let scopes = match &names.scopes {
            Some(name) => claim(&claims, name),
            None => named(&None, "scope").or_else(|| named(&None, "scp")),
        };
        let scopes = scopes_of(scopes)?;
        let mut plan = match &names.plan {
            Some(name) => text(claim(&claims, name), Unmapped::Plan)?,
            None => None,
        };
        let consumer = self.consumer(&claims)?;
        if let Some(consumer) = &consumer {
            add(&mut roles, &consumer.roles);
            add(&mut groups, &consumer.groups);
            plan = plan.or_else(|| consumer.plan.clone());
        }
        Ok(Identity {
            subject: subject.ok_or(Unmapped::NoSubject)?,
            consumer,
            credential: claims.get("jti").and_then(Value::as_str).map(Into::into),
            authenticator: proof.authenticator,
            provider: proof.provider.clone(),
            scopes: scopes.into(),
            roles: roles.into(),
            groups: groups.into(),
            plan,
            expires: proof.expires,
            claims,
        })
    }

    fn consumer(&self, claims: &Map<String, Value>) -> Result<Option<Arc<Consumer>>, Unmapped> {
        let Some(name) = &self.names.consumer else {
            return Ok(None);
        };
        let name = text(claim(claims, name), Unmapped::Consumer)?.ok_or(Unmapped::NoConsumer)?;
        match self.consumers.find(&name) {
            Some(consumer) => Ok(Some(consumer.clone())),
            None => Err(Unmapped::NoConsumer),
        }
    }
}

/// RFC 8693 section 4.2 writes scopes as words in one string, others as an array.
fn scopes_of(value: Option<&Value>) -> Result<Vec<Box<str>>, Unmapped> {
    match value {
        Some(Value::String(text)) => Ok(text.split_ascii_whitespace().map(Into::into).collect()),
        other => words(other, Unmapped::Scopes),
    }
}

/// Text that is there and not empty; a number stands for its digits.
fn text(value: Option<&Value>, otherwise: Unmapped) -> Result<Option<Box<str>>, Unmapped> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str().into())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string().into())),
        Some(_) => Err(otherwise),
    }
}

/// What cannot be read is refused and not passed over: somebody may be kept out by what stands there.
fn words(value: Option<&Value>, otherwise: Unmapped) -> Result<Vec<Box<str>>, Unmapped> {
    let word = |one: &Value| one.as_str().map(Into::into).ok_or(otherwise);
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.as_str().into()]),
        Some(Value::Array(several)) => several.iter().map(word).collect(),
        Some(Value::Object(members)) => Ok(members.keys().map(|key| key.as_str().into()).collect()),
        Some(Value::Bool(_) | Value::Number(_)) => Err(otherwise),
    }
}

fn add(words: &mut Vec<Box<str>>, more: &[Box<str>]) {
    for word in more {
        if !words.contains(word) {
            words.push(word.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::{ConsumerConfig, Entry};
    use super::*;
    use crate::text::{Sources, Span, Spanned};

    fn consumers() -> Arc<Consumers> {
        let span = Span::start_of(Sources::default().add("consumers.toml", String::new()));
        let plan = |name: &str| name.parse().ok().map(|name| Spanned::new(name, span));
        let config = ConsumerConfig {
            plan: plan("gold"),
            roles: ["partner".into()].into(),
            groups: ["g1".into()].into(),
            scopes: ["everything".into()].into(),
            ..ConsumerConfig::default()
        };
        Arc::new(Consumers::of(&[Entry::new(
            "acme",
            &config,
            span,
            Path::new("/"),
        )]))
    }

    fn identity(config: Value, claims: Value) -> Result<Identity, Unmapped> {
        let config: MappingConfig = serde_json::from_value(config).expect("a configuration");
        let mapping = Mapping::new(&config, &consumers());
        let provider: Arc<str> = "main".into();
        let proof = Proof {
            authenticator: "jwt",
            provider: &provider,
            expires: Some(7),
        };
        let claims = claims.as_object().expect("an object").clone();
        mapping.identity(claims, proof)
    }

    /// What a configuration and claims come to: scopes, roles, groups and plan.
    fn check(config: Value, claims: Value, expected: [&str; 4]) {
        let found = identity(config, claims.clone()).expect("an identity");
        let words = |words: &[Box<str>]| words.join(",");
        let plan = found.plan.as_deref().unwrap_or_default();
        let found = [
            words(&found.scopes),
            words(&found.roles),
            words(&found.groups),
            plan.to_owned(),
        ];
        assert_eq!(found, expected, "{claims}");
    }

    #[test]
    fn what_is_usual() {
        check(json!({}), json!({ "sub": "me" }), ["", "", "", ""]);
        let claims = json!({
            "sub": "me", "scope": "a  b", "scp": ["c"], "roles": ["r", "s"], "groups": "g h", "plan": "p",
        });
        check(json!({}), claims, ["a,b", "r,s", "g h", ""]);
        check(
            json!({}),
            json!({ "sub": "me", "scp": ["c", "d"] }),
            ["c,d", "", "", ""],
        );
        check(
            json!({}),
            json!({ "sub": "me", "scp": "c d" }),
            ["c,d", "", "", ""],
        );
        check(
            json!({}),
            json!({ "sub": "me", "scope": null, "scp": "c" }),
            ["c", "", "", ""],
        );
        let found = identity(json!({}), json!({ "sub": "me", "jti": "t1" })).expect("somebody");
        assert_eq!(&*found.subject, "me");
        assert_eq!(found.credential.as_deref(), Some("t1"));
        assert_eq!((found.authenticator, &*found.provider), ("jwt", "main"));
        assert_eq!((found.expires, found.consumer), (Some(7), None));
    }

    #[test]
    fn what_is_configured() {
        let config = json!({
            "scopes": "perm", "roles": "realm_access.roles", "groups": "https://x.example/groups", "plan": "p.q",
        });
        let claims = json!({
            "sub": "me", "scope": "no", "roles": ["no"], "perm": ["a"],
            "realm_access": { "roles": ["admin"] }, "https://x.example/groups": { "g": {}, "h": 1 },
            "p": { "q": "gold" },
        });
        check(config, claims, ["a", "admin", "g,h", "gold"]);
        let email = json!({ "subject": "email" });
        let found = identity(email.clone(), json!({ "sub": "me", "email": "m@x" }));
        assert_eq!(found.map(|found| found.subject), Ok("m@x".into()));
        assert_eq!(
            identity(email, json!({ "sub": "me" })),
            Err(Unmapped::NoSubject)
        );
    }

    #[test]
    fn consumers_are_those_that_are_configured() {
        let config = json!({ "consumer": "azp", "plan": "plan" });
        let claims = json!({ "sub": "me", "azp": "acme", "roles": ["r", "partner"], "scope": "a" });
        check(
            config.clone(),
            claims.clone(),
            ["a", "r,partner", "g1", "gold"],
        );
        let found = identity(config.clone(), claims).expect("somebody");
        assert_eq!(
            found.consumer.map(|consumer| consumer.name.clone()),
            Some("acme".into())
        );
        let own = json!({ "sub": "me", "azp": "acme", "plan": "free" });
        check(config.clone(), own, ["", "partner", "g1", "free"]);
        for other in [json!("ACME"), json!("else"), json!(null), json!(7)] {
            let found = identity(config.clone(), json!({ "sub": "me", "azp": other }));
            assert_eq!(found, Err(Unmapped::NoConsumer));
        }
        let found = identity(config, json!({ "sub": "me", "azp": ["acme"] }));
        assert_eq!(found, Err(Unmapped::Consumer));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let check = |claims: Value, expected| {
            assert_eq!(
                identity(json!({}), claims.clone()),
                Err(expected),
                "{claims}"
            );
        };
        check(json!({}), Unmapped::NoSubject);
        check(json!({ "sub": "" }), Unmapped::NoSubject);
        check(json!({ "sub": null }), Unmapped::NoSubject);
        check(json!({ "sub": ["me"] }), Unmapped::Subject);
        check(json!({ "sub": true }), Unmapped::Subject);
        check(json!({ "sub": 1.5 }), Unmapped::Subject);
        check(json!({ "sub": "me", "scope": 1 }), Unmapped::Scopes);
        check(json!({ "sub": "me", "scp": [1] }), Unmapped::Scopes);
        check(json!({ "sub": "me", "roles": [["r"]] }), Unmapped::Roles);
        check(json!({ "sub": "me", "groups": false }), Unmapped::Groups);
        let found = identity(json!({}), json!({ "sub": 42 })).expect("a number is a name");
        assert_eq!(&*found.subject, "42");
    }
}
