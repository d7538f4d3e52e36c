//! The `[cache]` of a configuration: how much is kept.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{ByteSize, Spanned, Subject};

/// What the responses are kept in that routes with the policy `cache` keep.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "CacheStorage")]
pub struct Config {
    /// How much memory they may take, headers and bookkeeping included. `"1MiB"` at least. Default `"256MiB"`.
    pub memory: Option<Spanned<ByteSize>>,
    /// What the gateway is called in `Cache-Status` (RFC 9211). Default `"northgate"`.
    pub name: Option<Spanned<String>>,
}

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In bytes.
    pub memory: u64,
    pub name: Box<str>,
}

const LEAST: u64 = 1 << 20;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            memory: 256 << 20,
            name: "northgate".into(),
        }
    }
}

impl Config {
    /// With diagnostics about what cannot be.
    pub fn settings(&self, subject: &mut Subject<'_>) -> Settings {
        let default = Settings::default();
        if let Some(memory) = self.memory.as_ref().filter(|it| it.value.as_u64() < LEAST) {
            let what = format!("must be at least \"1MiB\", got \"{}\"", memory.value);
            subject.key("memory").error(memory.span, what);
        }
        // A token of RFC 9110 is nearly one of RFC 8941, which begins with a letter or a star.
        let is_name = |name: &str| {
            let others = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/*".contains(&byte);
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(others)
                && name.len() <= 64
        };
        if let Some(name) = self.name.as_ref().filter(|it| !is_name(&it.value)) {
            let what = "must begin with a letter and have no more than 64 letters, digits, - _ . : / and *";
            subject.key("name").error(name.span, what);
        }
        let memory = self.memory.as_ref().map(|it| it.value.as_u64());
        let name = self.name.as_ref().map(|it| it.value.as_str().into());
        Settings {
            memory: memory.unwrap_or(default.memory),
            name: name.unwrap_or(default.name),
        }
    }
}
