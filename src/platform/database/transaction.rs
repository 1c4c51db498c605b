//! A write transaction that never returns its connection to the pool unfinished.

use std::ops::DerefMut;
use std::time::Duration;

use sqlx::{Executor, Postgres, Sqlite};

use crate::platform::telemetry::spans::{System, statement};

/// A database that commands write to.
pub trait WriteBackend: sqlx::Database {
    /// The statement that begins a write transaction.
    const BEGIN: &'static str;

    /// The name of the system in its spans.
    const SYSTEM: System;
}

impl WriteBackend for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const SYSTEM: System = System::Postgres;
}

impl WriteBackend for Sqlite {
    // Takes the write lock at once: a deferred transaction that becomes a writer cannot wait for
    // it.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const SYSTEM: System = System::Sqlite;
}

/// A connection that is returned to a pool.
pub trait Pooled: DerefMut<Target = <Self::Backend as sqlx::Database>::Connection> + Send {
    /// The database it connects to.
    type Backend: WriteBackend;

    /// Returns the connection to the pool, with nothing in progress on it.
    fn give_back(self);

    /// Closes the connection.
    fn discard(self);
}

/// A transaction whose connection returns to the pool only after a COMMIT or ROLLBACK that the
/// database has confirmed. If it is dropped in any other state, by an error or a cancelled future,
/// the connection is closed, and the database rolls back.
///
/// `Pool::begin` of sqlx 0.9.0 does not guarantee this: dropped during BEGIN, it returns the
/// connection inside an open transaction, and the next write on it is acknowledged and lost
/// (<https://github.com/launchbadge/sqlx/issues/4385>). `tests/cancelled_begin.rs` shows both.
pub struct WriteTransaction<C: Pooled> {
    connection: Option<C>,
}

impl<C: Pooled> WriteTransaction<C>
where
    for<'c> &'c mut C::Target: Executor<'c, Database = C::Backend>,
{
    /// Begins a transaction on a connection of a pool.
    ///
    /// # Errors
    /// The driver's.
    pub async fn begin(connection: C) -> Result<Self, sqlx::Error> {
        let mut transaction = Self {
            connection: Some(connection),
        };
        statement(
            C::Backend::SYSTEM,
            "BEGIN",
            "",
            transaction.connection().execute(C::Backend::BEGIN),
        )
        .await?;
        Ok(transaction)
    }

    /// The connection to run statements on.
    ///
    /// # Panics
    /// Never: the connection is present until the transaction ends, and ending consumes it.
    pub fn connection(&mut self) -> &mut C::Target {
        self.connection.as_mut().expect("present until the end")
    }

    /// Commits.
    ///
    /// # Errors
    /// The outcome is then unknown: the transaction may have been committed.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    /// Rolls back.
    ///
    /// # Errors
    /// The driver's; nothing is committed.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        statement(C::Backend::SYSTEM, how, "", self.connection().execute(how)).await?;
        // Confirmed: the connection is clean and may return to the pool.
        if let Some(connection) = self.connection.take() {
            connection.give_back();
        }
        Ok(())
    }
}

impl<C: Pooled> Drop for WriteTransaction<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.discard();
        }
    }
}

/// How long an idle connection is assumed to be open without a check. A connection that the server
/// has closed meanwhile must not cost a request its response.
pub const TRUSTED: Duration = Duration::from_secs(1);
