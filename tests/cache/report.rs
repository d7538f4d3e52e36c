//! What has come of all cases.

use std::fmt::Write;

use crate::case::Kind;

/// What has come of a case.
pub struct Verdict {
    pub id: String,
    pub section: &'static str,
    pub kind: Kind,
    /// Of the step that was not as it has to be.
    pub complaint: Option<String>,
}

pub struct Report {
    verdicts: Vec<Verdict>,
}

impl Report {
    pub fn of(mut verdicts: Vec<Verdict>) -> Report {
        verdicts.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        Report { verdicts }
    }

    /// Those that failed, by their ids.
    pub fn failed(&self) -> Vec<&str> {
        let failed = self.verdicts.iter().filter(|it| it.complaint.is_some());
        failed.map(|it| it.id.as_str()).collect()
    }

    /// Prints what has come of it, and panics where something is not as it has to be.
    #[track_caller]
    pub fn settle(self, what: &str) {
        let mut table = String::new();
        for Verdict {
            id,
            section,
            kind,
            complaint,
        } in &self.verdicts
        {
            if let Some(complaint) = complaint {
                let _ = writeln!(table, "{kind:?} {id} ({section}): {complaint}");
            }
        }
        let mut summary = format!("{what}: {} cases", self.verdicts.len());
        for kind in [Kind::Must, Kind::Should, Kind::May] {
            let of_kind = self.verdicts.iter().filter(|it| it.kind == kind);
            let good = of_kind.clone().filter(|it| it.complaint.is_none()).count();
            let _ = write!(summary, ", {kind:?} {good}/{}", of_kind.count());
        }
        println!("{table}{summary}");
        // What the RFCs leave open is pinned to what was chosen.
        assert!(self.failed().is_empty(), "{summary}; the table is above");
    }
}
