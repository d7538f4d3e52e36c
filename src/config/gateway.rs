//! `[gateway]` as written.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::quarantine::OnError;
use crate::limits::OverloadConfig;
use crate::observability::AccessLogConfig;
use crate::policies;
use crate::text::{Duration, Name, Setting, Spanned, Subject};

/// What concerns the whole process.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Threads that serve requests. Default: as many as the machine runs at a time.
    pub workers: Option<NonZeroU16>,
    /// How long listeners still accept when the process is told to stop, from the moment that `/readyz` says so: for
    /// load balancers in front, which hear of it late. Default: not at all.
    pub drain_delay: Option<Duration>,
    /// How long requests in flight may take to end when the process is told to stop, or their listener is taken away.
    /// Connections without a request are closed after three seconds, or half of this where that is less; WebSockets,
    /// calls of gRPC and other long streams are ended when it is over. Default `"30s"`.
    pub shutdown_grace: Duration,
    /// How long a new program may take until it is ready to take the place of this one, four minutes at most
    /// (`northgate upgrade`, SIGUSR2). Default `"60s"`.
    pub upgrade_timeout: Option<Spanned<Duration>>,
    /// Unused connections to upstreams that are kept, over all upstreams. Default 4096.
    pub keepalive_pool: NonZeroU32,
    /// Whether the configuration is loaded anew when its files change: once a second they are looked at, and taken up
    /// when two looks in a row have seen the same. Files that they refer to are not looked at, but for the
    /// certificates of listeners, which always are. Default: only when told to (`northgate reload`, SIGHUP).
    pub watch: bool,
    /// A folder for what outlives the process: the configuration that served last, as it was then, which is served
    /// where the gateway is started with files that have errors; and the last endpoints that registries have told
    /// (`discovery` of upstreams). It is made where its parent is there. Default: the first of `$STATE_DIRECTORY`, which
    /// systemd sets; without that, nothing is kept.
    pub state_dir: Option<PathBuf>,
    /// The plan of callers that have none, or have one that is not configured: of strangers as well. Default: none, so that
    /// limits that go by plans do not hold for them.
    pub default_plan: Option<Spanned<Name>>,
    /// What becomes of a configuration in which an object has mistakes. Default `"refuse"`.
    pub on_error: OnError,
    /// Allows the policy `fault`, which makes requests fail on purpose. Default `false`: having it is a mistake.
    pub allow_fault_injection: bool,
    /// One line per request, or `"off"`. Default: JSON on standard output.
    pub access_log: Setting<AccessLogConfig>,
    /// What `northgate run` gives up once it has started, or `"off"`. Default: all that the kernel offers.
    pub sandbox: Setting<SandboxConfig>,
    /// Refuses what matters less (`criticality` of routes) while the gateway itself has too much to do. Default:
    /// nothing is refused for that.
    pub overload: Option<OverloadConfig>,
    /// Policies that every listener and route inherits.
    pub policies: policies::Config,
}

impl Default for GatewayConfig {
    fn default() -> GatewayConfig {
        GatewayConfig {
            workers: None,
            drain_delay: None,
            shutdown_grace: Duration::from_secs(30),
            state_dir: None,
            default_plan: None,
            on_error: OnError::Refuse,
            allow_fault_injection: false,
            upgrade_timeout: None,
            keepalive_pool: NonZeroU32::new(4096).expect("4096 is not zero"),
            watch: false,
            access_log: Setting::On(AccessLogConfig::default()),
            sandbox: Setting::On(SandboxConfig::default()),
            overload: None,
            policies: policies::Config::default(),
        }
    }
}

/// What is left to the process after its start: no capability but the one for ports below 1024, no system call that
/// a proxy does not make, no program to execute but its own, and no file to write but those below the folders that
/// the configuration names: `state_dir`, those of the cache, the access log and of Unix sockets. It lasts until a restart: a
/// reload that names a new folder cannot write there, and neither can the program of a binary upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// More folders to write below, for what a later reload may bring. Default: none.
    pub write: Vec<PathBuf>,
}

/// Whoever has asked for an upgrade waits for the answer on a connection of the admin listener, which is closed after
/// five minutes.
const LONGEST_UPGRADE: std::time::Duration = std::time::Duration::from_secs(240);
const USUAL_UPGRADE: std::time::Duration = std::time::Duration::from_secs(60);

impl GatewayConfig {
    /// How long an upgrade may take.
    pub(super) fn upgrade_timeout(&self) -> std::time::Duration {
        let said = self.upgrade_timeout.as_ref();
        said.map_or(USUAL_UPGRADE, |said| said.value.as_std())
    }

    /// What its types do not say.
    pub(super) fn check(&self, subject: &mut Subject<'_>) {
        if let Some(said) = &self.upgrade_timeout
            && said.value.as_std() > LONGEST_UPGRADE
        {
            let what = format!("must be at most \"4m\", got \"{}\"", said.value);
            subject.key("upgrade_timeout").error(said.span, what);
        }
    }
}
