//! Who has the disk: opens it, logs what was purged, and closes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{DiskSettings, Stage, record};
use crate::cache::Cache;
use crate::cache::disk::{Disk, OpenError};
use crate::cache::marks::{Mark, Purge};

/// How often it looks whether a disk can be had now that could not, and what there is to log anew.
const TURN: Duration = Duration::from_secs(1);
/// Logged together.
const MOST_AT_A_TIME: usize = 256;
/// Of a smaller log nothing is gained by writing it anew.
const LEAST_LOG: u64 = 1 << 20;
/// How much longer than after the last time the log may have become.
const GROWTH: u64 = 4;

/// A disk that is there as it was wanted.
struct Held {
    settings: DiskSettings,
    disk: Arc<Disk>,
    /// How long the log was when it was last written anew.
    log: u64,
}

pub(super) async fn keep(cache: Arc<Cache>) {
    let mut wanted = cache.tier.wanted.subscribe();
    let Some(mut to_log) = cache.tier.take_to_log() else {
        return;
    };
    let mut marks = Vec::new();
    let mut held: Option<Held> = None;
    // For what it is told already that it cannot be had.
    let mut told = None;
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(other) = held.take_if(|held| Some(&held.settings) != now.as_ref()) {
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
                Err(error) if told.as_ref() != Some(settings) => {
                    tell(settings, &error);
                    told = Some(settings.clone());
                }
                Err(_) => {}
            }
        }
        cache.tier.tried.send_replace(now);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            _ = to_log.recv_many(&mut marks, MOST_AT_A_TIME) => {}
            () = tokio::time::sleep(TURN) => {}
        }
        match &mut held {
            Some(held) => {
                log(&cache, &held.disk, &mut marks).await;
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
        let marks = records.iter().map(|it| Mark::from_bytes(it));
        match marks.collect::<Option<Vec<Mark>>>() {
            Some(marks) => own.marks.learn(marks),
            None => {
                log::warn!(
                    "cache: the disk has purges that are not understood; they count as a purge of everything"
                );
                own.marks.purge(&Purge::all());
            }
        }
        // It is about nothing, and says to the next run how far this one's clock was when its first object was written.
        own.marks.purge(&Purge::url(b"", b"\0"));
        Ok::<_, OpenError>(disk)
    });
    let disk = opened.await.map_err(io::Error::other)??;
    if let Err(error) = rewrite(cache, &disk).await {
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
        disk,
    })
}

/// Logs what waits to be, writes what is queued, and leaves the folder to others.
async fn close(cache: &Arc<Cache>, held: Held, to_log: &mut mpsc::Receiver<Mark>) {
    // From here on nothing is found, and no purge says that it is durable.
    cache.tier.set(Stage::Closed);
    let mut marks = Vec::new();
    while let Ok(mark) = to_log.try_recv() {
        marks.push(mark);
    }
    log(cache, &held.disk, &mut marks).await;
    let disk = held.disk;
    if spawn_blocking(move || disk.close()).await.is_err() {
        log::error!("cache: the disk could not be closed");
    }
}

async fn log(cache: &Cache, disk: &Disk, marks: &mut Vec<Mark>) {
    let records: Vec<Vec<u8>> = marks.drain(..).map(record).collect();
    let logged = join_all(records.iter().map(|record| disk.log_mark(record))).await;
    if logged.iter().any(Result::is_err) {
        cache.tier.is_behind.store(true, Ordering::Relaxed);
    }
}

/// All marks that there are, in the place of those that were logged.
async fn rewrite(cache: &Cache, disk: &Disk) -> io::Result<()> {
    // Before they are looked at: who adds one from now on says so again.
    cache.tier.is_behind.store(false, Ordering::Relaxed);
    let since = disk.marks_position();
    let all = cache.marks.all().into_iter().map(record).collect();
    let rewritten = disk.rewrite_marks(since, all).await;
    if rewritten.is_err() {
        cache.tier.is_behind.store(true, Ordering::Relaxed);
    }
    rewritten
}

impl Held {
    async fn shorten(&mut self, cache: &Cache) {
        let is_long = self.disk.marks_position().bytes() > LEAST_LOG.max(GROWTH * self.log);
        let is_behind = cache.tier.is_behind.load(Ordering::Relaxed);
        // What fails is tried again in a turn, and told by the disk.
        if (is_long || is_behind) && rewrite(cache, &self.disk).await.is_ok() {
            self.log = self.disk.marks_position().bytes();
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
