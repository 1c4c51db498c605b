//! Counts the costs of the hashes in the table, for [`Costs`].

use std::sync::Arc;
use std::time::Duration;

use crate::dependencies::Dependencies;
use crate::domain::StoreError;
use crate::hashing::Costs;
use crate::platform::database::{Database, Statement};
use crate::platform::errors::error_chain;
use crate::slice::{Job, Repeat};

/// Counts them every hour, and soon after the start.
pub const JOB: Job = Job {
    every: Duration::from_hours(1),
    bind: rounds,
};

/// A hash has its cost as two digits after `$bcrypt-sha256$v=2,t=2b,r=`; one digit is followed by a `$`.
static COUNT: Statement = Statement::new(
    "SELECT substr(password_hash, 27, 2) AS cost, count(*) AS accounts FROM users \
     WHERE password_hash LIKE '$bcrypt-sha256$v=2,t=2b,r=%' \
     GROUP BY substr(password_hash, 27, 2) ORDER BY cost LIMIT 28",
);

fn rounds(dependencies: &Dependencies) -> Repeat {
    let database = dependencies.database.clone();
    let costs = Arc::clone(&dependencies.costs);
    Box::new(move || {
        let (database, costs) = (database.clone(), Arc::clone(&costs));
        Box::pin(async move {
            if let Err(error) = count(&database, &costs).await {
                tracing::warn!(reason = error_chain(&error), "costs of hashes not counted");
            }
        })
    })
}

/// Counts them.
///
/// # Errors
/// When the store is unavailable; the counts before stay.
async fn count(database: &Database, costs: &Costs) -> Result<(), StoreError> {
    let rows: Vec<(String, i64)> = database.fetch_all_latest(&COUNT, ()).await?;
    let counts = rows.into_iter().filter_map(|(cost, accounts)| {
        let cost = cost.trim_end_matches('$').parse().ok()?;
        Some((cost, u64::try_from(accounts).ok()?))
    });
    costs.set(counts.collect());
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::platform::database::testing::TestDatabase;
    use crate::slices::sessions::testing::new_session;

    #[rstest]
    #[tokio::test]
    async fn the_costs_of_the_table_are_counted(#[values(Sqlite, Postgres)] backend: Backend) {
        let test = TestDatabase::new(backend).await;
        for (number, hash) in (1..).zip([
            "$bcrypt-sha256$v=2,t=2b,r=12$x$y",
            "$bcrypt-sha256$v=2,t=2b,r=12$z$y",
            "$bcrypt-sha256$v=2,t=2b,r=4$x$y",
            "!",
        ]) {
            new_session(&test, number).await;
            let of_it = format!("email = 'ada{number}@example.org'");
            let change = format!("UPDATE users SET password_hash = '{hash}' WHERE {of_it}");
            test.sql(&change).await;
        }
        let costs = Costs::new(10);
        count(&test.database, &costs).await.expect("counted");
        let of = |place: u8| {
            let mut address = [0; 32];
            address[7] = place;
            costs.of(&address)
        };
        let mut all = [of(0), of(1), of(2)];
        all.sort_unstable();
        assert_eq!(all, [4, 12, 12]);
    }
}
