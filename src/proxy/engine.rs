//! The engine around the proxy, as listeners use it.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::protocols::Stream;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::sync::watch;

use super::{Proxy, multiplexed, sequential};
use crate::listener::{Connection, Serve};

/// What serves connections. It holds the pool of connections to upstreams, so there is one for all listeners.
pub struct Engine {
    proxy: Arc<HttpProxy<Proxy>>,
    /// What the engine is shown in place of the end of the process: connections end with the generation of their
    /// listener, and are told so by themselves.
    never: watch::Receiver<bool>,
}

impl Proxy {
    /// Puts the engine around it. `workers` sizes what the engine shards by thread; `keepalive_pool` is how many
    /// unused connections to upstreams are kept over all of them.
    pub fn into_engine(self, workers: usize, keepalive_pool: usize) -> Arc<Engine> {
        let conf = ServerConf {
            threads: workers,
            upstream_keepalive_pool_size: keepalive_pool.div_ceil(workers.max(1)),
            // Each attempt ends by its own rules, ten tries at most, and a chain of fallbacks has an end.
            max_retries: usize::MAX,
            ..ServerConf::default()
        };
        let fills = self.fills.clone();
        let mut engine = HttpProxy::new(self, Arc::new(conf));
        engine.server_options = Some(options());
        engine.handle_init_modules();
        let proxy = Arc::new(engine);
        fills.serve_by(&proxy);
        Arc::new(Engine {
            proxy,
            never: watch::channel(false).1,
        })
    }
}

#[async_trait]
impl Serve for Engine {
    async fn serve(&self, stream: Stream, connection: Arc<Connection>) {
        let Engine { proxy, never } = self;
        if connection.is_h2() {
            // Boxed, so that connections of HTTP/1.1 do not carry the size of these.
            Box::pin(multiplexed::serve(proxy, stream, connection, never)).await;
        } else {
            sequential::serve(proxy, stream, &connection, never).await;
        }
    }
}

fn options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // The strict checks refuse CONNECT with a reply of ours; the engine's own would lack the request's ids.
    options.allow_connect_method_proxying = true;
    options
}
