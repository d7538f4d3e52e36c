//! The exchanges that fetch for the cache, each on a task of its own.
//!
//! A client that leaves takes no response away from those who come next, and is bound by limits for as long as it is there. So
//! what is fetched for nobody any more is bound here.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::cache::Filler;
use crate::proxy::Proxy;

/// How many fetch for nobody at a time, once they have done so for a while. What is more than that is broken off.
const MOST_ALONE: usize = 512;
/// How often it is looked whether anybody waits.
const LOOK: Duration = Duration::from_secs(1);
/// How often in a row nobody has to: whoever has waited may be about to read.
const LOOKS: u32 = 2;

/// Those that are under way. They end with it.
pub(in crate::proxy) struct Fills {
    engine: OnceLock<Weak<HttpProxy<Proxy>>>,
    tasks: Mutex<JoinSet<()>>,
    /// For those that nobody waits for.
    alone: Arc<Semaphore>,
    /// What the engine is shown in the place of the end of the process.
    never: watch::Receiver<bool>,
}

impl Default for Fills {
    fn default() -> Fills {
        Fills {
            engine: OnceLock::new(),
            tasks: Mutex::default(),
            alone: Arc::new(Semaphore::new(MOST_ALONE)),
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

    /// As [`Fills::serve`], on a task of its own, which has to make do with what room there is where nobody waits for it.
    pub(super) fn begin(&self, session: ServerSession, filler: Arc<Filler>) {
        let Some(served) = self.serve(session) else {
            return;
        };
        let alone = self.alone.clone();
        let served = async move {
            tokio::pin!(served);
            let mut looks = 0;
            while looks < LOOKS {
                tokio::select! {
                    biased;
                    () = &mut served => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                looks = match filler.is_wanted() {
                    true => 0,
                    false => looks + 1,
                };
            }
            let Ok(_room) = alone.try_acquire() else {
                return;
            };
            served.await;
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(served);
    }
}
