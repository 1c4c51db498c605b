//! A write transaction that can't leave its connection half-way.

use std::ops::DerefMut;
use std::time::Duration;

use sqlx::{Executor, Postgres, Sqlite};

use crate::platform::telemetry::spans::{System, statement};

/// A database that commands write to.
pub trait WriteBackend: sqlx::Database {
    /// How a write transaction begins.
    const BEGIN: &'static str;

    /// How its spans name it.
    const SYSTEM: System;
}

impl WriteBackend for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const SYSTEM: System = System::Postgres;
}

impl WriteBackend for Sqlite {
    // Takes the write lock at once: a deferred transaction that turns writer can't wait its turn.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const SYSTEM: System = System::Sqlite;
}

/// A connection that a pool wants back.
pub trait Pooled: DerefMut<Target = <Self::Backend as sqlx::Database>::Connection> + Send {
    /// What it leads to.
    type Backend: WriteBackend;

    /// Gives it back, with nothing under way on it.
    fn give_back(self);

    /// Closes it.
    fn discard(self);
}

/// A transaction whose connection goes back to the pool only after a COMMIT or ROLLBACK that the
/// database has confirmed. Dropped in any other state, by an error or a cancelled future, the
/// connection is closed, and the database rolls back.
///
/// sqlx 0.9.0's own `Pool::begin` does not give this: dropped while BEGIN is under way, it
/// returns the connection inside an open transaction, and the next write on it is acknowledged
/// and lost (<https://github.com/launchbadge/sqlx/issues/4385>). `tests/cancelled_begin.rs`
/// shows both.
pub struct WriteTransaction<C: Pooled> {
    connection: Option<C>,
}

impl<C: Pooled> WriteTransaction<C>
where
    for<'c> &'c mut C::Target: Executor<'c, Database = C::Backend>,
{
    /// Begins on a connection of a pool.
    ///
    /// # Errors
    /// When the database refuses.
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
    /// Never: the connection is there until the transaction ends, and ending consumes it.
    pub fn connection(&mut self) -> &mut C::Target {
        self.connection.as_mut().expect("there until the end")
    }

    /// Makes it so.
    ///
    /// # Errors
    /// The outcome is then unknown: it may have been committed.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// Nothing is committed all the same.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        statement(C::Backend::SYSTEM, how, "", self.connection().execute(how)).await?;
        // Confirmed: from here on the connection is clean and may go back.
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

/// How long an idle connection is taken to be open without a look. One that the server has closed
/// meanwhile must not cost a request its response.
pub const TRUSTED: Duration = Duration::from_secs(1);
