//! A write transaction that can't leave its connection half-way.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Executor, Postgres, Sqlite};

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

/// A transaction whose connection goes back to the pool only after a COMMIT or ROLLBACK that the
/// database has confirmed. Dropped in any other state, by an error or a cancelled future, the
/// connection is closed, and the database rolls back.
///
/// sqlx 0.9.0's own `Pool::begin` does not give this: dropped while BEGIN is under way, it
/// returns the connection inside an open transaction, and the next write on it is acknowledged
/// and lost (<https://github.com/launchbadge/sqlx/issues/4385>). `tests/cancelled_begin.rs`
/// shows both.
pub struct WriteTransaction<DB: WriteBackend> {
    connection: Option<PoolConnection<DB>>,
}

impl<DB: WriteBackend> WriteTransaction<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Begins on a connection of a pool.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn begin(connection: PoolConnection<DB>) -> Result<Self, sqlx::Error> {
        let mut transaction = Self {
            connection: Some(connection),
        };
        statement(
            DB::SYSTEM,
            "BEGIN",
            "",
            transaction.connection().execute(DB::BEGIN),
        )
        .await?;
        Ok(transaction)
    }

    /// The connection to run statements on.
    ///
    /// # Panics
    /// Never: the connection is there until the transaction ends, and ending consumes it.
    pub fn connection(&mut self) -> &mut DB::Connection {
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
        statement(DB::SYSTEM, how, "", self.connection().execute(how)).await?;
        // Confirmed: from here on the connection is clean and may go back.
        drop(self.connection.take());
        Ok(())
    }
}

impl<DB: WriteBackend> Drop for WriteTransaction<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// Pings a pooled connection that has been idle, so that one that the server has closed is
/// replaced and does not cost a request its answer.
pub async fn ping_if_idle<C: Connection>(
    connection: &mut C,
    idle_for: std::time::Duration,
) -> Result<bool, sqlx::Error> {
    const TRUSTED: std::time::Duration = std::time::Duration::from_secs(1);
    if idle_for < TRUSTED {
        return Ok(true);
    }
    Ok(connection.ping().await.is_ok())
}
