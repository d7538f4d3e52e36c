//! `northgate cache`, `northgate purge`

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;

use super::limits::Asking;
use crate::gateway::{BroadcastShown, CacheShown, DiskShown, EntryShown, Purged};

/// Show the cache of the running gateway.
///
/// Without a subcommand, how full it is.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Subcommand)]
enum Action {
    Inspect(Inspect),
}

/// Show what is kept of a URL, each variant, and why it is good or is not.
#[derive(Debug, Args)]
struct Inspect {
    /// Such as http://shop.example/products/7, with the host as clients ask for it.
    url: String,
    #[command(flatten)]
    asking: Asking,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match self.action {
            None => self
                .asking
                .ask(Method::GET, "/cache", |shown: CacheShown| stats(&shown)),
            Some(Action::Inspect(Inspect { url, asking })) => {
                let target = format!("/cache/entries?{}", query([("url", &*url)]));
                asking.ask(Method::GET, &target, |all: Vec<EntryShown>| entries(&all))
            }
        }
    }
}

/// Have the running gateway serve no more what it keeps of something.
///
/// When it returns, no request that begins gets what was kept before.
#[derive(Debug, Args)]
pub(super) struct Purge {
    #[command(flatten)]
    what: What,
    /// Keep it as stale: it may be served while a new one is fetched, or where none can be had, on routes that allow that.
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A URL, with the host as clients ask for it.
    #[arg(long)]
    url: Option<String>,
    /// All URLs that begin so, such as http://shop.example/products/; or /products/, of all hosts.
    #[arg(long)]
    prefix: Option<String>,
    /// All of a host.
    #[arg(long)]
    host: Option<String>,
    /// All that has a tag.
    #[arg(long)]
    tag: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

impl Purge {
    pub(super) fn run(self) -> ExitCode {
        let What {
            url,
            prefix,
            host,
            tag,
            all,
        } = &self.what;
        let all = all.then(|| "true".to_owned());
        let each = [
            ("url", url),
            ("prefix", prefix),
            ("host", host),
            ("tag", tag),
            ("all", &all),
        ];
        let said = each
            .into_iter()
            .filter_map(|(word, value)| Some((word, value.as_deref()?)));
        let soft = self.soft.then_some(("soft", "true"));
        let target = format!("/cache/purge?{}", query(said.chain(soft)));
        self.asking.ask(Method::POST, &target, |purged: Purged| {
            let how = if purged.soft { ", softly" } else { "" };
            let later = purged
                .untold
                .map(|why| format!("; other gateways are told later: {why}"));
            format!("purged {}{how}{}\n", purged.what, later.unwrap_or_default())
        })
    }
}

fn query<'q>(pairs: impl IntoIterator<Item = (&'q str, &'q str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    query.finish()
}

fn stats(shown: &CacheShown) -> String {
    let CacheShown {
        entries,
        memory,
        memory_bound,
        bodies,
        evicted,
        purged,
        disk,
        broadcast,
    } = shown;
    let mut text = format!(
        "{entries} entries, {memory} of {memory_bound} bytes; {bodies} bytes of bodies, of those too that are only read any more\n\
         {evicted} evicted since the start; {purged} things were purged\n"
    );
    if let Some(disk) = disk {
        let DiskShown {
            objects,
            bytes,
            bound,
            hits,
            writes,
            dropped,
            evicted,
            corrupt,
            errors,
        } = disk;
        let _ = writeln!(
            text,
            "disk: {objects} objects, {bytes} of {bound} bytes; {hits} found, {writes} written, {dropped} not written, \
             {evicted} evicted; {corrupt} damaged, {errors} errors"
        );
    }
    if let Some(broadcast) = broadcast {
        let BroadcastShown {
            told,
            received,
            missed,
            untold,
            ..
        } = broadcast;
        let _ = write!(
            text,
            "other gateways: {told} purges told, {untold} to be told, {received} received, {missed} times some were missed"
        );
        text.push_str(match broadcast.heard {
            Some(_) => "\n",
            None => "; the store has not answered so far\n",
        });
    }
    text
}

fn entries(all: &[EntryShown]) -> String {
    if all.is_empty() {
        return "nothing is kept of it\n".to_owned();
    }
    let mut text = String::new();
    for entry in all {
        let EntryShown {
            status,
            standing,
            age,
            left,
            bytes,
            tags,
            uses,
            ..
        } = entry;
        let _ = write!(
            text,
            "{status}: {standing}, {age} s old, {left} s left; {bytes} bytes"
        );
        if !entry.whole {
            text.push_str(" so far");
        }
        if !entry.varies_by.is_empty() {
            let _ = write!(text, "; varies by {}", entry.varies_by.join(", "));
        }
        let _ = writeln!(text, "; {tags} tags, used {uses} times");
    }
    text
}
