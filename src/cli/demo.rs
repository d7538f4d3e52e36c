//! `northgate demo`

use std::process::ExitCode;

use clap::Args;
use tokio::sync::watch;

use super::demo_keys::{Signer, api_key, consumer};
use crate::config::{compile, load_text};
use crate::demo;
use crate::gateway;
use crate::observability::Metrics;

const SHOP: &str = include_str!("../../conf/shop.toml");

/// Start a sample shop of four services and the gateway in front of it.
#[derive(Debug, Args)]
pub(super) struct Command {}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        super::log::start();
        let metrics = Metrics::new();
        let (key_set, key) = match Signer::open().and_then(|it| Ok((it.key_set(), api_key()?))) {
            Ok((key_set, key)) => (key_set.to_string(), key),
            Err(error) => {
                eprintln!("error: the demo's keys cannot be had: {error}");
                return ExitCode::FAILURE;
            }
        };
        let mut loaded = load_text("conf/shop.toml", &format!("{SHOP}{}", consumer(&key)));
        let configuration = compile(&mut loaded, &metrics);
        let Some(configuration) = configuration else {
            super::report(&loaded);
            return ExitCode::FAILURE;
        };
        // A runtime of its own, so that the shop is as much a stranger to the gateway as any upstream.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("shop")
            .enable_all()
            .build();
        let (stop, stopped) = watch::channel(false);
        let opened = runtime.map(|runtime| {
            let shop = runtime.block_on(demo::start(demo::Ports::default(), key_set, stopped));
            (runtime, shop)
        });
        let (runtime, shop) = match opened {
            Ok((runtime, Ok(shop))) => (runtime, shop),
            Ok((_, Err(error))) | Err(error) => {
                eprintln!("error: the shop cannot open: {error}");
                return ExitCode::FAILURE;
            }
        };
        let result = gateway::run(configuration, None, metrics, |_| println!("{}", welcome()));
        stop.send_replace(true);
        runtime.block_on(shop.closed());
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Names the program as it was called: after `make demo` it is in no PATH.
fn welcome() -> String {
    let program = std::env::args().next();
    WELCOME.replace("NORTHGATE", program.as_deref().unwrap_or("northgate"))
}

const WELCOME: &str = r#"
  Northgate is in front of a sample shop: users :8001, orders :8002, products :8003, payments :8004.
  http://127.0.0.1:8080 · https://127.0.0.1:8443 (a certificate made just now) · admin http://127.0.0.1:9900

  Try, in another terminal:

    curl -i  http://127.0.0.1:8080/ping                      # answered by the gateway itself
    curl -s  'http://127.0.0.1:8080/products?per_page=3'
    curl -s  http://127.0.0.1:8080/products/7
    curl -s  http://127.0.0.1:8080/users/7
    curl -sk https://127.0.0.1:8443/users/7                  # HTTP/2 over TLS
    curl -s  http://127.0.0.1:8080/echo/hello                # what an upstream gets to see
    curl -sN http://127.0.0.1:8080/orders/events             # server-sent events, as they come
    curl -i  http://127.0.0.1:8080/order/7                   # redirected
    curl -i  -X DELETE http://127.0.0.1:8080/products/7      # 405, with Allow
    curl -i  http://127.0.0.1:8080/nowhere                   # 404, as a problem document

  Who calls? Orders want a token, payments an API key, support a role; others get 401 or 403:

    curl -i  http://127.0.0.1:8080/orders/7
    curl -i  http://127.0.0.1:8080/orders/7 -H "authorization: Bearer $(NORTHGATE token)"
    curl -i  http://127.0.0.1:8080/payments -H "x-api-key: $(NORTHGATE key demo)" -H 'content-type: application/json' \
             -d '{"order_id":42,"amount_cents":4999,"currency":"EUR","card_token":"tok_visa_4242"}'
    curl -i  http://127.0.0.1:8080/support/payments/7 -H "authorization: Bearer $(NORTHGATE token)"
    curl -i  http://127.0.0.1:8080/support/payments/7 -H "authorization: Bearer $(NORTHGATE token --role support)"

  One call instead of four; while a service fails, the others still answer, and it says so:

    curl -s  http://127.0.0.1:8080/api/home -H "authorization: Bearer $(NORTHGATE token)"

  Let an upstream fail for ten seconds, and look again; after three failed health checks it is left out:

    curl -s  http://127.0.0.1:8003/_demo/fail -H 'content-type: application/json' -d '{"status":503,"for_ms":10000,"health":true}'
    curl -i  http://127.0.0.1:8080/products/7
    curl -i  http://127.0.0.1:8080/api/home -H "authorization: Bearer $(NORTHGATE token)"
    curl -s  http://127.0.0.1:9900/upstreams

  Look inside:

    curl -s  http://127.0.0.1:9900/metrics
    NORTHGATE explain -c conf/shop.toml GET http://127.0.0.1:8080/orders/7

  Requests are shown below as they pass. Ctrl-C ends it.
"#;
