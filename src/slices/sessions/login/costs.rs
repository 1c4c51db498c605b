//! The costs of the hashes in the table, for the hashes of addresses without an account.
//!
//! After a change of `BCRYPT_COST` the table has hashes of several costs. An address without an
//! account gets one of these, in the same proportions, and always the same one: so the time of a
//! login does not show whether the address has an account.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::domain::StoreError;
use crate::platform::database::{Database, Statement};
use crate::tokens::secrets::Mac;

/// How often they are counted.
pub const EVERY: Duration = Duration::from_hours(1);

/// A hash has its cost as two digits after `$bcrypt-sha256$v=2,t=2b,r=`; one digit is followed by a `$`.
static COUNT: Statement = Statement::new(
    "SELECT substr(password_hash, 27, 2) AS cost, count(*) AS accounts FROM users \
     WHERE password_hash LIKE '$bcrypt-sha256$v=2,t=2b,r=%' \
     GROUP BY substr(password_hash, 27, 2) ORDER BY cost LIMIT 28",
);

/// How many hashes have which cost.
pub struct Costs {
    counts: RwLock<Vec<(u32, u64)>>,
    /// The cost of new hashes, for a table without any.
    default: u32,
}

impl Costs {
    /// Costs that have not been counted: all are the default.
    #[must_use]
    pub const fn new(default: u32) -> Self {
        Self {
            counts: RwLock::new(Vec::new()),
            default,
        }
    }

    /// Counts them.
    ///
    /// # Errors
    /// When the store is unavailable; the counts before stay.
    pub async fn count(&self, database: &Database) -> Result<(), StoreError> {
        let rows: Vec<(String, i64)> = database.fetch_all_latest(&COUNT, ()).await?;
        let counts = rows.into_iter().filter_map(|(cost, accounts)| {
            let cost = cost.trim_end_matches('$').parse().ok()?;
            Some((cost, u64::try_from(accounts).ok()?))
        });
        let mut known = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        *known = counts.collect();
        Ok(())
    }

    /// The cost for an address without an account, by the keyed hash of the address.
    #[must_use]
    pub fn of(&self, address: &Mac) -> u32 {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = counts.iter().map(|(_, accounts)| accounts).sum();
        let Some(first) = address.first_chunk::<8>() else {
            return self.default;
        };
        let Some(mut place) = u64::from_be_bytes(*first).checked_rem(all) else {
            return self.default;
        };
        for (cost, accounts) in counts.iter() {
            if place < *accounts {
                return *cost;
            }
            place -= accounts;
        }
        self.default
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::platform::database::testing::TestDatabase;
    use crate::slices::sessions::testing::new_session;

    #[test]
    fn addresses_get_the_costs_in_their_proportions() {
        let costs = Costs::new(12);
        assert_eq!(costs.of(&[1; 32]), 12);
        *costs.counts.write().expect("no panic") = vec![(10, 1), (12, 3)];
        let of = |number: u64| {
            let mut address = [0; 32];
            address[..8].copy_from_slice(&number.to_be_bytes());
            costs.of(&address)
        };
        let all: Vec<u32> = (0..8).map(of).collect();
        assert_eq!(all, [10, 12, 12, 12, 10, 12, 12, 12]);
    }

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
            test.sql(&format!(
                "UPDATE users SET password_hash = '{hash}' WHERE {of_it}"
            ))
            .await;
        }
        let costs = Costs::new(10);
        costs.count(&test.database).await.expect("counted");
        let mut counts = costs.counts.read().expect("no panic").clone();
        counts.sort_unstable();
        assert_eq!(counts, [(4, 1), (12, 2)]);
    }
}
