//! Import of accounts from another service: a line of JSON for each, many to a transaction.
//!
//! A batch of lines commits together with the number of the next line ([`Batch`]). So an import that was
//! killed goes on where it was, and no line is done twice, also if its account was erased meanwhile. Lines
//! that are refused are recorded by number and reason. Nothing is hashed: hashes of other services are
//! stored, and verified at the login ([`StoredHash::import`]).

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::new_account::{self, Imported, NewAccount};
use crate::access::account::Status;
use crate::access::change::Change;
use crate::access::roles::{Grant, GrantOutcome};
use crate::domain::{
    BrokenRule, Email, Locale, Name, PasswordHash, Permissions, Role, StoreError, UserId,
};
use crate::hashing::StoredHash;
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};

/// Lines of a transaction.
pub const BATCH: usize = 500;

/// The longest line, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

/// Roles of a line.
const MAX_ROLES: usize = 16;

/// The longest id of another system, in bytes.
const MAX_ID: usize = 255;

/// Why a line has no account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The field; `line` for the line as a whole.
    pub field: String,
    /// The reason, such as `taken`.
    pub code: String,
}

impl Refusal {
    /// A refusal of a field.
    #[must_use]
    pub fn new(field: &str, code: &str) -> Self {
        Self {
            field: field.to_owned(),
            code: code.to_owned(),
        }
    }
}

/// A line, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    email: String,
    name: String,
    display_name: Option<String>,
    locale: Option<String>,
    email_verified: bool,
    status: Option<String>,
    created_at: Option<String>,
    /// A text, or Keycloak's object.
    #[serde(borrow)]
    password_hash: Option<&'a RawValue>,
    roles: Option<Vec<String>>,
    import_id: Option<String>,
}

/// A line that can be imported.
#[derive(Clone)]
pub struct Entry {
    email: Email,
    name: Name,
    display_name: Name,
    locale: Option<Locale>,
    is_verified: bool,
    is_suspended: bool,
    created_at: Option<DateTime<Utc>>,
    password_hash: PasswordHash,
    roles: Vec<Role>,
    import_id: Option<String>,
}

impl Entry {
    /// Reads a line of JSON.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn parse(line: &[u8], allows_roles: bool, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            let is_json = error.is_data();
            Refusal::new("line", if is_json { "invalid" } else { "malformed" })
        })?;
        let named = |field: &'static str| move |rule: BrokenRule| Refusal::new(field, rule.code);
        let name = Name::parse(&line.name).map_err(named("name"))?;
        let display_name = match &line.display_name {
            Some(text) => Name::parse(text).map_err(named("display_name"))?,
            None => name.clone(),
        };
        let locale = line.locale.as_deref().map(Locale::parse).transpose();
        let roles = line.roles.unwrap_or_default();
        if !roles.is_empty() && !allows_roles {
            return Err(Refusal::new("roles", "not_allowed"));
        }
        Ok(Self {
            email: Email::parse(&line.email).map_err(named("email"))?,
            name,
            display_name,
            locale: locale.map_err(named("locale"))?,
            is_verified: line.email_verified,
            is_suspended: is_suspended(line.status.as_deref())?,
            created_at: line.created_at.map(|text| time(&text, now)).transpose()?,
            password_hash: password_hash(line.password_hash)?,
            roles: self::roles(&roles)?,
            import_id: line.import_id.map(import_id).transpose()?,
        })
    }
}

fn is_suspended(status: Option<&str>) -> Result<bool, Refusal> {
    match status.map(Status::parse) {
        None | Some(Some(Status::Active)) => Ok(false),
        Some(Some(Status::Suspended)) => Ok(true),
        Some(None) => Err(Refusal::new("status", "invalid")),
    }
}

/// A time of RFC 3339, to the microsecond, not before 1970 and not in the future.
fn time(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal> {
    let refusal = || Refusal::new("created_at", "invalid");
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| refusal())?;
    let micros = DateTime::from_timestamp_micros(time.timestamp_micros());
    let is_past = |time: &DateTime<Utc>| (DateTime::UNIX_EPOCH..=now).contains(time);
    micros.filter(is_past).ok_or_else(refusal)
}

