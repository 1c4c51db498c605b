//! SQLite: connection options, the data folder, readiness.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::Mutex;

use super::{
    ACQUIRE_TIMEOUT, ConnectError, Pools, SqlitePool, SqliteWriter, WriteTransaction,
    describe_error,
};
use crate::config::{DatabaseUrl, Settings};
use crate::platform::errors::error_chain;
use crate::platform::metrics::{DatabasePool, Metrics};
use crate::platform::telemetry::spans::{System, statement};

/// Rows that a connection's thread buffers before it waits for the reader: more than a page, so
/// that the thread is free again as soon as it has read one.
const ROWS_AHEAD: usize = 128;

/// Writes a page of the file, with no effect on the data.
const WRITE_A_PAGE: &str = "PRAGMA user_version = 1";

/// The driver's options for a URL.
///
/// # Errors
/// When the URL is invalid.
pub fn options(url: &DatabaseUrl) -> Result<SqliteConnectOptions, ConnectError> {
    SqliteConnectOptions::from_str(url.expose())
        .map(|options| {
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // FULL: an acknowledged signup survives a power cut.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(5))
                .foreign_keys(true)
                // It would log from a separate thread, which has no request id.
                .disable_statement_logging()
        })
        .map_err(|_| ConnectError("DATABASE_URL is not a valid sqlite:// URL".to_owned()))
}

/// Creates the database file and its folder if they are missing, accessible to their owner only.
/// The files that SQLite creates beside it inherit its mode.
///
/// # Errors
/// One line with what cannot be created and why.
pub fn make_file(file: &Path) -> Result<(), ConnectError> {
    let cannot_make = |what: &Path, error: &std::io::Error| {
        ConnectError(format!("cannot create {}: {error}", what.display()))
    };
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| cannot_make(folder, &error))?;
    }
    private_file(file).map_err(|error| cannot_make(file, &error))?;
    Ok(())
}

/// Opens a file to write. If it is missing, it is created for its owner only.
pub(super) fn private_file(file: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(file)
}

pub(super) async fn connect(settings: &Settings, metrics: &Metrics) -> Result<Pools, ConnectError> {
    let half = settings.http.request_timeout / 2;
    let options = options(&settings.database.url)?.busy_timeout(half);
    let file = options.get_filename().to_path_buf();
    make_file(&file)?;
    let cannot_open = |error: sqlx::Error| {
        ConnectError(format!(
            "cannot open SQLite at {}: {}",
            file.display(),
            error_chain(&error)
        ))
    };
    let options = options.row_buffer_size(ROWS_AHEAD);
    let open =
        |options, most, patience, kind| SqlitePool::open(options, most, patience, kind, metrics);
    // A write may wait for the lock of another process, and those behind it wait with it.
    let write = open(options.clone(), 1, half, DatabasePool::Write)
        .await
        .map_err(cannot_open)?;
    let options = options.create_if_missing(false).read_only(true);
    let files = Files::open(&options).await.map_err(cannot_open)?;
    let most = settings.database.max_connections;
    let patience = ACQUIRE_TIMEOUT.min(half);
    let read = open(options, most, patience, DatabasePool::Read)
        .await
        .map_err(cannot_open)?;
    Ok(Pools::Sqlite {
        write: SqliteWriter::new(write, files),
        read,
    })
}

/// The files of the database, as they were at the start. If they are removed or replaced, writes go
/// to files without a name, and are lost.
pub struct Files {
    files: Vec<(PathBuf, Identity)>,
    /// The last connection to close removes the log. This one stays open, so that the log remains
    /// the same file for as long as the service runs.
    anchor: Mutex<Option<SqliteConnection>>,
}

/// The identity of a file, independent of its name: its device and inode.
type Identity = (u64, u64);

fn identity(file: &Path) -> std::io::Result<Identity> {
    let metadata = std::fs::metadata(file)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Files {
    async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let mut anchor = SqliteConnection::connect_with(options).await?;
        // The log is opened by the first read.
        anchor.execute(APPLICATION_ID).await?;
        let file = options.get_filename().as_os_str();
        let files = ["", "-wal", "-shm"].into_iter().filter_map(|suffix| {
            let mut path = file.to_owned();
            path.push(suffix);
            let path = PathBuf::from(path);
            let found = identity(&path).ok()?;
            Some((path, found))
        });
        Ok(Self {
            files: files.collect(),
            anchor: Mutex::new(Some(anchor)),
        })
    }

    /// Checks that the files are the same as at the start.
    ///
    /// # Errors
    /// What is wrong with them, without their names.
    pub fn check(&self) -> Result<(), &'static str> {
        for (path, known) in &self.files {
            match identity(path) {
                Ok(found) if found == *known => {}
                Ok(_) => return Err("its files were replaced; restart the service"),
                Err(_) => return Err("its files were removed; restart the service"),
            }
        }
        Ok(())
    }

    pub(super) async fn close(&self) {
        if let Some(anchor) = self.anchor.lock().await.take() {
            let _ = anchor.close().await;
        }
    }
}

const APPLICATION_ID: &str = "PRAGMA application_id";

pub(super) async fn check_writable(writer: &SqliteWriter) -> Result<(), String> {
    let files = Arc::clone(&writer.files);
    // A file system that hangs blocks a thread that serves no requests.
    let checked = tokio::task::spawn_blocking(move || files.check()).await;
    checked.map_err(|_| "the check did not complete")??;
    let Ok((_place, pool)) = writer.enter_unpaid() else {
        return Err("too many writers are waiting".to_owned());
    };
    let attempt = async {
        let mut transaction = WriteTransaction::begin(pool.acquire().await?).await?;
        // Taking the write lock is not enough: only a write shows that there is space.
        let written = transaction.connection().execute(WRITE_A_PAGE);
        statement(System::Sqlite, "PRAGMA", "", written).await?;
        transaction.commit().await
    };
    attempt.await.map_err(|error: sqlx::Error| {
        tracing::warn!(reason = describe_error(&error), "database check failed");
        match error {
            sqlx::Error::PoolTimedOut => "no response",
            _ => "does not accept writes",
        }
        .to_owned()
    })
}
