//! Single statements: reads of the projection, and single writes or reads on the write pool.

use std::future::Future;

use super::statement::{FromRow, Parameters, Rows, Statement};
use super::{Database, Pools, faults};
use crate::domain::StoreError;
use crate::platform::tasks::why_ended;

impl Database {
    /// Reads a page of rows; on the replica if there is one.
    ///
    /// # Errors
    /// When the database is unavailable, or reports an error.
    pub async fn fetch_page<T: FromRow>(
        &self,
        of: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.fetch(of, parameters, Rows::Many).await?)
    }

    pub(super) async fn fetch<T: FromRow>(
        &self,
        of: &'static Statement,
        parameters: impl Parameters,
        rows: Rows,
    ) -> Result<Vec<T>, sqlx::Error> {
        match &self.pools {
            Pools::Postgres { read, .. } => {
                let arguments = of.for_postgres(parameters)?;
                read.fetch_all(of, arguments, rows).await
            }
            Pools::Sqlite { read, .. } => {
                let arguments = of.for_sqlite(parameters)?;
                read.fetch_all(of, arguments, rows).await
            }
        }
    }

    /// Reads one row, if there is one, on the write pool: it sees every commit, while a replica may
    /// lag.
    ///
    /// # Errors
    /// When the database is unavailable, or reports an error.
    pub async fn fetch_latest<T: FromRow + 'static>(
        &self,
        of: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.fetch_all_latest(of, parameters).await?.pop())
    }

    /// Reads rows on the write pool. The statement has a limit.
    ///
    /// # Errors
    /// When the database is unavailable, or reports an error.
    pub async fn fetch_all_latest<T: FromRow + 'static>(
        &self,
        of: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<Vec<T>, StoreError> {
        match &self.pools {
            Pools::Postgres { write, .. } => {
                let arguments = of.for_postgres(parameters)?;
                let pool = write.clone();
                self.in_a_task(async move { Ok(pool.fetch_all(of, arguments, Rows::Few).await?) })
                    .await
            }
            Pools::Sqlite { read, .. } => {
                let arguments = of.for_sqlite(parameters)?;
                let pool = read.clone();
                self.in_a_task(async move { Ok(pool.fetch_all(of, arguments, Rows::Few).await?) })
                    .await
            }
        }
    }

    /// Runs a single writing statement. Returns the rows of its `RETURNING` clause. It is for work
    /// that cost its caller nothing: part of the write connections is closed to it.
    ///
    /// # Errors
    /// When the outcome is not certain: the write may have been committed.
    pub async fn write_one<T: FromRow + 'static>(
        &self,
        of: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<Vec<T>, StoreError> {
        let of = faults::planted(of);
        match &self.pools {
            Pools::Postgres { write, .. } => {
                let arguments = of.for_postgres(parameters)?;
                let pool = write.clone();
                self.in_a_task(async move {
                    let rows = pool.fetch_all(of, arguments, Rows::Few).await?;
                    faults::ran(of);
                    Ok(rows)
                })
                .await
            }
            Pools::Sqlite { write, .. } => {
                let arguments = of.for_sqlite(parameters)?;
                let writer = write.clone();
                self.in_a_task(async move {
                    let (_place, pool) = writer.enter_unpaid()?;
                    let rows = pool.fetch_all(of, arguments, Rows::Few).await?;
                    faults::ran(of);
                    Ok(rows)
                })
                .await
            }
        }
    }

    /// Runs work on the runtime of the write connections, within the time limit of a request.
    pub(super) async fn in_a_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let limit = self.time_limit;
        let task = self.tasks.spawn(tokio::time::timeout(limit, work));
        task.await
            .map_err(|error| StoreError::unavailable(why_ended(&error)))?
            .map_err(StoreError::unavailable)?
    }
}