fn password_hash(value: Option<&RawValue>) -> Result<PasswordHash, Refusal> {
    let refusal = |code| Refusal::new("password_hash", code);
    let Some(value) = value else {
        // Its user can have one by a reset.
        return Ok(PasswordHash::none());
    };
    let raw = value.get();
    let import = |text: &str| StoredHash::import(text).map_err(|refused| refusal(refused.code()));
    if raw.starts_with('{') {
        return import(raw);
    }
    let text: String = serde_json::from_str(raw).map_err(|_| refusal("invalid"))?;
    import(&text)
}

fn roles(names: &[String]) -> Result<Vec<Role>, Refusal> {
    if names.len() > MAX_ROLES {
        return Err(Refusal::new("roles", "too_many"));
    }
    let parse = |name: &String| Role::parse(name).ok_or_else(|| Refusal::new("roles", "unknown"));
    names.iter().map(parse).collect()
}

fn import_id(text: String) -> Result<String, Refusal> {
    let is_id = (1..=MAX_ID).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_id {
        Ok(text)
    } else {
        Err(Refusal::new("import_id", "invalid"))
    }
}

/// How far an import has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The first line that is not done; lines are counted from 1.
    pub next_line: i64,
    /// The digest of the lines before it.
    pub digest: Vec<u8>,
    /// Accounts of these lines.
    pub imported: i64,
    /// Lines without an account.
    pub refused: i64,
}

impl FromRow for State {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            next_line: row.get("next_line")?,
            digest: row.get("digest")?,
            imported: row.get("imported")?,
            refused: row.get("refused")?,
        })
    }
}

static FIND: Statement =
    Statement::new("SELECT next_line, digest, imported, refused FROM imports WHERE id = $1");

static BEGIN: Statement = Statement::new(
    "INSERT INTO imports (id, next_line, digest, started_at, updated_at) VALUES ($1, $2, $3, $4, $4) \
     ON CONFLICT DO NOTHING",
);

static ADVANCE: Statement = Statement::new(
    "UPDATE imports SET next_line = $3, digest = $4, updated_at = $5 WHERE id = $1 AND next_line = $2",
);

static COUNT: Statement = Statement::new(
    "UPDATE imports SET imported = imported + $2, refused = refused + $3 WHERE id = $1",
);

static REFUSE: Statement = Statement::new(
    "INSERT INTO import_refusals (import_id, line, field, code) VALUES ($1, $2, $3, $4)",
);

static REFUSALS: Statement = Statement::new(
    "SELECT line, field, code FROM import_refusals WHERE import_id = $1 AND line > $2 \
     ORDER BY line LIMIT $3",
);

/// How far an import has come; `None` if it has not begun.
///
/// # Errors
/// When the store is unavailable.
pub async fn find(database: &Database, import: &str) -> Result<Option<State>, StoreError> {
    database.fetch_latest(&FIND, (import.to_owned(),)).await
}

/// Refused lines of an import after this one, by number: a thousand at most.
///
/// # Errors
/// When the store is unavailable.
pub async fn refusals(
    database: &Database,
    import: &str,
    after: i64,
) -> Result<Vec<(i64, Refusal)>, StoreError> {
    let parameters = (import.to_owned(), after, 1000_i64);
    let rows: Vec<(i64, String, String)> = database.fetch_all_latest(&REFUSALS, parameters).await?;
    let refusal = |(line, field, code)| (line, Refusal { field, code });
    Ok(rows.into_iter().map(refusal).collect())
}

/// Lines that commit together.
pub struct Batch {
    /// The import.
    pub import: String,
    /// The first line.
    pub first: i64,
    /// The line after the last one.
    pub next: i64,
    /// The digest of all lines before that one.
    pub digest: [u8; 32],
    /// The lines, without empty ones.
    pub lines: Vec<(i64, Result<Entry, Refusal>)>,
    /// The circumstances.
    pub change: Change,
    /// Whether all of it is rolled back.
    pub is_dry_run: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its lines are done; or would have been, of a dry run.
    Done {
        /// Accounts that were written.
        imported: i64,
        /// Lines without an account.
        refused: Vec<(i64, Refusal)>,
    },
    /// Another process does the same import; nothing was written.
    Elsewhere,
}

