//! An upgrade as the process goes through it that serves until then.

use super::orders::{Order, Orders, Reply};
use super::reload::refused;
use super::upgrade::{Heir, Program, UpgradeError};
use super::{Gateway, status, systemd};
use crate::admin::{Outcome, Report};

/// What has become of this process.
pub(super) enum Succession {
    /// It serves as before.
    Stays,
    /// It was told to end before there was another.
    Ends,
    /// Another one serves. `is_drained` where everything here has ended by itself.
    Over { is_drained: bool },
}

/// Starts another process in the place of this one, and drains once that is ready.
pub(super) async fn upgrade(
    gateway: &mut Gateway,
    orders: &mut Orders,
    program: &Program,
    reply: Reply,
) -> Succession {
    let raised = tokio::select! {
        raised = raise(gateway, program) => raised,
        // Dropping it ends what has been started.
        () = orders.end("an upgrade is under way") => return Succession::Ends,
    };
    let raised = match raised {
        Ok(mut heir) => {
            // From before it serves: what either of them then has may be older than what is changed at the other.
            let purges = gateway.snapshot.load().cache.step_aside();
            match heir.go().await {
                Ok(()) => {
                    heir.tell(purges);
                    Ok(heir)
                }
                Err(error) => {
                    gateway.keep_on();
                    Err(format!(
                        "process {} was ready, and cannot be told to serve: {error}",
                        heir.pid()
                    ))
                }
            }
        }
        Err(error) => Err(error.to_string()),
    };
    let heir = match raised {
        Ok(heir) => heir,
        Err(problem) => {
            log::error!("upgrade: {problem}");
            log::error!("upgrade: it has failed; this process serves on");
            gateway.metrics.upgraded("failed");
            reply.send(refused(problem, "the upgrade has failed"));
            return Succession::Stays;
        }
    };
    log::info!("upgrade: process {} serves; draining", heir.pid());
    gateway.metrics.upgraded("handed_over");
    reply.send(Report {
        outcome: Outcome::Applied,
        problems: String::new(),
        notes: vec![format!("process {} serves now", heir.pid())],
    });
    drain(gateway, orders, heir).await
}

async fn raise(gateway: &Gateway, program: &Program) -> Result<Heir, UpgradeError> {
    let sockets = gateway.sockets().map_err(UpgradeError::Sockets)?;
    Heir::raise(program, sockets, gateway.settings.upgrade_timeout).await
}

/// Drains beside the process that serves, and takes its place again if it ends too early.
async fn drain(gateway: &mut Gateway, orders: &mut Orders, mut heir: Heir) -> Succession {
    let handed_over = gateway.hand_over();
    // To the service manager this one is the main process until it ends: so it can take up its work again without a word.
    systemd::status(&format!("process {} serves; this one drains", heir.pid()));
    let (mut is_told_to_end, mut has_ended) = (false, false);
    let ended = {
        let drained = gateway.drained();
        tokio::pin!(drained);
        loop {
            tokio::select! {
                is_drained = &mut drained => break Ok(is_drained),
                how = heir.ended(), if !is_told_to_end && !has_ended => match how {
                    Some(how) => break Err(how),
                    // It was told to, or has handed over itself.
                    None => has_ended = true,
                },
                order = orders.next() => match order {
                    Order::End if is_told_to_end => break Ok(false),
                    Order::End => is_told_to_end = true,
                    other => other.refuse("another process serves; this one drains"),
                },
            }
        }
    };
    gateway.snapshot.load().cache.forget_heir();
    let how = match ended {
        Ok(is_drained) => {
            heir.told().await;
            return over(heir.pid(), is_drained).await;
        }
        Err(how) => how,
    };
    log::error!(
        "upgrade: process {} {how} while this one still drained: taking over again",
        heir.pid()
    );
    gateway.take_back(handed_over);
    gateway.metrics.upgraded("taken_back");
    systemd::status(&status::serving(&gateway.snapshot()));
    Succession::Stays
}

/// Leaves the service to the process that serves.
async fn over(pid: u32, is_drained: bool) -> Succession {
    if let Err(error) = tokio::task::spawn_blocking(move || systemd::hand_over(pid)).await {
        log::warn!("systemd: {error}");
    }
    Succession::Over { is_drained }
}
