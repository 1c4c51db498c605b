//! The query and the write of the slice.

#[cfg(test)]
mod contract;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::access::change::Change;
use crate::access::history::{self, Event};
use crate::access::{UserCaller, live, roles};
use crate::domain::{Locale, Name, StoreError, UserId};
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};
use crate::slices::user::User;

/// The caller's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What others with a permission see, too.
    pub user: User,
    /// Whether the user has proved to own the address.
    pub email_verified: bool,
    /// `active` or `suspended`.
    pub status: String,
    /// The roles that were granted, in order; every user has the role `user` beside them.
    pub roles: Vec<String>,
    /// The language of mails; `None`: that of the service.
    pub locale: Option<String>,
    /// When the account was last changed, to the microsecond; `None` if never.
    pub updated_at: Option<DateTime<Utc>>,
}

impl FromRow for Account {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let roles: Option<String> = row.get("roles")?;
        let updated_at: Option<Micros> = row.get("updated_at")?;
        Ok(Self {
            user: User::from_row(row)?,
            email_verified: row.get("email_verified")?,
            status: row.get("status")?,
            roles: roles::names(roles.as_deref()),
            locale: row.get("locale")?,
            updated_at: updated_at.map(|time| time.0),
        })
    }
}

static BY_ID: Statement = Statement::new(
    "SELECT id, name, email, display_name, created_at, email_verified, status, updated_at, \
     (SELECT u.locale FROM users u WHERE u.id = users_read.id) AS locale, \
     (SELECT string_agg(r.role, ' ') FROM user_roles r WHERE r.user_id = users_read.id) AS roles \
     FROM users_read WHERE id = $1",
);

static LOCK_POSTGRES: Statement =
    Statement::new("SELECT id FROM users_read WHERE id = $1 FOR UPDATE");

/// Changes of a profile in a day that are made: each is an event, and an erasure rewrites them all at once.
pub const MOST: u8 = 100;

static MADE: Statement = Statement::new(
    "SELECT count(*) AS changes FROM user_events WHERE user_id = $1 \
     AND type = 'user.profile_updated' AND occurred_at > $2",
);

static UPDATE: Statement = Statement::new(
    "UPDATE users SET name = $2, version = version + 1, updated_at = $3, locale = $4 WHERE id = $1 \
     RETURNING version",
);

static PROJECT: Statement = Statement::new(
    "UPDATE users_read SET name = $2, display_name = $3, updated_at = $4, version = $5 WHERE id = $1",
);

/// The profile of a user was changed.
#[derive(Serialize)]
struct ProfileUpdated<'a> {
    /// The name now.
    name: &'a str,
    /// The display name now.
    display_name: &'a str,
    /// The language now.
    locale: Option<&'a str>,
}

impl Event for ProfileUpdated<'_> {
    const TYPE: &'static str = "user.profile_updated";
}

/// What a display name becomes.
pub enum DisplayName {
    /// What it is.
    Kept,
    /// The name.
    OfTheName,
    /// This.
    Own(Name),
}

/// What a language becomes.
pub enum Language {
    /// What it is.
    Kept,
    /// That of the service.
    OfTheService,
    /// This.
    Own(Locale),
}

/// A change of a profile. What is `None` stays.
pub struct UpdateProfile<T> {
    /// Who makes it.
    pub caller: UserCaller,
    /// The circumstances.
    pub change: Change,
    /// Another name.
    pub name: Option<Name>,
    /// What the display name becomes.
    pub display_name: DisplayName,
    /// What the language becomes.
    pub language: Language,
    /// Whether the account as it is now is the one that the client wants to change.
    pub is_expected: T,
}

/// The outcome of a change of a profile.
pub enum Outcome {
    /// The account is as the client wants it.
    Done(Account),
    /// It is not the one that the client wants to change; nothing was written.
    Unexpected,
    /// There were too many changes in a day; nothing was written.
    TooMany,
    /// The session of the caller has ended; nothing was written.
    CallerEnded,
}

impl<T: Fn(&Account) -> bool + Send + Sync + 'static> UnitOfWork for UpdateProfile<T> {
    type Outcome = Outcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let (change, id) = (&self.change, self.caller.user.as_uuid());
        // It locks the user: two changes are one after the other.
        if !live::check_alone(transaction, &self.caller, change.at).await? {
            return Ok(End::Rollback(Outcome::CallerEnded));
        }
        transaction.lock(&LOCK_POSTGRES, (id,)).await?;
        let found: Option<Account> = transaction.fetch_optional(&BY_ID, (id,)).await?;
        let Some(mut account) = found else {
            return Ok(End::Rollback(Outcome::CallerEnded));
        };
        if !(self.is_expected)(&account) {
            return Ok(End::Rollback(Outcome::Unexpected));
        }
        let user = &mut account.user;
        let name = self.name.as_ref().map_or(user.name.as_str(), Name::as_str);
        let display_name = match &self.display_name {
            DisplayName::Kept => user.display_name.as_str(),
            DisplayName::OfTheName => name,
            DisplayName::Own(display_name) => display_name.as_str(),
        };
        let (name, display_name) = (name.to_owned(), display_name.to_owned());
        let locale = match &self.language {
            Language::Kept => account.locale.clone(),
            Language::OfTheService => None,
            Language::Own(locale) => Some(locale.as_str().to_owned()),
        };
        if (&name, &display_name, &locale) == (&user.name, &user.display_name, &account.locale) {
            return Ok(End::Rollback(Outcome::Done(account)));
        }
        let since = Micros(change.at - TimeDelta::days(1));
        let made: Option<(i64,)> = transaction.fetch_optional(&MADE, (id, since)).await?;
        if made.is_some_and(|(changes,)| changes >= i64::from(MOST)) {
            return Ok(End::Rollback(Outcome::TooMany));
        }
        let (name, display_name) = (name.as_str(), display_name.as_str());
        let at = Micros(change.at);
        let row = (id, name, at, locale.as_deref());
        let changed: Option<(i32,)> = transaction.fetch_optional(&UPDATE, row).await?;
        let Some((version,)) = changed else {
            return Ok(End::Rollback(Outcome::CallerEnded));
        };
        let row = (id, name, display_name, at, version);
        transaction.execute(&PROJECT, row).await?;
        let event = ProfileUpdated {
            name,
            display_name,
            locale: locale.as_deref(),
        };
        history::append(transaction, &change.of(self.caller.user), event).await?;
        name.clone_into(&mut user.name);
        display_name.clone_into(&mut user.display_name);
        account.locale = locale;
        account.updated_at = Some(change.at);
        Ok(End::Commit(Outcome::Done(account)))
    }
}

/// The account of this user, from the projection and the roles; `None` if there is none. It is read
/// from the primary: a user who has just signed up or changed something sees it.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_id(database: &Database, id: UserId) -> Result<Option<Account>, StoreError> {
    database.fetch_latest(&BY_ID, (id.as_uuid(),)).await
}
