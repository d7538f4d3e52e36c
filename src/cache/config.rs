//! The `[cache]` of a configuration: how much is kept.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::DiskSettings;
use super::broadcast::{Channel, KEPT};
use crate::stores::Stores;
use crate::text::{ByteSize, Name, Spanned, Subject};

/// What the responses are kept in that routes with the policy `cache` keep.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "CacheStorage")]
pub struct Config {
    /// How much memory they may take, headers and bookkeeping included. `"1MiB"` at least. Default `"256MiB"`.
    pub memory: Option<Spanned<ByteSize>>,
    /// What the gateway is called in `Cache-Status` (RFC 9211). Default `"northgate"`.
    pub name: Option<Spanned<String>>,
    /// A disk behind the memory, which is still full after a restart and in an upgrade. Default: none.
    pub disk: Option<DiskConfig>,
    /// Has other gateways purge what this one purges, and this one what they do. Default: each for itself.
    pub broadcast: Option<BroadcastConfig>,
}

/// Where gateways tell each other what they purge: a stream of a Redis store.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CacheBroadcast")]
pub struct BroadcastConfig {
    /// A store of `[stores]`, the same one in every gateway.
    pub store: Spanned<Name>,
    /// The same in all gateways that share their purges. Default `"default"`.
    pub name: Option<Spanned<Name>>,
    /// How many purges the stream has at least. A gateway that was away for more purges everything when it is back. 100 to
    /// 1,000,000. Default 10,000, which take the store some megabyte.
    pub kept: Option<Spanned<u32>>,
}

/// Where responses are kept that are not in memory, or not any more.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CacheDisk")]
pub struct DiskConfig {
    /// The folder, below `gateway.state_dir` where there is one, and else beside the file. It is made where its parent is
    /// there; no other process can use it at the same time.
    pub path: Spanned<PathBuf>,
    /// How much the files may take, `"1MiB"` at least. On top come the log of purges, 64 MiB at most, and files that are still
    /// being read, an eighth.
    pub size: Spanned<ByteSize>,
}

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In bytes.
    pub memory: u64,
    pub name: Box<str>,
    pub disk: Option<DiskSettings>,
    pub broadcast: Option<Channel>,
}

const LEAST: u64 = 1 << 20;
const LEAST_KEPT: RangeInclusive<u32> = 100..=1_000_000;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            memory: 256 << 20,
            name: "northgate".into(),
            disk: None,
            broadcast: None,
        }
    }
}

impl Config {
    /// With diagnostics about what cannot be. Paths begin at `base`.
    pub fn settings(&self, base: &Path, stores: &Stores, subject: &mut Subject<'_>) -> Settings {
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
            disk: (self.disk.as_ref()).map(|disk| disk.settings(base, &mut subject.key("disk"))),
            broadcast: (self.broadcast.as_ref())
                .and_then(|it| it.channel(stores, &mut subject.key("broadcast"))),
        }
    }
}

impl BroadcastConfig {
    fn channel(&self, stores: &Stores, subject: &mut Subject<'_>) -> Option<Channel> {
        let store = stores.find(&self.store, &mut subject.key("store"));
        let kept = self.kept.as_ref();
        if let Some(kept) = kept.filter(|kept| !LEAST_KEPT.contains(&kept.value)) {
            let (least, most) = (LEAST_KEPT.start(), LEAST_KEPT.end());
            let what = format!("must be {least} to {most}, got {}", kept.value);
            subject.key("kept").error(kept.span, what);
        }
        let name = self.name.as_ref().map_or("default", |name| name.as_str());
        Some(Channel {
            store: store?,
            name: name.to_owned(),
            kept: kept.map_or(KEPT, |kept| kept.value as usize),
        })
    }
}

impl DiskConfig {
    fn settings(&self, base: &Path, subject: &mut Subject<'_>) -> DiskSettings {
        let (path, size) = (&self.path, &self.size);
        if path.value.as_os_str().is_empty() {
            subject.key("path").error(path.span, "must not be empty");
        }
        if size.value.as_u64() < LEAST {
            let what = format!("must be at least \"1MiB\", got \"{}\"", size.value);
            subject.key("size").error(size.span, what);
        }
        DiskSettings {
            folder: base.join(&path.value),
            size: size.value.as_u64(),
        }
    }
}
