//! Migrations: embedded, run under a lock, each with a down migration.
//!
//! To add one, put `NNNN_name.up.sql` and `NNNN_name.down.sql` under both `migrations/postgres`
//! and `migrations/sqlite`, with the same number.

use std::fs::File;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgArguments;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Connection, Executor, PgConnection, SqlSafeStr};

use super::{ConnectError, Database, Pools, Rows, Statement, describe, postgres, sqlite};
use crate::config::{Backend, DatabaseUrl};
use crate::platform::clock;
use crate::platform::errors::error_chain;

static POSTGRES: LazyLock<Migrator> =
    LazyLock::new(|| migrator(include!(concat!(env!("OUT_DIR"), "/postgres.rs"))));
static SQLITE: LazyLock<Migrator> =
    LazyLock::new(|| migrator(include!(concat!(env!("OUT_DIR"), "/sqlite.rs"))));

/// The table in which sqlx records the applied migrations.
const TABLE: &str = "_sqlx_migrations";

/// How long a run of migrations waits for another to end.
const LOCK_TIMEOUT: Duration = Duration::from_mins(5);

const EXISTS_ON_POSTGRES: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
const EXISTS_ON_SQLITE: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations')";

static APPLIED: Statement =
    Statement::new("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version");

/// A migration and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The version; migrations run in this order.
    pub version: i64,
    /// The description.
    pub description: String,
    /// The state in the database.
    pub state: State,
}

/// The state of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Applied.
    Applied,
    /// Not applied yet.
    Pending,
    /// Applied with a different text.
    Changed,
    /// Applied, but unknown to this binary.
    Unknown,
}

/// The progress of a migration run.
pub enum Progress<'a> {
    /// Another run may hold the lock; this one waits for it.
    Locking,
    /// A migration begins.
    Running(&'a Step),
    /// A migration ended, after this duration.
    Done(&'a Step, Duration),
}

/// The migrations in these files, given as names and texts by `build.rs`. The versions, descriptions
/// and checksums are those that `sqlx::migrate!` would make; the macro would compile both drivers
/// twice.
fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migrations = files
        .iter()
        .filter_map(|(name, text)| migration(name, text));
    Migrator::with_migrations(migrations.collect())
}

/// The migration in a file `NNNN_name.up.sql` or `NNNN_name.down.sql`; nothing if it has another
/// name.
fn migration(name: &str, text: &'static str) -> Option<Migration> {
    let (version, rest) = name.split_once('_')?;
    let (description, direction) = if let Some(description) = rest.strip_suffix(".up.sql") {
        (description, MigrationType::ReversibleUp)
    } else {
        (
            rest.strip_suffix(".down.sql")?,
            MigrationType::ReversibleDown,
        )
    };
    Some(Migration::new(
        version.parse().ok()?,
        description.replace('_', " ").into(),
        direction,
        text.into_sql_str(),
        text.starts_with("-- no-transaction"),
    ))
}

/// The migrations of this binary for a backend.
fn source(backend: Backend) -> &'static Migrator {
    match backend {
        Backend::Postgres => &POSTGRES,
        Backend::Sqlite => &SQLITE,
    }
}

/// The versions that this binary knows for a backend, in order.
#[must_use]
pub fn known_versions(backend: Backend) -> Vec<i64> {
    source(backend)
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .map(|migration| migration.version)
        .collect()
}

/// All migrations, with their states.
///
/// # Errors
/// When the database does not respond.
pub async fn status(url: &DatabaseUrl) -> Result<Vec<Step>, ConnectError> {
    match url.backend {
        Backend::Postgres => {
            let mut connection = connect_postgres(url).await?;
            let applied = if exists_on_postgres(&mut connection).await? {
                applied(&mut connection).await?
            } else {
                Vec::new()
            };
            Ok(steps(&POSTGRES, &applied))
        }
        Backend::Sqlite => {
            let options = sqlite::options(url)?;
            if !options.get_filename().exists() {
                return Ok(steps(&SQLITE, &[]));
            }
            let mut connection = connect_sqlite(url).await?;
            let applied = if exists_on_sqlite(&mut connection).await? {
                applied(&mut connection).await?
            } else {
                Vec::new()
            };
            Ok(steps(&SQLITE, &applied))
        }
    }
}

