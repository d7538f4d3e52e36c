//! The admin listener while it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::StartError;
use super::passed::Passed;
use super::starting::ADMIN;
use crate::admin::{self, Admin, State};
use crate::listener::{self, Socket};
use crate::text::BindAddress;

/// What serves operators now.
pub(super) struct AdminListener {
    state: State,
    running: Option<Running>,
    tasks: JoinSet<()>,
}

struct Running {
    admin: Arc<Admin>,
    socket: Arc<Socket>,
    stop: watch::Sender<bool>,
}

impl AdminListener {
    /// None yet.
    pub(super) fn new(state: State) -> AdminListener {
        AdminListener {
            state,
            running: None,
            tasks: JoinSet::new(),
        }
    }

    /// The socket for this one: that of the present one, where it is bound there, or one that was passed.
    pub(super) fn socket(
        &self,
        wanted: &Admin,
        others: &[Arc<Socket>],
        passed: &mut Passed,
    ) -> Result<Arc<Socket>, StartError> {
        let known = self.running.iter().find(|it| it.admin.bind == wanted.bind);
        // A listener that gives the address up leaves its socket.
        let bound = |socket: &&Arc<Socket>| {
            let bound = socket.local_address();
            !wanted.bind.is_any_port() && bound.is_ok_and(|bound| bound == wanted.bind)
        };
        let left = others.iter().find(bound);
        match known.map(|it| &it.socket).or(left) {
            Some(known) => Ok(known.clone()),
            None => passed
                .take(ADMIN, &wanted.bind)
                .or_else(|| passed.take("admin", &wanted.bind))
                .unwrap_or_else(|| listener::bind(&wanted.bind, others))
                .map(Arc::new)
                .map_err(|cause| StartError::BindAdmin {
                    address: wanted.bind.clone(),
                    cause,
                }),
        }
    }

    /// The present one with its socket.
    pub(super) fn door(&self) -> Option<(Arc<Admin>, Arc<Socket>)> {
        let running = self.running.as_ref()?;
        Some((running.admin.clone(), running.socket.clone()))
    }

    /// Serves this one in place of the present one. Requests in flight there end in peace, among them the one that
    /// has asked for the change.
    pub(super) fn serve(&mut self, wanted: Option<(Arc<Admin>, Arc<Socket>)>) {
        let is_same = match (&self.running, &wanted) {
            (None, None) => true,
            (Some(running), Some((wanted, _))) => *running.admin == **wanted,
            _ => false,
        };
        if is_same {
            return;
        }
        let before = self.running.take();
        self.running = wanted.map(|(admin, socket)| self.start(admin, socket));
        if let Some(before) = before {
            before.stop.send_replace(true);
        }
        while self.tasks.try_join_next().is_some() {}
    }

    pub(super) fn address(&self) -> Option<BindAddress> {
        let running = self.running.as_ref()?;
        let bound = running.socket.local_address();
        Some(bound.unwrap_or_else(|_| running.admin.bind.clone()))
    }

    /// Serves nobody any more. Whoever holds a connection open must not hold the process: it has until `limit`.
    pub(super) async fn stop(&mut self, limit: Duration) {
        self.serve(None);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, ended).await.is_err() {
            self.tasks.abort_all();
        }
    }

    fn start(&mut self, admin: Arc<Admin>, socket: Arc<Socket>) -> Running {
        let bound = socket.local_address();
        let address = bound.unwrap_or_else(|_| admin.bind.clone());
        log::info!("admin: serving {address}");
        let stop = watch::Sender::new(false);
        self.tasks.spawn(admin::serve(
            admin.clone(),
            socket.clone(),
            self.state.clone(),
            stop.subscribe(),
        ));
        Running {
            admin,
            socket,
            stop,
        }
    }
}
