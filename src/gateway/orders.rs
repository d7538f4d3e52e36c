//! What the process is told, by signals and by the admin listener.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::reload::refused;
use crate::admin::{Command, Report};

/// Where an answer goes, if anybody waits for one.
#[derive(Debug, Default)]
pub(super) struct Reply(Option<oneshot::Sender<Report>>);

impl Reply {
    pub(super) fn send(self, report: Report) {
        if let Some(reply) = self.0 {
            // An operator who has gone has the log.
            let _ = reply.send(report);
        }
    }

    /// Answers that nothing comes of it.
    pub(super) fn refuse(self, why: &str) {
        log::warn!("refused: {why}");
        self.send(refused(String::new(), why));
    }
}

/// What to do.
#[derive(Debug)]
pub(super) enum Order {
    /// To end.
    End,
    /// To load the configuration anew.
    Reload(Reply),
    /// To tell what that would change.
    Diff(oneshot::Sender<Result<serde_json::Value, Report>>),
    /// To let another program take the place of this one.
    Upgrade(Reply),
}

impl Order {
    /// Answers that nothing comes of it, to whoever waits for an answer.
    pub(super) fn refuse(self, why: &str) {
        match self {
            Order::End => {}
            Order::Reload(reply) | Order::Upgrade(reply) => reply.refuse(why),
            // An operator who has gone wants no answer.
            Order::Diff(reply) => drop(reply.send(Err(refused(String::new(), why)))),
        }
    }
}

/// All that the process listens to.
pub(super) struct Orders {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    usr2: Signal,
    commands: Option<mpsc::Receiver<Command>>,
}

impl Orders {
    /// Signals alone, for now.
    pub(super) fn new() -> io::Result<Orders> {
        Ok(Orders {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            usr2: signal(SignalKind::user_defined2())?,
            commands: None,
        })
    }

    /// Takes these as well.
    pub(super) fn listen_to(&mut self, commands: Option<mpsc::Receiver<Command>>) {
        self.commands = commands;
    }

    pub(super) async fn next(&mut self) -> Order {
        let commands = &mut self.commands;
        let command = async {
            match commands {
                Some(commands) => commands.recv().await,
                None => None,
            }
        };
        let (told, order) = tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM: draining", Order::End),
            _ = self.interrupt.recv() => ("SIGINT: draining", Order::End),
            _ = self.hangup.recv() => ("SIGHUP: reloading", Order::Reload(Reply::default())),
            _ = self.usr2.recv() => ("SIGUSR2: upgrading", Order::Upgrade(Reply::default())),
            Some(command) = command => return match command {
                Command::Reload(reply) => Order::Reload(Reply(Some(reply))),
                Command::Diff(reply) => Order::Diff(reply),
                Command::Upgrade(reply) => Order::Upgrade(Reply(Some(reply))),
            },
        };
        log::info!("{told}");
        order
    }

    /// Waits for the order to end; all others wait for their turn.
    pub(super) async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => log::info!("SIGTERM: draining"),
            _ = self.interrupt.recv() => log::info!("SIGINT: draining"),
        }
    }

    /// Waits for the order to end, and refuses all others.
    pub(super) async fn end(&mut self, why_no_other: &str) {
        loop {
            match self.next().await {
                Order::End => return,
                other => other.refuse(why_no_other),
            }
        }
    }
}