/// Applies the pending migrations. Safe to run concurrently: the second run waits and finds nothing
/// to do.
///
/// # Errors
/// When a migration fails, or the database has one that has changed or that this binary does not
/// know.
pub async fn up(
    url: &DatabaseUrl,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<usize, ConnectError> {
    progress(Progress::Locking);
    match url.backend {
        Backend::Postgres => {
            let mut connection = connect_postgres(url).await?;
            lock_postgres(&mut connection).await?;
            run_up(&POSTGRES, &mut connection, progress).await
            // Closing the connection releases the lock.
        }
        Backend::Sqlite => {
            sqlite::make_file(sqlite::options(url)?.get_filename())?;
            let _lock = lock_sqlite(url).await?;
            let mut connection = connect_sqlite(url).await?;
            run_up(&SQLITE, &mut connection, progress).await
        }
    }
}

/// The migration that [`down`] would revert: the newest applied one.
///
/// # Errors
/// When the database does not respond.
pub async fn newest(url: &DatabaseUrl) -> Result<Option<Step>, ConnectError> {
    let steps = status(url).await?;
    Ok(steps.into_iter().rfind(|step| step.state != State::Pending))
}

/// Reverts a migration, if it is still the newest.
///
/// # Errors
/// When it fails, is not the newest any more, or is unknown to this binary.
pub async fn down(
    url: &DatabaseUrl,
    expected: &Step,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<(), ConnectError> {
    progress(Progress::Locking);
    match url.backend {
        Backend::Postgres => {
            let mut connection = connect_postgres(url).await?;
            lock_postgres(&mut connection).await?;
            run_down(&POSTGRES, &mut connection, expected, progress).await
        }
        Backend::Sqlite => {
            let _lock = lock_sqlite(url).await?;
            let mut connection = connect_sqlite(url).await?;
            run_down(&SQLITE, &mut connection, expected, progress).await
        }
    }
}

/// The versions of known migrations that an open database does not have.
///
/// # Errors
/// When the database does not respond.
pub async fn pending(database: &Database) -> Result<Vec<i64>, sqlx::Error> {
    let (backend, applied): (_, Result<Vec<(i64,)>, _>) = match database.pools() {
        Pools::Postgres { write, .. } => {
            let asked = write.fetch_all(&APPLIED, PgArguments::default(), Rows::Few);
            (Backend::Postgres, asked.await)
        }
        Pools::Sqlite { read, .. } => {
            let asked = read.fetch_all(&APPLIED, SqliteArguments::default(), Rows::Few);
            (Backend::Sqlite, asked.await)
        }
    };
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) if is_missing_table(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(known_versions(backend)
        .into_iter()
        .filter(|version| !applied.contains(&(*version,)))
        .collect())
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().is_some_and(|code| code == "42P01")
            || error.message().starts_with("no such table")
    })
}

