//! The gateway as clients and origins see it: one file per feature, told with the harness.

mod harness;
mod origins;

mod actions;
mod caps;
mod client_address;
mod client_timeouts;
mod compression;
mod errors;
mod forwarding;
mod framing;
mod grpc;
mod header_policies;
mod health;
mod http2_connections;
mod http2_floods;
mod http2_hostile;
mod ip_access;
mod lifecycle;
mod listeners;
mod observability;
mod paths;
mod proxy_protocol;
mod proxying;
mod routing;
mod streaming;
mod strict_http1;
mod timeouts;
mod tls_clients;
mod tls_names;
mod tls_renewal;
mod tls_sessions;
mod upstream_framing;
mod upstream_requests;
mod upstream_tls;
mod upstreams;