impl UnitOfWork for Batch {
    type Outcome = Outcome;

    /// An operator waits for it.
    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        if !self.is_dry_run && !self.advance(transaction).await? {
            return Ok(End::Rollback(Outcome::Elsewhere));
        }
        let (mut imported, mut refused) = (0, Vec::new());
        for (line, entry) in &self.lines {
            let refusal = match entry {
                Ok(entry) => self.add(transaction, *line, entry).await?,
                Err(refusal) => Some(refusal.clone()),
            };
            match refusal {
                Some(refusal) => refused.push((*line, refusal)),
                None => imported += 1,
            }
        }
        if self.is_dry_run {
            return Ok(End::Rollback(Outcome::Done { imported, refused }));
        }
        for (line, Refusal { field, code }) in &refused {
            let row = (self.import.as_str(), *line, field.as_str(), code.as_str());
            transaction.execute(&REFUSE, row).await?;
        }
        let lines = i64::try_from(refused.len()).unwrap_or(i64::MAX);
        let counts = (self.import.as_str(), imported, lines);
        transaction.execute(&COUNT, counts).await?;
        Ok(End::Commit(Outcome::Done { imported, refused }))
    }
}

impl Batch {
    /// Moves the import on from the first line of this batch. Not if another process did so.
    async fn advance(&self, transaction: &mut Transaction) -> Result<bool, Error> {
        let (import, digest) = (self.import.as_str(), self.digest.as_slice());
        let at = Micros(self.change.at);
        let changed = if self.first == 1 {
            let row = (import, self.next, digest, at);
            transaction.execute(&BEGIN, row).await?
        } else {
            let row = (import, self.first, self.next, digest, at);
            transaction.execute(&ADVANCE, row).await?
        };
        Ok(changed == 1)
    }

    /// Writes an account, as a signup does, but without a mail. Why it was not written, if so.
    async fn add(
        &self,
        transaction: &mut Transaction,
        line: i64,
        entry: &Entry,
    ) -> Result<Option<Refusal>, Error> {
        let account = self.account(line, entry);
        if !entry.roles.is_empty() {
            transaction.savepoint().await?;
        }
        if !new_account::insert(transaction, &account).await? {
            return Ok(Some(Refusal::new("email", "taken")));
        }
        if entry.is_verified {
            new_account::verify(transaction, account.id, self.change.at).await?;
        }
        if entry.is_suspended {
            new_account::suspend(transaction, account.id).await?;
        }
        if !self.grant(transaction, account.id, &entry.roles).await? {
            transaction.rollback_to_savepoint().await?;
            return Ok(Some(Refusal::new("roles", "unknown")));
        }
        Ok(None)
    }

    fn account(&self, line: i64, entry: &Entry) -> NewAccount {
        let Change {
            actor,
            at,
            correlation_id,
            ..
        } = &self.change;
        NewAccount {
            id: UserId::new(self.change.id()),
            event_id: self.change.id(),
            name: entry.name.clone(),
            display_name: entry.display_name.clone(),
            locale: entry.locale.clone(),
            email: entry.email.clone(),
            password_hash: entry.password_hash.clone(),
            created_at: entry.created_at.unwrap_or(*at),
            correlation_id: correlation_id.clone(),
            actor: Some(actor.clone()),
            imported: Some(Imported {
                import: self.import.clone(),
                line,
                id: entry.import_id.clone(),
                at: *at,
            }),
            verification: None,
        }
    }

    /// Whether all roles were granted.
    async fn grant(
        &self,
        transaction: &mut Transaction,
        user: UserId,
        roles: &[Role],
    ) -> Result<bool, Error> {
        let mut change = self.change.clone();
        for role in roles {
            // The history is sorted by time.
            change.at += TimeDelta::microseconds(1);
            let grant = Grant {
                user,
                role: role.clone(),
                limit: Permissions::ALL,
                change: change.clone(),
            };
            let outcome = grant.add(transaction).await?;
            if !matches!(outcome, GrantOutcome::Changed(_) | GrantOutcome::Unchanged) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
