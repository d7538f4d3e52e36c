//! The process's own log, on standard error. `NORTHGATE_LOG` chooses what is in it, in env_logger's language.
//!
//! What this program says of a request never has a credential in it. Other crates make no such promise: at `debug` the
//! engine writes whole headers of requests. So whatever `NORTHGATE_LOG` says, others are heard from `info` upwards alone,
//! and the engine's modules that have to do with requests not at all.

use env_logger::{Builder, Env, Logger};
use log::{Level, Log, Metadata, Record};

/// They log every client that breaks off as an error, with its request; the access log and the metrics tell of those.
const SILENT: [&str; 3] = [
    "pingora_proxy",
    "pingora_core::apps",
    "pingora_core::protocols",
];

/// Starts it, once for the process.
pub(super) fn start() {
    let env = Env::new().filter_or("NORTHGATE_LOG", "info");
    let inner = Builder::from_env(env).format_target(false).build();
    let most = inner.filter();
    if log::set_boxed_logger(Box::new(Discreet { inner })).is_ok() {
        log::set_max_level(most);
    }
}

/// Keeps what might quote a request from being logged.
struct Discreet {
    inner: Logger,
}

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_discreet(metadata.target(), metadata.level()) && self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_discreet(record.target(), record.level()) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

fn is_discreet(target: &str, level: Level) -> bool {
    let is_of = |module: &str| {
        let rest = target.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    is_of("northgate") || (level <= Level::Info && !SILENT.into_iter().any(is_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_heard_where_they_quote_nobody() {
        let check = |target: &str, level: Level, expected: bool| {
            assert_eq!(is_discreet(target, level), expected, "{target} {level}");
        };
        check("northgate::identity::oidc", Level::Trace, true);
        check("northgate", Level::Trace, true);
        check("northgates", Level::Debug, false);
        check("pingora_proxy", Level::Error, false);
        check("pingora_proxy::proxy_h1", Level::Debug, false);
        check(
            "pingora_core::protocols::http::v1::client",
            Level::Trace,
            false,
        );
        check("pingora_core::connectors", Level::Warn, true);
        check("pingora_core::connectors", Level::Debug, false);
        check("hyper::proto::h1", Level::Info, true);
        check("h2::codec", Level::Debug, false);
    }
}
