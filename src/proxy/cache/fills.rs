//! The exchanges that fetch for the cache, each on a task of its own.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::proxy::Proxy;

/// Those that are under way. They end with it.
pub(in crate::proxy) struct Fills {
    engine: OnceLock<Weak<HttpProxy<Proxy>>>,
    tasks: Mutex<JoinSet<()>>,
    /// What the engine is shown in the place of the end of the process.
    never: watch::Receiver<bool>,
}

impl Default for Fills {
    fn default() -> Fills {
        Fills {
            engine: OnceLock::new(),
            tasks: Mutex::default(),
            never: watch::channel(false).1,
        }
    }
}

impl Fills {
    /// The engine that serves them, once it is there.
    pub(in crate::proxy) fn serve_by(&self, engine: &Arc<HttpProxy<Proxy>>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    /// Has the engine serve this session of the gateway's own. It ends where what is given is dropped.
    pub(in crate::proxy) fn serve(
        &self,
        session: ServerSession,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let engine = self.engine.get().and_then(Weak::upgrade)?;
        let never = self.never.clone();
        Some(async move {
            engine.process_new_http(session, &never).await;
        })
    }

    /// As [`Fills::serve`], on a task of its own.
    pub(super) fn begin(&self, session: ServerSession) {
        let Some(served) = self.serve(session) else {
            return;
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(served);
    }
}
