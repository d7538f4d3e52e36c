//! The least that a Pingora proxy can be, and the yardstick of `loadtest/`: every request goes to one upstream.
//!
//! `bare_proxy LISTEN UPSTREAM [WORKERS]`, for instance `bare_proxy 127.0.0.1:18081 127.0.0.1:18001 2`.
//!
//! It has Northgate's allocator, so that what the two differ by is what Northgate does, and not malloc.

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare(String);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.0, false, String::new())))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: bare_proxy LISTEN UPSTREAM [WORKERS]");
        std::process::exit(2);
    };
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.next().map_or_else(available, |workers| {
        workers.parse().expect("WORKERS is a number")
    });
    let conf = ServerConf {
        threads,
        upstream_keepalive_pool_size: 4096,
        ..ServerConf::default()
    };

    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare(upstream));
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever();
}
