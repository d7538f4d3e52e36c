//! Privileges of the process.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// For ports below 1024; kept where it was given, also over a binary upgrade.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Keys are in memory: nobody gets it, neither as a core dump nor through a debugger of the same user.
pub(super) fn hide_memory() -> io::Result<String> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok("no core dumps".to_owned())
}

pub(super) fn gain_nothing() -> io::Result<String> {
    rustix::thread::set_no_new_privs(true)?;
    Ok("no_new_privs".to_owned())
}

/// Keeps [`KEPT`], if it is there, and gives up everything else, for programs that are executed too.
pub(super) fn drop_capabilities() -> io::Result<String> {
    let sets = rustix::thread::capabilities(None)?;
    // What a program that is executed could get at most. Only who may change the sets can change this one.
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
            // An error is the end of those that the kernel knows.
            let Ok(is_in) = rustix::thread::capability_is_in_bounding_set(capability) else {
                break;
            };
            if is_in && capability != KEPT {
                rustix::thread::remove_capability_from_bounding_set(capability)?;
            }
        }
    }
    let kept = sets.permitted & KEPT;
    let left = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: kept,
    };
    // Where systemd has given no more it may also have forbidden to ask for less.
    if sets != left {
        rustix::thread::set_capabilities(None, left)?;
    }
    if kept.is_empty() {
        return Ok("no capabilities".to_owned());
    }
    // So that it reaches the program of an upgrade, whatever user this is. A process that may not raise it goes on.
    let _ = rustix::thread::configure_capability_in_ambient_set(KEPT, true);
    Ok("capabilities: CAP_NET_BIND_SERVICE alone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_go_but_for_one() {
        let (had, has) = std::thread::spawn(|| {
            let had = rustix::thread::capabilities(None).unwrap();
            gain_nothing().unwrap();
            drop_capabilities().unwrap();
            (had, rustix::thread::capabilities(None).unwrap())
        })
        .join()
        .unwrap();
        let kept = had.permitted & KEPT;
        let expected = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        };
        assert_eq!(has, expected);
    }
}
