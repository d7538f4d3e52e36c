//! When a connection or the gateway comes to its end, as an exchange sees it.

use super::exchange::Exchange;
use crate::listener::{Connection, End};

impl Exchange {
    /// Whether it is the last on its connection, because that is too old or its listener drains.
    pub(super) fn is_last(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|it| self.is_on_old(it) || it.drain.has_begun())
    }

    /// Whether the connection has been used for as long as it may be.
    pub(super) fn is_on_old(&self, connection: &Connection) -> bool {
        self.began >= connection.retires_at()
    }

    /// What tells a call of gRPC over HTTP/2 that the grace is over.
    pub(super) fn end_of_call(&self) -> Option<End> {
        let connection = self.connection.as_ref();
        let connection = connection.filter(|it| self.is_grpc && it.is_h2())?;
        Some(End::of(connection.drain.clone()))
    }

    /// Whether the grace is over, so that what fails now has failed for that.
    pub(super) fn is_over(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.drain.is_over())
    }
}
