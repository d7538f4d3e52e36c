//! A file that lists endpoints and is looked at again and again.

use std::convert::Infallible;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::listed::{Listed, of_json, of_toml};
use super::lists::Lists;
use super::pause::Pauses;
use super::{Build, Failure, OnEmpty, Sink, Source};
use crate::text::{Look, Spanned, open_file};

/// How often the file is looked at, which costs a microsecond or two. A change is to be in force within 100 ms, and a file
/// that is written in place is read one look later, when it has come to rest.
const INTERVAL: Duration = Duration::from_millis(35);
/// Looks take this part of the time at most, however slow the disk is, as long as that is not longer between them.
const SHARE: u32 = 10;
const LONGEST: Duration = Duration::from_secs(1);
/// How often it is said that the file is as it was.
const WORD: Duration = Duration::from_secs(1);
const MOST_BYTES: u64 = 16 << 20;

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    lists: Lists,
}

/// A file that is not there yet, or has mistakes, is no mistake of the configuration: it may change at any time.
pub(super) fn build(file: &Spanned<PathBuf>, context: &mut Build<'_>) -> Option<Arc<dyn Source>> {
    if file.value.as_os_str().is_empty() {
        let mut subject = context.subject.key("file");
        subject.error(file.span, "is empty; it must be the path of a file");
        return None;
    }
    let path = context.base.join(&file.value);
    Some(Arc::new(Watched {
        path,
        lists: Lists::default(),
    }))
}

#[async_trait]
impl Source for Watched {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    /// Somebody has written that there are none.
    fn on_empty(&self) -> OnEmpty {
        OnEmpty::Drop
    }

    async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure> {
        self.watch(sink).await
    }

    async fn publish(&self, sink: &Sink) -> Infallible {
        self.lists.publish(sink).await
    }
}

impl Watched {
    async fn watch(&self, sink: &Sink) -> Result<Infallible, Failure> {
        let (mut eye, mut is_good) = (Eye::default(), false);
        let mut word_at = Instant::now();
        let (mut pauses, mut again_at) = (Pauses::default(), None);
        loop {
            let path = self.path.clone();
            let look = spawn_blocking(move || {
                let began = Instant::now();
                (Look::at(&path), began.elapsed())
            });
            let (look, took) = look.await.map_err(Failure::unreachable)?;
            if again_at.is_some_and(|at| at <= Instant::now()) {
                again_at = None;
                eye.forget();
            }
            if eye.is_news(look) {
                let read = self.read().await;
                is_good = read.is_ok();
                // It is there, and could not be read: nothing of it has to change until it can be.
                let is_passing = look.is_some() && matches!(read, Err(Failure::Unreachable(_)));
                again_at = is_passing.then(|| Instant::now() + pauses.next());
                if !is_passing {
                    pauses.reset();
                }
                match read {
                    Ok(list) => self.lists.tell(list, sink),
                    Err(failure) => sink.failed(&failure),
                }
            } else if is_good && word_at <= Instant::now() {
                self.lists.alive(sink);
                word_at = Instant::now() + WORD;
            }
            sleep((took * SHARE).clamp(INTERVAL, LONGEST)).await;
        }
    }

    async fn read(&self) -> Result<Vec<Listed>, Failure> {
        let path = self.path.clone();
        let read = spawn_blocking(move || read(&path)).await;
        read.unwrap_or_else(|error| Err(Failure::unreachable(error)))
    }
}

fn read(path: &Path) -> Result<Vec<Listed>, Failure> {
    let mut text = String::new();
    let length = open_file(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        .map_err(Failure::unreachable)?;
    if length as u64 > MOST_BYTES {
        return Err(Failure::malformed(format!(
            "it is larger than {MOST_BYTES} bytes"
        )));
    }
    let shown = path.to_string_lossy();
    let is_json = path
        .extension()
        .is_some_and(|it| it.eq_ignore_ascii_case("json"));
    let listed = match is_json {
        true => of_json(&shown, &text),
        false => of_toml(&shown, &text),
    };
    listed.map_err(Failure::malformed)
}

/// What was seen of a file.
#[derive(Debug, Default)]
struct Eye {
    /// As it was when it was read; `None` inside where it was not there.
    read: Option<Option<Look>>,
    /// As it was at the last look.
    last: Option<Option<Look>>,
}

impl Eye {
    /// Whether it is to be read. A file that takes the place of another is whole: so files are replaced that mean
    /// something together, and so container platforms do it. One that is written in place is only read once it has
    /// not changed from one look to the next, or half of it could pass for all.
    fn is_news(&mut self, look: Option<Look>) -> bool {
        let last = self.last.replace(look);
        if self.read == Some(look) {
            return false;
        }
        let is_another = match (self.read.flatten(), look) {
            (Some(read), Some(look)) => !read.is_same_file(&look),
            _ => false,
        };
        let is_first = self.read.is_none() && last.is_none();
        let is_news = is_first || is_another || last == Some(look);
        if is_news {
            self.read = Some(look);
        }
        is_news
    }

    /// It has not been read after all, and is news once it is at rest.
    fn forget(&mut self) {
        self.read = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let look = Look::at(file.path());
        let mut eye = Eye::default();
        assert!(look.is_some() && eye.is_news(look) && !eye.is_news(look));
        eye.forget();
        assert!(eye.is_news(look) && !eye.is_news(look));
    }
}
