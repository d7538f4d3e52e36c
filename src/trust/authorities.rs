//! The authorities of the system: who is believed about others where nothing else is said.

use std::sync::{Arc, LazyLock};

use pingora::tls::load_platform_certs_incl_env_into_store;
use rustls::RootCertStore;

/// The authorities of the system, read once, as the engine does.
pub(crate) fn system_authorities() -> Result<Arc<RootCertStore>, String> {
    static SYSTEM: LazyLock<Result<Arc<RootCertStore>, String>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        load_platform_certs_incl_env_into_store(&mut roots)
            .map(|()| Arc::new(roots))
            .map_err(|error| error.to_string())
    });
    SYSTEM.clone()
}
