//! The access log: lines are appended to a bounded buffer on the request path and written by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Notify;

use super::AccessRecord;
use crate::text::ByteSize;

/// How long a line may wait before it is written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);
/// How many flushes pass between looks whether the file was rotated away.
const FLUSHES_PER_ROTATION_CHECK: u32 = 20;
const SHARDS: usize = 16;

/// Where the access log goes. `access_log = "off"` ends it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file to append to; standard output where absent. A file that was renamed away (logrotate) is opened
    /// anew within a second.
    pub path: Option<PathBuf>,
    /// `json`: one object a line. `text`: short lines for a terminal.
    pub format: Format,
    /// How much may wait to be written; lines beyond it are dropped and counted in
    /// `northgate_access_log_dropped_total`.
    pub buffer: ByteSize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            path: None,
            format: Format::Json,
            buffer: ByteSize::from_bytes(8 * 1024 * 1024),
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Json,
    Text,
}

/// The sink of access records. Appending costs one short lock on a buffer that few threads share, and a copy;
/// no system call and no allocation once the buffers have grown.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    format: Format,
    shards: [Shard; SHARDS],
    /// Bytes that wait in all shards together, and those that are being written.
    waiting: AtomicUsize,
    capacity: usize,
    dropped: IntCounter,
    wake: Condvar,
    stopped: Mutex<bool>,
    /// Told once, when the last line has been written.
    finished: Notify,
}

/// Alone on its cache lines, so that threads do not slow each other down by appending to neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Vec<u8>>);

