//! What is different between two sets, in words.

use std::fmt;

use super::Member;

/// So many endpoints are named of each kind; of the others it is said how many they are.
const NAMED: usize = 8;

/// What is different between two sets, each in the order of the addresses.
#[derive(Debug)]
pub(super) struct Changes<'m> {
    added: Vec<&'m Member>,
    removed: Vec<&'m Member>,
    /// Where it is the same, and what is said of it is not.
    changed: Vec<&'m Member>,
    left: usize,
}

impl<'m> Changes<'m> {
    pub(super) fn between(before: &'m [Member], now: &'m [Member]) -> Changes<'m> {
        let mut changes = Changes {
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            left: now.len(),
        };
        let place = |member: &'m Member| (&member.socket, &member.host);
        let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
        loop {
            let order = match (before.peek(), now.peek()) {
                (None, None) => return changes,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(before), Some(now)) => place(before).cmp(&place(now)),
            };
            let gone = before.next_if(|_| order.is_le());
            let come = now.next_if(|_| order.is_ge());
            match (gone, come) {
                (Some(gone), None) => changes.removed.push(gone),
                (None, Some(come)) => changes.added.push(come),
                (Some(was), Some(is)) if was != is => changes.changed.push(is),
                _ => {}
            }
        }
    }
}

/// `2 added (10.0.0.1:80, 10.0.0.2:80), 1 removed (10.0.0.3:80); 5 now`
impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut divider = "";
        for (members, what) in [
            (&self.added, "added"),
            (&self.removed, "removed"),
            (&self.changed, "changed"),
        ] {
            if members.is_empty() {
                continue;
            }
            let mut names: Vec<String> = members
                .iter()
                .take(NAMED)
                .map(|it| it.socket.text())
                .collect();
            if members.len() > NAMED {
                names.push(format!("and {} more", members.len() - NAMED));
            }
            write!(
                f,
                "{divider}{} {what} ({})",
                members.len(),
                names.join(", ")
            )?;
            divider = ", ";
        }
        if divider.is_empty() {
            f.write_str("none")
        } else {
            write!(f, "; {} now", self.left)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_words() {
        let set = |members: &[(u16, u32)]| -> Vec<Member> {
            let at =
                |&(port, weight): &(u16, u32)| Member::at(([10, 0, 0, 1], port).into(), weight);
            members.iter().map(at).collect()
        };
        let check = |before: &[(u16, u32)], now: &[(u16, u32)], expected: &str| {
            let (before, now) = (set(before), set(now));
            assert_eq!(Changes::between(&before, &now).to_string(), expected);
        };
        check(&[], &[], "none");
        check(
            &[],
            &[(1, 1), (2, 1)],
            "2 added (10.0.0.1:1, 10.0.0.1:2); 2 now",
        );
        check(&[(1, 1)], &[], "1 removed (10.0.0.1:1); 0 now");
        check(
            &[(1, 1), (2, 1), (4, 1)],
            &[(2, 5), (3, 1), (4, 1)],
            "1 added (10.0.0.1:3), 1 removed (10.0.0.1:1), 1 changed (10.0.0.1:2); 3 now",
        );
        let many: Vec<(u16, u32)> = (1..=10).map(|port| (port, 1)).collect();
        let named = (1..=8).map(|port| format!("10.0.0.1:{port}"));
        let named = named.collect::<Vec<_>>().join(", ");
        check(
            &[],
            &many,
            &format!("10 added ({named}, and 2 more); 10 now"),
        );
    }
}
