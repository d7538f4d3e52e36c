//! What the tests are told with: a [`Gateway`] in this process, [`Origin`]s behind it and [`Client`]s before it.
//!
//! Ports are handed out by the kernel, files live in folders that go away with the test, and every wait has a
//! deadline. Nothing here sleeps in order to let something else happen.

mod body;
mod chromium;
mod client;
mod consul;
mod crowd;
mod etcd;
mod fleet;
pub mod frames;
mod gateway;
mod kubernetes;
mod message;
mod name_server;
mod origin;
mod pair;
mod provider;
mod raw;
mod raw_h2;
mod redis;
mod redis_sets;
mod relay;
mod table;
mod tls;
pub mod tokens;
mod traffic;
mod wait;

pub use body::{Body, channel, empty, full};
pub use chromium::Chromium;
pub use client::{Answer, Client, Incoming, Io};
pub use consul::Consul;
pub use crowd::Crowd;
pub use etcd::{Etcd, USER};
pub use fleet::Fleet;
pub use gateway::{Draft, Gateway};
pub use kubernetes::Kubernetes;
pub use message::{Ask, delete, get, head, post, reply, request, status, text};
pub use name_server::NameServer;
pub use origin::{Origin, Seen};
pub use pair::{Protocol, over_each_pair};
pub use provider::Provider;
pub use raw::{RawClient, RawOrigin};
pub use raw_h2::{H2Outcome, exchange_h2};
pub use redis::{Redis, free_address, own_address};
pub use redis_sets::{RedisCluster, SENTINEL_PASSWORD, SERVER_PASSWORD, Watched};
pub use relay::{Passing, Relay};
pub use table::assert_named;
pub use tls::{Authority, Certificate};
pub use traffic::Traffic;
pub use wait::{PATIENCE, assert_fired, eventually, within};

/// The cryptography of this process; the first caller decides, as `main` does in the real one.
pub fn install_cryptography() {
    // An error means that another test of this process has been here before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
