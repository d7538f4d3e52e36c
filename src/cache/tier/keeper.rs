//! Who has the disk: opens it, logs what was purged and heard of, and closes it. It has others told and heard as well, once
//! it is known what the disk says of that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{DiskSettings, MOST_LATE, Stage, record};
use crate::cache::Cache;
use crate::cache::disk::{Disk, OpenError};
use crate::cache::fleet::{self, Heard};
use crate::cache::marks::{Mark, Purge};

/// How often it looks whether a disk can be had now that could not, and what there is to log anew.
const TURN: Duration = Duration::from_secs(1);
/// The same while another process may let go of it any moment.
const SOON: Duration = Duration::from_millis(50);
/// Logged together.
const MOST_AT_A_TIME: usize = 256;
/// Of a smaller log nothing is gained by writing it anew.
const LEAST_LOG: u64 = 1 << 20;
/// How much longer than after the last time the log may have become.
const GROWTH: u64 = 4;
/// Long before the disk takes no more of it. As many marks as there can be are shorter.
const MOST_LOG: u64 = 40 << 20;

/// A disk that is there as it was wanted.
struct Held {
    settings: DiskSettings,
    disk: Arc<Disk>,
    /// How long the log was when it was last written anew.
    log: u64,
    /// What the log says was heard last.
    heard: Option<Heard>,
}

pub(super) async fn keep(cache: Arc<Cache>) {
    let mut wanted = cache.tier.wanted.subscribe();
    let Some(mut to_log) = cache.tier.take_to_log() else {
        return;
    };
    let mut marks = Vec::new();
    let mut held: Option<Held> = None;
    let began = Instant::now();
    // For what it is told already that it cannot be had.
    let mut told = None;
    let mut is_busy = false;
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(other) = held.take_if(|held| Some(&held.settings) != now.as_ref()) {
            let stays = now
                .as_ref()
                .is_some_and(|now| now.folder == other.settings.folder);
            if !stays && !cache.tier.is_left.load(Ordering::Relaxed) {
                other.give_up(&cache).await;
            }
            close(&cache, other, &mut to_log).await;
        }
        if held.is_none()
            && let Some(settings) = &now
        {
            match open(&cache, settings).await {
                Ok(opened) => {
                    told = None;
                    held = Some(opened);
                }
                Err(error) => {
                    is_busy = matches!(error, OpenError::Busy);
                    cache.tier.is_busy.store(is_busy, Ordering::Relaxed);
                    if told.as_ref() != Some(settings) {
                        tell(settings, &error);
                        told = Some(settings.clone());
                    }
                }
            }
        }
        let may_come = now.is_some() && is_busy && began.elapsed() < fleet::WAIT_FOR_DISK;
        if held.is_some() || !may_come {
            cache
                .fleet
                .begin(&cache, held.as_ref().and_then(|held| held.heard));
        }
        let pause = match held.is_none() && may_come {
            true => SOON,
            false => TURN,
        };
        cache.tier.tried.send_replace(now);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            _ = to_log.recv_many(&mut marks, MOST_AT_A_TIME) => {}
            () = tokio::time::sleep(pause) => {}
        }
        match &mut held {
            Some(held) => {
                held.log(&cache, &mut marks, &mut to_log).await;
                held.shorten(&cache).await;
            }
            // They are logged with all others when there is a disk.
            None => marks.clear(),
        }
    }
}

async fn open(cache: &Arc<Cache>, settings: &DiskSettings) -> Result<Held, OpenError> {
    let (own, wanted) = (cache.clone(), settings.clone());
    let opened = spawn_blocking(move || {
        let disk = Arc::new(Disk::open(&wanted.folder, wanted.size)?);
        // From here on purges are logged: what was purged before is in memory, and logged with the rest below.
        own.tier.set(Stage::Logs(disk.clone()));
        let records = disk.take_marks();
        let (mut marks, mut heard) = (Some(Vec::new()), None);
        for record in &records {
            match Heard::from_bytes(record) {
                Some(now) => heard = Some(now),
                None => {
                    marks = marks
                        .zip(Mark::from_bytes(record))
                        .map(|(mut marks, mark)| {
                            marks.push(mark);
                            marks
                        });
                }
            }
        }
        let is_understood = marks.is_some();
        own.marks.learn(marks.unwrap_or_default());
        if !is_understood {
            log::warn!(
                "cache: the disk has purges that are not understood; they count as a purge of everything"
            );
            own.marks.purge(&Purge::all());
        }
        if !own.fleet.knows_since(heard) {
            log::warn!(
                "cache: what is on disk may be older than what others have purged, and counts as purged"
            );
            own.marks.purge(&Purge::all());
        }
        // It is about nothing, and says to the next run how far this one's clock was when its first object was written.
        own.marks.purge(&Purge::url(b"", b"\0"));
        Ok::<_, OpenError>((disk, heard))
    });
    let (disk, heard) = opened.await.map_err(io::Error::other)??;
    if let Err(error) = rewrite(cache, &disk, heard).await {
        cache.tier.set(Stage::Closed);
        // An error of joining is that of a thread that has panicked, which was told.
        let _ = spawn_blocking(move || disk.close()).await;
        return Err(error.into());
    }
    cache.tier.set(Stage::Open(disk.clone()));
    let objects = disk.stats().objects;
    log::info!(
        "cache: {} is open, with {objects} objects",
        settings.folder.display()
    );
    Ok(Held {
        settings: settings.clone(),
        log: disk.marks_position().bytes(),
        heard,
        disk,
    })
}

