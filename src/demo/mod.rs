//! The sample shop that `northgate demo` puts behind the gateway: four small HTTP/1.1 services in this process.
//!
//! In come four ports and a shutdown signal; out comes a [`Shop`] that is already listening. Users, orders,
//! products and payments answer JSON for the ids 1 to 100. Everything is computed from the id, so two runs, two
//! machines and a test all see the same shop, and orders, carts and payments fit each other.
//!
//! Each service also has what a user wants to try a gateway on:
//!
//! | path | what it does |
//! |---|---|
//! | `GET /healthz` | the health check |
//! | `POST /_demo/fail` | fails, or only slows down, the requests of the next while; `GET` shows it, `DELETE` ends it |
//! | any method `/_demo/echo`, `/_demo/echo/{*rest}` | the request as this service received it |
//!
//! Users publish the keys that their tokens are signed with, at `/.well-known/jwks.json`; who signs is not their matter.
//!
//! Every answer carries `server`, `x-powered-by` and `x-internal-shard`, headers that a gateway should strip.
//!
//! **Invariant:** the shop knows nothing of the gateway. It imports no other room, listens on loopback only and
//! keeps no more than a bounded number of payments, so what the gateway is shown to do, it does to a stranger.

#[cfg(test)]
mod client;
mod dice;
mod events;
mod failure;
mod orders;
mod paging;
mod payment_order;
mod payments;
mod products;
mod service;
mod trouble;
mod users;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use service::Service;

/// The ids that exist: every user, order, cart and product, and the payments known from the start.
const IDS: std::ops::RangeInclusive<u32> = 1..=100;

/// The ports on loopback, one for each service. Port 0 lets the kernel choose; see [`Shop::addresses`].
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub users: u16,
    pub orders: u16,
    pub products: u16,
    pub payments: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            users: 8001,
            orders: 8002,
            products: 8003,
            payments: 8004,
        }
    }
}

/// Where each service listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Addresses {
    pub users: SocketAddr,
    pub orders: SocketAddr,
    pub products: SocketAddr,
    pub payments: SocketAddr,
}

/// The running shop. It owns the tasks of its services: dropping it ends them at once.
#[derive(Debug)]
pub struct Shop {
    addresses: Addresses,
    services: JoinSet<()>,
}

/// Opens the shop: binds all four services, then serves them on the current Tokio runtime until `shutdown` turns
/// true or loses its sender. `key_set` is what users publish for verifying the tokens that they are given, a JWKS.
///
/// Nothing is served unless every port could be bound; the error names the service and the address that could not.
pub async fn start(
    ports: Ports,
    key_set: String,
    shutdown: watch::Receiver<bool>,
) -> io::Result<Shop> {
    let users = bind("users", ports.users).await?;
    let orders = bind("orders", ports.orders).await?;
    let products = bind("products", ports.products).await?;
    let payments = bind("payments", ports.payments).await?;
    let addresses = Addresses {
        users: users.local_addr()?,
        orders: orders.local_addr()?,
        products: products.local_addr()?,
        payments: payments.local_addr()?,
    };

    let mut services = JoinSet::new();
    let mut open = |listener, name, latency_ms, routes: Router| {
        services.spawn(Service::new(name, latency_ms).serve(listener, routes, shutdown.clone()));
    };
    open(users, "users", 1..=4, users::routes(key_set));
    open(
        orders,
        "orders",
        3..=9,
        orders::routes().merge(events::routes(shutdown.clone())),
    );
    open(products, "products", 1..=6, products::routes());
    open(payments, "payments", 5..=14, payments::routes());
    Ok(Shop {
        addresses,
        services,
    })
}

impl Shop {
    /// The bound addresses, with the ports the kernel chose where 0 was asked for.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Waits until every service has ended, which is at most two seconds after the shutdown signal.
    pub async fn closed(mut self) {
        while self.services.join_next().await.is_some() {}
    }
}

async fn bind(service: &str, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("the demo's {service} service cannot listen on {address}: {error}"),
        )
    })
}

/// The id that `text` is in its one spelling, if the shop knows it.
fn known(text: &str) -> Option<u32> {
    let id = text.parse().ok().filter(|id| IDS.contains(id))?;
    text.bytes()
        .next()
        .is_some_and(|first| (b'1'..=b'9').contains(&first))
        .then_some(id)
}

#[cfg(test)]
mod tests {
    use super::client::{Shopper, get};
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_service_and_address() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let (_stop, shutdown) = watch::channel(false);
        let ports = Ports {
            users: 0,
            orders: 0,
            products: port,
            payments: 0,
        };
        let error = start(ports, String::new(), shutdown).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains(&format!(
                "products service cannot listen on 127.0.0.1:{port}"
            )),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_signal_closes_every_service() {
        let shop = Shopper::enter().await;
        let users = shop.addresses.users;
        assert_eq!(get(users, "/healthz").await.status, 200);
        shop.leave().await;
        assert!(tokio::net::TcpStream::connect(users).await.is_err());
    }
}
