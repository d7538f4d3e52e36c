//! Plans from TOML, for tests.

use crate::text::{Diagnostics, Sources, Spanned, Subject, Table};

use super::{Config, Plan};

/// The parameters of the path `/api/{id}/{*rest}`.
pub(super) fn parameters() -> Vec<Box<str>> {
    ["id", "rest"].map(Into::into).into()
}

/// Compiles what stands below `[aggregate]`; every upstream but `nowhere` is known. Problems are `line:column message (help)`.
pub(super) fn plan(toml: &str) -> Result<Plan, Vec<String>> {
    let mut sources = Sources::new();
    let mut diagnostics = Diagnostics::new();
    let text = format!("[aggregate]\n{toml}");
    let source = sources.add("a.toml", text.as_str());
    let mut table = Table::parse(&mut diagnostics, source, &text).expect("good syntax");
    let config = table.take::<Spanned<Config>>("aggregate");
    let plan = config.and_then(|config| {
        let mut subject = Subject::new(&mut diagnostics, "aggregate");
        let is_upstream = |name: &Spanned<crate::text::Name>, subject: &mut Subject<'_>| {
            let is_known = name.as_str() != "nowhere";
            if !is_known {
                subject.error(name.span, "no such upstream");
            }
            is_known
        };
        Plan::build(&config, &parameters(), is_upstream, &mut subject)
    });
    let problems: Vec<_> = diagnostics
        .iter()
        .map(|one| {
            let at = sources.position(one.span.expect("every problem has a place"));
            let help = one.help.as_ref().map(|help| format!(" ({help})"));
            let line = at.line - 1;
            let column = at.column;
            format!(
                "{line}:{column} {}{}",
                one.message,
                help.unwrap_or_default()
            )
        })
        .collect();
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        plan => {
            assert!(plan.is_none() || problems.is_empty(), "{problems:?}");
            Err(problems)
        }
    }
}