/// Logs what waits to be, writes what is queued, and leaves the folder to others.
async fn close(cache: &Arc<Cache>, mut held: Held, to_log: &mut mpsc::Receiver<Mark>) {
    // From here on nothing is found, and no purge says that it is durable.
    cache.tier.set(Stage::Closed);
    held.log(cache, &mut Vec::new(), to_log).await;
    if cache.tier.is_behind.load(Ordering::Relaxed) {
        // What fails was told by the disk.
        let _ = rewrite(cache, &held.disk, held.heard).await;
    }
    let disk = held.disk;
    if spawn_blocking(move || disk.close()).await.is_err() {
        log::error!("cache: the disk could not be closed");
    }
}

/// All marks that there are, in the place of those that were logged, and what was heard before they were looked at.
async fn rewrite(cache: &Arc<Cache>, disk: &Disk, heard: Option<Heard>) -> io::Result<()> {
    // Before they are looked at: who adds one from now on says so again.
    cache.tier.is_behind.store(false, Ordering::Relaxed);
    let since = disk.marks_position();
    let own = cache.clone();
    // Hundreds of thousands of them take a while.
    let marks = spawn_blocking(move || own.marks.all().into_iter().map(record).collect::<Vec<_>>());
    let mut all = marks.await.map_err(io::Error::other)?;
    all.extend(heard.map(Heard::to_bytes));
    let rewritten = disk.rewrite_marks(since, all).await;
    if rewritten.is_err() {
        cache.tier.is_behind.store(true, Ordering::Relaxed);
    }
    rewritten
}

impl Held {
    /// Logs these marks and all that wait, and then what was heard before.
    async fn log(
        &mut self,
        cache: &Cache,
        marks: &mut Vec<Mark>,
        to_log: &mut mpsc::Receiver<Mark>,
    ) {
        // Their marks are in memory and wait, or did not find room.
        let heard = cache.fleet.heard();
        // No more than can wait: others come meanwhile.
        marks.extend(std::iter::from_fn(|| to_log.try_recv().ok()).take(MOST_LATE));
        let mut are_logged = true;
        while !marks.is_empty() {
            let first = marks.drain(..marks.len().min(MOST_AT_A_TIME));
            let records: Vec<Vec<u8>> = first.map(record).collect();
            let logged = join_all(records.iter().map(|record| self.disk.log_mark(record))).await;
            are_logged &= logged.iter().all(Result::is_ok);
        }
        if !are_logged {
            cache.tier.is_behind.store(true, Ordering::Relaxed);
        }
        let is_behind = cache.tier.is_behind.load(Ordering::Relaxed);
        if let Some(heard) = heard.filter(|_| !is_behind && heard != self.heard) {
            match self.disk.log_mark(&heard.to_bytes()).await {
                Ok(()) => self.heard = Some(heard),
                // The next turn logs it, or all anew.
                Err(_) => cache.tier.is_behind.store(true, Ordering::Relaxed),
            }
        }
    }

    /// The gateway goes on without this folder, and nobody will know there what is purged meanwhile. So all of it is.
    async fn give_up(&self, cache: &Cache) {
        let last = cache.marks.last_of_all();
        if self.disk.log_mark(&last.to_bytes()).await.is_err() {
            let folder = self.settings.folder.display();
            log::warn!(
                "cache: {folder} does not hear of purges any more; empty it before it is used again"
            );
        }
    }

    async fn shorten(&mut self, cache: &Arc<Cache>) {
        let most = (GROWTH * self.log).min(MOST_LOG);
        let is_long = self.disk.marks_position().bytes() > LEAST_LOG.max(most);
        let is_behind = cache.tier.is_behind.load(Ordering::Relaxed);
        // What fails is tried again in a turn, and told by the disk.
        let heard = cache.fleet.heard().or(self.heard);
        if (is_long || is_behind) && rewrite(cache, &self.disk, heard).await.is_ok() {
            self.log = self.disk.marks_position().bytes();
            self.heard = heard;
        }
    }
}

fn tell(settings: &DiskSettings, error: &OpenError) {
    let folder = settings.folder.display();
    match error {
        OpenError::Busy => {
            log::info!("cache: another process uses {folder}; until it does not, there is no disk");
        }
        error => log::error!("cache: {folder} cannot be used, and is tried again: {error}"),
    }
}