async fn run_up<C: Migrate>(
    migrator: &'static Migrator,
    connection: &mut C,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<usize, ConnectError> {
    connection
        .ensure_migrations_table(TABLE)
        .await
        .map_err(|error| failed(&error))?;
    let steps = steps(migrator, &applied(connection).await?);
    if let Some(step) = steps.iter().find(|step| step.state == State::Changed) {
        return Err(ConnectError(format!(
            "migration {} was applied with a different text than in this binary",
            step.version
        )));
    }
    if let Some(step) = steps.iter().find(|step| step.state == State::Unknown) {
        return Err(ConnectError(format!(
            "the database has migration {}, which is newer than this binary",
            step.version
        )));
    }
    let mut count = 0;
    for step in steps.iter().filter(|step| step.state == State::Pending) {
        let migration = find(migrator, step.version, true)?;
        progress(Progress::Running(step));
        let begun = clock::monotonic();
        connection
            .apply(TABLE, migration)
            .await
            .map_err(|error| failed(&error))?;
        progress(Progress::Done(step, clock::since(begun)));
        count += 1;
    }
    Ok(count)
}

async fn run_down<C: Migrate>(
    migrator: &'static Migrator,
    connection: &mut C,
    expected: &Step,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<(), ConnectError> {
    let steps = steps(migrator, &applied(connection).await?);
    let newest = steps.iter().rfind(|step| step.state != State::Pending);
    if newest.map(|step| step.version) != Some(expected.version) {
        return Err(ConnectError(format!(
            "migration {} is not the newest any more; the database was migrated meanwhile",
            expected.version
        )));
    }
    let migration = find(migrator, expected.version, false)?;
    progress(Progress::Running(expected));
    let begun = clock::monotonic();
    connection
        .revert(TABLE, migration)
        .await
        .map_err(|error| failed(&error))?;
    progress(Progress::Done(expected, clock::since(begun)));
    Ok(())
}

fn find(
    migrator: &'static Migrator,
    version: i64,
    up: bool,
) -> Result<&'static Migration, ConnectError> {
    migrator
        .iter()
        .find(|migration| {
            migration.version == version && migration.migration_type.is_up_migration() == up
        })
        .ok_or_else(|| {
            ConnectError(format!(
                "this binary does not know migration {version}; use the one that applied it"
            ))
        })
}

async fn applied<C: Migrate>(connection: &mut C) -> Result<Vec<AppliedMigration>, ConnectError> {
    connection
        .list_applied_migrations(TABLE)
        .await
        .map_err(|error| failed(&error))
}

fn steps(migrator: &Migrator, applied: &[AppliedMigration]) -> Vec<Step> {
    let mut steps: Vec<Step> = migrator
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .map(|migration| Step {
            version: migration.version,
            description: migration.description.to_string(),
            state: match applied.iter().find(|a| a.version == migration.version) {
                None => State::Pending,
                Some(applied) if applied.checksum == migration.checksum => State::Applied,
                Some(_) => State::Changed,
            },
        })
        .collect();
    let unknown = applied
        .iter()
        .filter(|applied| !migrator.version_exists(applied.version))
        .map(|applied| Step {
            version: applied.version,
            description: "(unknown to this binary)".to_owned(),
            state: State::Unknown,
        });
    steps.extend(unknown.collect::<Vec<_>>());
    steps.sort_by_key(|step| step.version);
    steps
}

fn failed(error: &MigrateError) -> ConnectError {
    ConnectError(format!("the migration failed: {}", error_chain(error)))
}

fn no_response(error: &sqlx::Error) -> ConnectError {
    ConnectError(format!(
        "the database does not respond: {}",
        error_chain(error)
    ))
}

async fn connect_postgres(url: &DatabaseUrl) -> Result<PgConnection, ConnectError> {
    postgres::connect_one(&postgres::options(url)?).await
}

async fn exists_on_postgres(connection: &mut PgConnection) -> Result<bool, ConnectError> {
    sqlx::query_scalar(EXISTS_ON_POSTGRES)
        .fetch_one(connection)
        .await
        .map_err(|error| no_response(&error))
}

async fn exists_on_sqlite(connection: &mut SqliteConnection) -> Result<bool, ConnectError> {
    sqlx::query_scalar(EXISTS_ON_SQLITE)
        .fetch_one(connection)
        .await
        .map_err(|error| no_response(&error))
}

async fn connect_sqlite(url: &DatabaseUrl) -> Result<SqliteConnection, ConnectError> {
    let options = sqlite::options(url)?;
    SqliteConnection::connect_with(&options)
        .await
        .map_err(|error| {
            ConnectError(format!(
                "cannot open {}: {}",
                describe(url),
                error_chain(&error)
            ))
        })
}

/// sqlx's advisory lock waits for ever, so `lock_timeout` of the session bounds it.
async fn lock_postgres(connection: &mut PgConnection) -> Result<(), ConnectError> {
    connection
        .execute("SET lock_timeout = '300s'")
        .await
        .map_err(|error| no_response(&error))?;
    connection.lock().await.map_err(|error| {
        ConnectError(format!(
            "another migration run holds the lock: {}",
            error_chain(&error)
        ))
    })
}

/// Locks a file beside the database, as SQLite has no lock that outlasts a transaction. The system
/// releases it when the process ends, even by a crash.
async fn lock_sqlite(url: &DatabaseUrl) -> Result<File, ConnectError> {
    let mut path = sqlite::options(url)?.get_filename().as_os_str().to_owned();
    path.push(".migrate-lock");
    let path = PathBuf::from(path);
    let cannot_lock =
        |error: std::io::Error| ConnectError(format!("cannot lock {}: {error}", path.display()));
    let file = sqlite::private_file(&path).map_err(cannot_lock)?;
    let begun = clock::monotonic();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if clock::since(begun) < LOCK_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(ConnectError(format!(
                    "another migration run holds {} for over {} s",
                    path.display(),
                    LOCK_TIMEOUT.as_secs()
                )));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(cannot_lock(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Every file is embedded, with its text.
    #[test]
    fn every_file_is_embedded() {
        for (backend, folder) in [(Backend::Postgres, "postgres"), (Backend::Sqlite, "sqlite")] {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("migrations")
                .join(folder);
            let mut files = 0;
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().and_then(|name| name.to_str());
                let text = std::fs::read_to_string(&path).expect("a text");
                let wanted = migration(name.expect("a name"), text.leak()).expect("a migration");
                let found = find(
                    source(backend),
                    wanted.version,
                    wanted.migration_type.is_up_migration(),
                );
                let found = found.expect("it is embedded");
                assert_eq!(found.checksum, wanted.checksum, "{}", path.display());
                assert_eq!(found.description, wanted.description);
                files += 1;
            }
            assert_eq!(source(backend).iter().count(), files);
        }
    }

    /// A database keeps the checksums of its migrations: a migration of a release must not change.
    #[test]
    fn migrations_of_releases_have_not_changed() {
        let found = [Backend::Postgres, Backend::Sqlite].map(|backend| {
            let ups = source(backend)
                .iter()
                .filter(|migration| migration.migration_type.is_up_migration());
            let mut lines = String::new();
            for up in ups {
                let checksum = hex::encode(&up.checksum[..8]);
                let (version, description) = (up.version, &up.description);
                writeln!(lines, "{version} {description} {checksum}").expect("a string");
            }
            lines
        });
        assert_eq!(found, [CHECKSUMS_ON_POSTGRES, CHECKSUMS_ON_SQLITE]);
    }

    /// The version, the description and the first bytes of the SHA-384 of each text.
    const CHECKSUMS_ON_POSTGRES: &str = "\
        1 users d8698d003e02dc2b\n\
        2 users read 91673a132993a275\n\
        3 user events 8d72b40ee63aae1d\n\
        4 idempotency records c83f0e242722023e\n\
        5 idempotency outcomes 6606d27ebd56f805\n\
        6 outcomes of old records 9a26853833ec441d\n\
        7 account state 92b351e664b652a4\n\
        8 sessions 5d73cb80b8c5b22b\n\
        9 signing keys 2bf8d690300da7e1\n\
        10 login throttle 6ca04f49b73168b2\n\
        11 revocations aa919083c47bceaa\n\
        12 roles 68ebb455bf10c060\n\
        13 service keys 3c3319249affc75a\n\
        14 auth log b169390e05098f24\n\
        15 one time tokens 90b8f8dedb1f3b4d\n\
        16 mail queue bf1fd15e71dafd09\n\
        17 erasure 2791f4b6de16c451\n\
        18 subjects of old records d757503f615b985f\n\
        19 rows of a user adda7d95f6d7d12e\n\
        20 imports 483f72fd3b619bbe\n\
        21 addresses asked for 277bffc47233ed76\n\
        22 locale 8c82f7ff84d44d3a\n\
        23 counts of mails d971569b93ff608e\n\
        24 mails that wait 398d23a434c70020\n\
    ";
    const CHECKSUMS_ON_SQLITE: &str = "\
        1 users 2a1536f254c977e7\n\
        2 users read 285206f18a23f85d\n\
        3 user events 23006e4b617fa7b6\n\
        4 idempotency records 31b7aa628b4f9618\n\
        5 idempotency outcomes 36e331cac3cdf0f9\n\
        6 outcomes of old records 6cf951b02f2e6875\n\
        7 account state 582d79c2e19c8c62\n\
        8 sessions 545d8977de620847\n\
        9 signing keys 02aebce947e79997\n\
        10 login throttle dace73c12d303ef7\n\
        11 revocations a5ec68675414628d\n\
        12 roles cea0150cf2ed65f4\n\
        13 service keys c724af5f264003fb\n\
        14 auth log 8d7d5897fb108ed2\n\
        15 one time tokens ae24925d00319bae\n\
        16 mail queue 0bf6ab10f208de98\n\
        17 erasure 94b732f939f1eba1\n\
        18 subjects of old records 0359aefd2d871eb2\n\
        19 rows of a user adda7d95f6d7d12e\n\
        20 imports fb6e60a339d0dd79\n\
        21 addresses asked for a2445fa64264fa0e\n\
        22 locale 2174ee216642c649\n\
        23 counts of mails b5971cb8ac315df8\n\
        24 mails that wait 398d23a434c70020\n\
    ";
}
