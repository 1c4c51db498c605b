//! Counts the formats and costs of the hashes in the table, for [`Profiles`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::dependencies::Dependencies;
use crate::domain::StoreError;
use crate::hashing::{Profile, Profiles};
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

/// Different profiles that are counted: only a hostile import could bring more.
const MAX: usize = 4_096;

/// The beginning of a hash has its algorithm and parameters. The number is [`PROFILE_CHARS`](crate::hashing::PROFILE_CHARS).
static BEGINNINGS: Statement = Statement::new(
    "SELECT id, substr(password_hash, 1, 48) AS beginning FROM users WHERE id > $1 ORDER BY id LIMIT $2",
);

fn rounds(dependencies: &Dependencies) -> Repeat {
    let database = dependencies.database.clone();
    let profiles = Arc::clone(&dependencies.profiles);
    Box::new(move || {
        let (database, profiles) = (database.clone(), Arc::clone(&profiles));
        Box::pin(async move {
            while let Err(error) = count(&database, &profiles).await {
                tracing::warn!(
                    reason = error_chain(&error),
                    "profiles of hashes not counted"
                );
                tokio::time::sleep(RETRY).await;
            }
        })
    })
}

/// Counts them.
///
/// # Errors
/// When the store is unavailable; the counts before stay.
async fn count(database: &Database, profiles: &Profiles) -> Result<(), StoreError> {
    let mut counts: BTreeMap<Profile, u64> = BTreeMap::new();
    let mut after = Uuid::nil();
    loop {
        let parameters = (after, PAGE);
        let page: Vec<(Uuid, String)> = database.fetch_all_latest(&BEGINNINGS, parameters).await?;
        let is_last = page.len() < PAGE as usize;
        for (id, beginning) in page {
            after = id;
            // Any other text is no hash that is verified here.
            let Some(profile) = Profile::of(&beginning) else {
                continue;
            };
            if counts.len() < MAX || counts.contains_key(&profile) {
                *counts.entry(profile).or_default() += 1;
            }
        }
        // The first pages are better than nothing.
        if is_last || profiles.is_unknown() {
            profiles.set(counts.iter().map(|(of, count)| (*of, *count)).collect());
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
    use crate::hashing::PROFILE_CHARS;
    use crate::platform::database::testing::TestDatabase;
    use crate::slices::sessions::testing::new_session;

    #[test]
    fn the_statement_reads_what_a_profile_takes() {
        let part = format!("substr(password_hash, 1, {PROFILE_CHARS})");
        assert!(BEGINNINGS.text().contains(&part));
    }

    #[rstest]
    #[tokio::test]
    async fn the_profiles_of_the_table_are_counted(#[values(Sqlite, Postgres)] backend: Backend) {
        let test = TestDatabase::new(backend).await;
        let texts = [
            "$bcrypt-sha256$v=2,t=2b,r=12$x$y",
            "$bcrypt-sha256$v=2,t=2b,r=12$z$y",
            "$2b$12$x",
            "$bcrypt-sha256$v=2,t=2b,r=4$x$y",
            "$argon2id$v=19$m=65536,t=3,p=4$x$y",
            "$scrypt$ln=16,r=8,p=1$x$y",
            "$fbscrypt$v=1,n=16,r=8,p=1,ss=Bw==,sk=x$y$z",
            "$pbkdf2-sha512$25000$x$y",
            "!",
        ];
        for (number, hash) in (1..).zip(texts) {
            new_session(&test, number).await;
            let of_it = format!("email = 'ada{number}@example.org'");
            let change = format!("UPDATE users SET password_hash = '{hash}' WHERE {of_it}");
            test.sql(&change).await;
        }
        let profiles = Profiles::new(10);
        count(&test.database, &profiles).await.expect("counted");
        let of = |place: u8| {
            let mut address = [0; 32];
            address[7] = place;
            profiles.of(&address)
        };
        let mut all: Vec<Profile> = (0..8).map(of).collect();
        all.sort_unstable();
        let mut expected: Vec<Profile> = texts.iter().copied().filter_map(Profile::of).collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }
}