impl AccessLog {
    /// Opens the log and starts its writer.
    pub fn start(config: &Config, dropped: IntCounter) -> io::Result<AccessLog> {
        let sink = Sink::open(config.path.clone())?;
        let shared = Arc::new(Shared {
            format: config.format,
            shards: Default::default(),
            waiting: AtomicUsize::new(0),
            capacity: config.buffer.as_usize(),
            dropped,
            wake: Condvar::new(),
            stopped: Mutex::new(false),
            finished: Notify::new(),
        });
        let writer = shared.clone();
        // A thread and not a task: a write to a slow disk or a full pipe blocks as long as it likes.
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.write_until_stopped(sink))?;
        Ok(AccessLog { shared })
    }

    /// Appends one record, or drops it where the buffer is full.
    pub fn append(&self, record: &AccessRecord<'_>) {
        static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        let shared = &*self.shared;
        let shard = SHARD.with(|shard| *shard);
        let mut lines = shared.shards[shard]
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = lines.len();
        record.write(shared.format, &mut lines);
        let length = lines.len() - before;
        let waited = shared.waiting.fetch_add(length, Ordering::Relaxed);
        if waited + length > shared.capacity {
            lines.truncate(before);
            shared.waiting.fetch_sub(length, Ordering::Relaxed);
            shared.dropped.inc();
        } else if waited <= shared.capacity / 2 && waited + length > shared.capacity / 2 {
            shared.wake.notify_all();
        }
    }

    /// Writes what is buffered and ends the writer, which gets this long for it; a reader that takes nothing must
    /// not hold the process. Records appended later are lost.
    pub async fn stop(&self, limit: Duration) {
        self.tell_to_stop();
        if tokio::time::timeout(limit, self.shared.finished.notified())
            .await
            .is_err()
        {
            log::warn!(
                "the access log could not be written within {limit:?}; its last lines are lost"
            );
        }
    }

    fn tell_to_stop(&self) {
        *self
            .shared
            .stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

impl Shared {
    fn write_until_stopped(&self, mut sink: Sink) {
        let mut lines = Vec::new();
        let mut flushes = 0u32;
        loop {
            let is_stopped = self.wait();
            for shard in &self.shards {
                // The full buffer goes out and the emptied one of the shard before comes in, so that no
                // request waits for a write and buffers keep their memory.
                std::mem::swap(
                    &mut *shard.0.lock().unwrap_or_else(PoisonError::into_inner),
                    &mut lines,
                );
                if !lines.is_empty() {
                    let count = || lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
                    if let Err(error) = sink.write(&lines) {
                        self.dropped.inc_by(count());
                        log::warn!("cannot write the access log: {error}");
                    }
                    self.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                    lines.clear();
                }
            }
            if is_stopped {
                self.finished.notify_one();
                return;
            }
            flushes = flushes.wrapping_add(1);
            if flushes.is_multiple_of(FLUSHES_PER_ROTATION_CHECK) {
                sink.reopen_if_rotated();
            }
        }
    }

    /// Waits until lines are due. True where these are the last.
    fn wait(&self) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return true;
        }
        let waited = self.wake.wait_timeout(stopped, FLUSH_INTERVAL);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Sink {
    fn open(path: Option<PathBuf>) -> io::Result<Sink> {
        Ok(match path {
            None => Sink::Stdout,
            Some(path) => Sink::File {
                file: append_to(&path)?,
                path,
            },
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Sink::File { file, .. } => file.write_all(lines),
        }
    }

    fn reopen_if_rotated(&mut self) {
        let Sink::File { path, file } = self else {
            return;
        };
        let is_same = match (std::fs::metadata(&*path), file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            // The name is gone: it was rotated away.
            (Err(_), _) => false,
            (_, Err(_)) => true,
        };
        if !is_same {
            match append_to(path) {
                Ok(opened) => *file = opened,
                Err(error) => log::warn!(
                    "cannot open the access log {} again: {error}",
                    path.display()
                ),
            }
        }
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> AccessRecord<'_> {
        AccessRecord {
            time: Duration::ZERO,
            listener: "public",
            route: "r",
            consumer: None,
            subject: None,
            credential: None,
            authenticator: None,
            certificate: None,
            client: None,
            method: "GET",
            host: None,
            path,
            protocol: "HTTP/1.1",
            status: 200,
            bytes_in: 0,
            bytes_out: 0,
            total: Duration::ZERO,
            upstream_time: None,
            first_byte: None,
            upstream: None,
            endpoint: None,
            attempts: 0,
            retried: None,
            retry_stop: None,
            hedge: None,
            cache: None,
            parts: None,
            span_id: b"",
            code: None,
            fault: None,
            flag: None,
            cause: None,
            degraded: None,
            fallback: None,
            limit: None,
            limit_rule: None,
            limit_decision: None,
            request_id: b"",
            trace_id: b"",
        }
    }

    #[tokio::test]
    async fn every_line_is_written_before_stop_returns() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            path: Some(folder.path().join("access.log")),
            ..Config::default()
        };
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let log = AccessLog::start(&config, dropped.clone()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| log.append(&record("/"))));
            }
        });
        log.stop(Duration::from_secs(10)).await;
        let written = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
        assert_eq!(written.lines().count() as u64 + dropped.get(), 4000);
        assert!(written.lines().all(|line| line.ends_with('}')));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let config = Config {
            path: Some(path),
            buffer: ByteSize::from_bytes(1),
            ..Config::default()
        };
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let log = AccessLog::start(&config, dropped.clone()).unwrap();
        log.append(&record(&"x".repeat(10_000)));
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn one_thread_may_fill_the_whole_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let (path, line) = (folder.path().join("access.log"), record("/"));
        let config = Config {
            path: Some(path),
            ..Config::default()
        };
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let log = AccessLog::start(&config, dropped.clone()).unwrap();
        // Together a tenth of the buffer, appended faster than the writer wakes.
        let mut length = Vec::new();
        line.write(Format::Json, &mut length);
        let fits = config.buffer.as_usize() / 10 / length.len();
        (0..fits).for_each(|_| log.append(&line));
        assert_eq!(dropped.get(), 0);
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_does_not_hold_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        // Opened for both, so that opening does not wait; nobody reads.
        let reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let config = Config {
            path: Some(path),
            ..Config::default()
        };
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let log = AccessLog::start(&config, dropped).unwrap();
        (0..10_000).for_each(|_| log.append(&record("/")));
        let begin = std::time::Instant::now();
        log.stop(Duration::from_millis(100)).await;
        assert!(begin.elapsed() < Duration::from_secs(5));
        drop(reader);
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut sink = Sink::open(Some(path.clone())).unwrap();
        sink.write(b"one\n").unwrap();
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        sink.reopen_if_rotated();
        sink.write(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }
}
