//! `users export-all`: all accounts, in the form that `users import` reads.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::operator::Operator;
use crate::cli::progress::Progress;
use crate::cli::{Failure, private, terminal};
use crate::config::Settings;
use crate::domain::StoreError;
use crate::platform::clock;
use crate::platform::database::{Database, Error, FromRow, Micros, Row, Statement};

/// Accounts that are read at once.
const PAGE: i64 = 1_000;

/// The stored hash of an account without a password.
const NO_PASSWORD: &str = "!";

static ACCOUNTS: Statement = Statement::new(
    "SELECT u.id, r.email, r.name, r.display_name, u.locale, u.email_verified_at, u.status, r.created_at, \
     u.password_hash FROM users u JOIN users_read r ON r.id = u.id WHERE u.id > $1 \
     ORDER BY u.id LIMIT $2",
);

static ROLES: Statement = Statement::new(
    "SELECT user_id, role FROM user_roles WHERE user_id > $1 AND user_id <= $2 \
     ORDER BY user_id, role",
);

#[derive(Args)]
pub struct ExportAll {
    /// Also the password hashes, as they are stored: passlib reads all but Firebase's
    #[arg(long)]
    with_hashes: bool,
    /// Write to this new file, which only you can read, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A line. The names are those of an import.
#[derive(Serialize)]
struct Account {
    email: String,
    name: String,
    display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    email_verified: bool,
    status: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_hash: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    import_id: Uuid,
}

impl FromRow for Account {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let verified_at: Option<Micros> = row.get("email_verified_at")?;
        let password_hash: String = row.get("password_hash")?;
        Ok(Self {
            email: row.get("email")?,
            name: row.get("name")?,
            display_name: row.get("display_name")?,
            locale: row.get("locale")?,
            email_verified: verified_at.is_some(),
            status: row.get("status")?,
            created_at: clock::timestamp(row.get::<Micros>("created_at")?.0),
            password_hash: (password_hash != NO_PASSWORD).then_some(password_hash),
            roles: Vec::new(),
            import_id: row.get("id")?,
        })
    }
}

/// Runs the command.
pub async fn run(settings: Settings, export: ExportAll) -> Result<(), Failure> {
    private::protect_memory();
    let operator = Operator::open(settings).await?;
    let outcome = match &export.out {
        Some(path) => to_file(&operator.database, &export, path).await,
        None => to_stdout(&operator.database, &export).await,
    };
    let exported = operator.close(outcome).await?;
    terminal::error(&format!("{exported} accounts exported"));
    Ok(())
}

async fn to_stdout(database: &Database, export: &ExportAll) -> Result<u64, Failure> {
    let mut out = BufWriter::new(io::stdout());
    let exported = match write(database, export, &mut out).await {
        Ok(exported) => exported,
        Err(error) => return error.of_stream().map(|()| 0),
    };
    terminal::written(out.flush()).map(|()| exported)
}

async fn to_file(database: &Database, export: &ExportAll, path: &Path) -> Result<u64, Failure> {
    let mut out = BufWriter::new(create(path)?);
    let written = write(database, export, &mut out).await;
    let exported = written.map_err(ExportError::of_file)?;
    let file = out
        .into_inner()
        .map_err(|error| unwritable(&error.into_error()))?;
    file.sync_all().map_err(|error| unwritable(&error))?;
    Ok(exported)
}

/// A new file for its owner alone: hashes can be guessed at.
fn create(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| unwritable(&error))
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::new(&format!("cannot write the file: {error}"))
}

/// Why an export ended early.
enum ExportError {
    Store(StoreError),
    Output(io::Error),
}

impl ExportError {
    fn of_file(self) -> Failure {
        match self {
            Self::Store(error) => error.into(),
            Self::Output(error) => unwritable(&error),
        }
    }

    /// A reader of standard output may close the pipe early.
    fn of_stream(self) -> Result<(), Failure> {
        match self {
            Self::Store(error) => Err(error.into()),
            Self::Output(error) => terminal::written(Err(error)),
        }
    }
}

/// Writes a line for each account. Returns their number. Accounts that are made meanwhile may be missing.
async fn write(
    database: &Database,
    export: &ExportAll,
    out: &mut impl Write,
) -> Result<u64, ExportError> {
    let mut progress = Progress::new(None);
    let (mut after, mut exported) = (Uuid::nil(), 0);
    loop {
        let page = page(database, after).await.map_err(ExportError::Store)?;
        let Some(last) = page.last() else {
            progress.clear();
            return Ok(exported);
        };
        after = last.import_id;
        for mut account in page {
            if !export.with_hashes {
                account.password_hash = None;
            }
            let line = serde_json::to_string(&account).map_err(io::Error::from);
            let written = line.and_then(|line| writeln!(out, "{line}"));
            written.map_err(ExportError::Output)?;
            exported += 1;
        }
        progress.show(exported, &format!("{exported} accounts"));
    }
}

/// The next accounts by id, with their roles.
async fn page(database: &Database, after: Uuid) -> Result<Vec<Account>, StoreError> {
    let parameters = (after, PAGE);
    let mut page: Vec<Account> = database.fetch_all_latest(&ACCOUNTS, parameters).await?;
    let Some(last) = page.last() else {
        return Ok(page);
    };
    let parameters = (after, last.import_id);
    let roles: Vec<(Uuid, String)> = database.fetch_all_latest(&ROLES, parameters).await?;
    let mut of: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for (user, role) in roles {
        of.entry(user).or_default().push(role);
    }
    for account in &mut page {
        account.roles = of.remove(&account.import_id).unwrap_or_default();
    }
    Ok(page)
}
