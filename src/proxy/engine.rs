//! The engine around the proxy, as listeners use it.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::sync::watch;

use super::Proxy;
use crate::listener::{Connection, Serve};

/// What serves connections. It holds the pool of connections to upstreams, so there is one for all listeners.
pub struct Engine(Arc<HttpProxy<Proxy>>);

impl Proxy {
    /// Puts the engine around it. `workers` sizes what the engine shards by thread; `keepalive_pool` is how many
    /// unused connections to upstreams are kept over all of them.
    pub fn into_engine(self, workers: usize, keepalive_pool: usize) -> Arc<Engine> {
        let conf = ServerConf {
            threads: workers,
            upstream_keepalive_pool_size: keepalive_pool.div_ceil(workers.max(1)),
            ..ServerConf::default()
        };
        let mut engine = HttpProxy::new(self, Arc::new(conf));
        engine.server_options = Some(options());
        engine.handle_init_modules();
        Arc::new(Engine(Arc::new(engine)))
    }
}

impl Engine {
    /// Ends idle connections; call once when the process begins to shut down.
    pub async fn close_idle(&self) {
        HttpServerApp::http_cleanup(&*self.0).await;
    }
}

#[async_trait]
impl Serve for Engine {
    async fn serve(
        &self,
        stream: Stream,
        connection: Arc<Connection>,
        shutdown: &watch::Receiver<bool>,
    ) {
        if connection.is_h2() {
            let mut options = options();
            options.h2_idle_timeout = Some(connection.listener.timeouts.keepalive.as_std());
            let multiplexed = Multiplexed {
                engine: self.0.clone(),
                options,
            };
            ServerApp::process_new(&Arc::new(multiplexed), stream, shutdown).await;
        } else {
            ServerApp::process_new(&self.0, stream, shutdown).await;
        }
    }
}

fn options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // The strict checks refuse CONNECT with a reply of ours; the engine's own would lack the request's ids.
    options.allow_connect_method_proxying = true;
    options
}

/// The engine as one HTTP/2 connection sees it. The engine has one set of options for all of its connections,
/// but how long one may be idle is its listener's to say.
struct Multiplexed {
    engine: Arc<HttpProxy<Proxy>>,
    options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for Multiplexed {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &watch::Receiver<bool>,
    ) -> Option<ReusedHttpStream> {
        self.engine.process_new_http(session, shutdown).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
