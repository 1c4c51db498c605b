//! Counts the costs of the hashes in the table, for [`Costs`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

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

/// The pause after a count that failed.
const RETRY: Duration = Duration::from_mins(1);

/// Hashes that are read at once: a whole table would take longer than a statement may.
const PAGE: i32 = 5_000;

/// A hash has its cost as two digits after `$bcrypt-sha256$v=2,t=2b,r=`; one digit is followed by a `$`.
static COSTS: Statement = Statement::new(
    "SELECT id, CASE WHEN password_hash LIKE '$bcrypt-sha256$v=2,t=2b,r=%' \
     THEN substr(password_hash, 27, 2) ELSE '' END AS cost \
     FROM users WHERE id > $1 ORDER BY id LIMIT $2",
);

fn rounds(dependencies: &Dependencies) -> Repeat {
    let database = dependencies.database.clone();
    let costs = Arc::clone(&dependencies.costs);
    Box::new(move || {
        let (database, costs) = (database.clone(), Arc::clone(&costs));
        Box::pin(async move {
            while let Err(error) = count(&database, &costs).await {
                tracing::warn!(reason = error_chain(&error), "costs of hashes not counted");
                tokio::time::sleep(RETRY).await;
            }
        })
    })
}

/// Counts them.
///
/// # Errors
/// When the store is unavailable; the counts before stay.
async fn count(database: &Database, costs: &Costs) -> Result<(), StoreError> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    let mut after = Uuid::nil();
    loop {
        let page: Vec<(Uuid, String)> = database.fetch_all_latest(&COSTS, (after, PAGE)).await?;
        let is_last = page.len() < PAGE as usize;
        for (id, cost) in page {
            after = id;
            // Any other text is no hash that is verified here.
            let cost = cost.trim_end_matches('$').parse();
            if let Ok(cost @ 4..=31) = cost {
                *counts.entry(cost).or_default() += 1;
            }
        }
        // The first pages are better than nothing.
        if is_last || costs.is_unknown() {
            costs.set(counts.iter().map(|(cost, count)| (*cost, *count)).collect());
        }
        if is_last {
            return Ok(());
        }
    }
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
