//! A connection of one's own.

use std::fmt;
use std::time::Duration;

use redis::{Cmd, FromRedisValue};
use tokio::time::timeout;

use super::StoreError;
use super::dial::Link;

/// A connection that only one has, for commands that the server waits with: everybody else's would wait behind them. It
/// ends when it is dropped, and says nothing about whether the server answers others.
pub struct OwnLine {
    link: Link,
    timeout: Duration,
}

impl OwnLine {
    pub(super) fn new(link: Link, timeout: Duration) -> OwnLine {
        OwnLine { link, timeout }
    }

    /// Has a command done that the server was told to answer within `patience`; for the way there and back it has the
    /// store's `timeout` besides. After an error the line is of no use.
    pub async fn wait<T: FromRedisValue>(
        &self,
        command: &Cmd,
        patience: Duration,
    ) -> Result<T, StoreError> {
        let patience = patience + self.timeout;
        match timeout(patience, self.link.send(command)).await {
            Ok(answer) => Ok(T::from_redis_value(answer?)?),
            Err(_) => Err(StoreError::Deadline(patience)),
        }
    }
}

impl fmt::Debug for OwnLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnLine").finish_non_exhaustive()
    }
}
