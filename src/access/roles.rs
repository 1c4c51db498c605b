//! Roles: what they permit, and which users have which.
//!
//! The built-in roles are in the program ([`Role::built_in`]); their grants are rows like any other.
//! A party that grants a role or takes it away has every permission of it; one that defines a role has
//! every permission that the role then has. A role can be cut down by a party that has less.

#[cfg(test)]
mod contract;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::account::{raise_epoch, revoke_tokens};
use super::auth_log;
use super::change::{self, Actor, Change, ChangeError};
use super::feed::{Feed, Revocation};
use super::history::{self, Event};
use crate::domain::{Permission, Permissions, Role, StoreError, TokenEpoch, UserId};
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};
use crate::platform::limits::{Bound, Limit};

/// Roles beside the built-in ones. The feed reads all their permissions every second.
pub const MAX_ROLES: usize = 1_000;

/// Roles of a page.
pub const PAGE: usize = 100;

/// Users that are listed as holders of a role.
pub const MAX_HOLDERS: usize = 100;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Roles beside the built-in ones",
        bound: Bound::Count(MAX_ROLES),
        effect: "409 `limit-reached`",
    },
    Limit {
        what: "Roles of a page",
        bound: Bound::Count(PAGE),
        effect: "the rest follows after `next`",
    },
    Limit {
        what: "Holders that are listed with a role",
        bound: Bound::Count(MAX_HOLDERS),
        effect: "further ones are not listed",
    },
];

/// A user was granted a role.
#[derive(Serialize)]
struct RoleGranted<'a> {
    /// The role.
    role: &'a Role,
    /// Who granted it.
    actor: &'a Actor,
}

impl Event for RoleGranted<'_> {
    const TYPE: &'static str = "user.role_granted";
}

/// A role was taken away from a user.
#[derive(Serialize)]
struct RoleRevoked<'a> {
    /// The role.
    role: &'a Role,
    /// Who took it away.
    actor: &'a Actor,
}

impl Event for RoleRevoked<'_> {
    const TYPE: &'static str = "user.role_revoked";
}

/// The outcome of a grant or its revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantOutcome {
    /// It was done. With the new epoch of the user.
    Changed(TokenEpoch),
    /// The user had the role already, or did not have it; nothing was written.
    Unchanged,
    /// There is no such user.
    NoSuchUser,
    /// There is no such role.
    NoSuchRole,
    /// Every user has the role, and it cannot be taken away.
    Fixed,
    /// The actor lacks these permissions of the role.
    Lacking(Permissions),
    /// No active administrator would be left; nothing was written.
    LastAdmin,
}

/// The outcome of defining or removing a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleOutcome {
    /// It was done.
    Done,
    /// There is no such role.
    NoSuchRole,
    /// It is a built-in role.
    Fixed,
    /// The actor lacks these permissions.
    Lacking(Permissions),
    /// A user has the role.
    InUse,
    /// There are as many roles as may be.
    TooMany,
}

/// What a role permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub role: String,
    /// Its permissions.
    pub permissions: Permissions,
    /// When it was made; `None` of a built-in role.
    pub created_at: Option<DateTime<Utc>>,
}

impl FromRow for Definition {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let permissions: Option<String> = row.get("permissions")?;
        Ok(Self {
            role: row.get("name")?,
            permissions: parse(permissions.as_deref()),
            created_at: Some(row.get::<Micros>("created_at")?.0),
        })
    }
}

/// The built-in roles that can be granted.
#[must_use]
pub fn built_in() -> Vec<Definition> {
    let definition = |role: &str| {
        Some(Definition {
            role: role.to_owned(),
            permissions: Role::built_in(role)?,
            created_at: None,
        })
    };
    [Role::ADMIN, Role::SUPPORT]
        .into_iter()
        .filter_map(definition)
        .collect()
}

// An update by one of these transactions waits for the others that may take away an administrator; a login
// does not, as it only refers to the row. In the order of ids, so that two do not wait for each other.
static LOCK_ADMINS_POSTGRES: Statement = Statement::new(
    "SELECT u.id FROM users u JOIN user_roles r ON r.user_id = u.id WHERE r.role = 'admin' \
     ORDER BY u.id FOR NO KEY UPDATE OF u",
);

// After the lock, as a statement sees what was committed before it began.
static OTHER_ADMIN: Statement = Statement::new(
    "SELECT u.id FROM users u JOIN user_roles r ON r.user_id = u.id \
     WHERE r.role = 'admin' AND u.status = 'active' AND u.id <> $1 LIMIT 1",
);

static IS_ADMIN: Statement =
    Statement::new("SELECT role FROM user_roles WHERE user_id = $1 AND role = 'admin'");

static LOCK_USER: Statement =
    Statement::new("UPDATE users SET token_epoch = token_epoch WHERE id = $1 RETURNING id");

static LOCK_ROLE: Statement =
    Statement::new("UPDATE roles SET created_at = created_at WHERE name = $1 RETURNING name");

static PERMISSIONS: Statement =
    Statement::new("SELECT string_agg(permission, ' ') FROM role_permissions WHERE role = $1");

static GRANT: Statement = Statement::new(
    "INSERT INTO user_roles (user_id, role, granted_by, granted_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT DO NOTHING",
);

static REVOKE: Statement =
    Statement::new("DELETE FROM user_roles WHERE user_id = $1 AND role = $2");

static IS_FULL: Statement =
    Statement::new("SELECT name FROM roles ORDER BY name LIMIT 1 OFFSET $1");

static INSERT_ROLE: Statement =
    Statement::new("INSERT INTO roles (name, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING");

static DELETE_PERMISSIONS: Statement =
    Statement::new("DELETE FROM role_permissions WHERE role = $1");

static INSERT_PERMISSION: Statement =
    Statement::new("INSERT INTO role_permissions (role, permission) VALUES ($1, $2)");

static HOLDERS: Statement =
    Statement::new("SELECT user_id FROM user_roles WHERE role = $1 ORDER BY user_id LIMIT $2");

static DELETE_ROLE: Statement = Statement::new("DELETE FROM roles WHERE name = $1");

static DEFINITION: Statement = Statement::new(
    "SELECT r.name, r.created_at, (SELECT string_agg(p.permission, ' ') FROM role_permissions p \
     WHERE p.role = r.name) AS permissions FROM roles r WHERE r.name = $1",
);

static DEFINITIONS: Statement = Statement::new(
    "SELECT r.name, r.created_at, (SELECT string_agg(p.permission, ' ') FROM role_permissions p \
     WHERE p.role = r.name) AS permissions FROM roles r WHERE r.name > $1 ORDER BY r.name LIMIT $2",
);

/// The names of a list that the database has put together with spaces, in order.
#[must_use]
pub fn names(list: Option<&str>) -> Vec<String> {
    let names = list.into_iter().flat_map(|list| list.split(' '));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names
}

fn parse(permissions: Option<&str>) -> Permissions {
    let words = permissions.unwrap_or_default().split(' ');
    // A permission of a newer release is none here.
    words.filter_map(Permission::parse).collect()
}

/// Locks the users who are administrators, before one of them may be taken away.
///
/// # Errors
/// The driver's.
pub(super) async fn lock_admins(transaction: &mut Transaction) -> Result<(), Error> {
    transaction.lock(&LOCK_ADMINS_POSTGRES, ()).await
}

/// Whether this user is an administrator, and no other one is active.
///
/// # Errors
/// The driver's.
pub(super) async fn was_last_admin(
    transaction: &mut Transaction,
    user: UserId,
) -> Result<bool, Error> {
    let id = user.as_uuid();
    let is_admin: Option<(String,)> = transaction.fetch_optional(&IS_ADMIN, (id,)).await?;
    Ok(is_admin.is_some() && !has_other_admin(transaction, user).await?)
}

async fn has_other_admin(transaction: &mut Transaction, user: UserId) -> Result<bool, Error> {
    let other: Option<(Uuid,)> = transaction
        .fetch_optional(&OTHER_ADMIN, (user.as_uuid(),))
        .await?;
    Ok(other.is_some())
}

/// A grant of a role, or its revocation.
pub struct Grant {
    /// The user.
    pub user: UserId,
    /// The role.
    pub role: Role,
    /// What the actor may do.
    pub limit: Permissions,
    /// The circumstances.
    pub change: Change,
}

impl Grant {
    /// Grants the role, as part of a transaction that is rolled back unless the outcome is
    /// [`GrantOutcome::Changed`] or [`GrantOutcome::Unchanged`].
    ///
    /// # Errors
    /// The driver's.
    pub async fn add(&self, transaction: &mut Transaction) -> Result<GrantOutcome, Error> {
        if let Some(refused) = self.refused(transaction).await? {
            return Ok(refused);
        }
        let Self { user, role, .. } = self;
        let Change { actor, at, .. } = &self.change;
        let row = (
            user.as_uuid(),
            role.as_str(),
            actor.to_string(),
            Micros(*at),
        );
        if transaction.execute(&GRANT, row).await? == 0 {
            return Ok(GrantOutcome::Unchanged);
        }
        self.complete(transaction, RoleGranted { role, actor })
            .await
    }

    /// Takes the role away, in the same way.
    ///
    /// # Errors
    /// The driver's.
    pub async fn remove(&self, transaction: &mut Transaction) -> Result<GrantOutcome, Error> {
        let Self { user, role, .. } = self;
        let actor = &self.change.actor;
        let is_admin = role.as_str() == Role::ADMIN;
        if is_admin {
            lock_admins(transaction).await?;
        }
        if let Some(refused) = self.refused(transaction).await? {
            return Ok(refused);
        }
        let row = (user.as_uuid(), role.as_str());
        if transaction.execute(&REVOKE, row).await? == 0 {
            return Ok(GrantOutcome::Unchanged);
        }
        if is_admin && !has_other_admin(transaction, *user).await? {
            return Ok(GrantOutcome::LastAdmin);
        }
        self.complete(transaction, RoleRevoked { role, actor })
            .await
    }

    /// Locks the user and the role; why the actor may not do it, if so.
    async fn refused(&self, transaction: &mut Transaction) -> Result<Option<GrantOutcome>, Error> {
        let name = self.role.as_str();
        if name == Role::USER {
            return Ok(Some(GrantOutcome::Fixed));
        }
        let user: Option<(Uuid,)> = transaction
            .fetch_optional(&LOCK_USER, (self.user.as_uuid(),))
            .await?;
        if user.is_none() {
            return Ok(Some(GrantOutcome::NoSuchUser));
        }
        let permissions = match Role::built_in(name) {
            Some(permissions) => Some(permissions),
            None => own_permissions(transaction, name).await?,
        };
        Ok(match permissions {
            None => Some(GrantOutcome::NoSuchRole),
            Some(needed) if !self.limit.includes(needed) => {
                Some(GrantOutcome::Lacking(needed.without(self.limit)))
            }
            Some(_) => None,
        })
    }

    async fn complete(
        &self,
        transaction: &mut Transaction,
        event: impl Event,
    ) -> Result<GrantOutcome, Error> {
        let Self { user, change, .. } = self;
        let Some(epoch) = raise_epoch(transaction, *user).await? else {
            return Ok(GrantOutcome::NoSuchUser);
        };
        revoke_tokens(transaction, *user, epoch, change, "roles_changed").await?;
        history::append(transaction, &change.of(*user), event).await?;
        Ok(GrantOutcome::Changed(epoch))
    }
}

/// The permissions of a role of the table, which it locks; `None` if there is no such role.
async fn own_permissions(
    transaction: &mut Transaction,
    name: &str,
) -> Result<Option<Permissions>, Error> {
    let found: Option<(String,)> = transaction.fetch_optional(&LOCK_ROLE, (name,)).await?;
    if found.is_none() {
        return Ok(None);
    }
    let listed: Option<(Option<String>,)> =
        transaction.fetch_optional(&PERMISSIONS, (name,)).await?;
    let listed = listed.and_then(|(permissions,)| permissions);
    Ok(Some(parse(listed.as_deref())))
}

/// Roles and grants.
#[derive(Clone)]
pub struct Roles {
    database: Database,
    feed: Option<Arc<Feed>>,
}

impl Roles {
    /// The roles of this database. The feed is that of the instance, if it is one.
    #[must_use]
    pub const fn new(database: Database, feed: Option<Arc<Feed>>) -> Self {
        Self { database, feed }
    }

    /// Grants a role. The user's access tokens from before are then no longer accepted: the next
    /// refresh has a token with the role.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: the grant can be repeated.
    pub async fn grant(&self, grant: Grant) -> Result<GrantOutcome, ChangeError> {
        self.change(grant, true).await
    }

    /// Takes a role away; refused for the last active administrator. Two that take away the last two
    /// at once do not both succeed.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: it can be repeated.
    pub async fn revoke(&self, grant: Grant) -> Result<GrantOutcome, ChangeError> {
        self.change(grant, false).await
    }

    async fn change(&self, grant: Grant, is_given: bool) -> Result<GrantOutcome, ChangeError> {
        let user = grant.user;
        let change = grant.change.clone();
        let work = ChangeGrant { grant, is_given };
        let outcome = change::write(&self.database, &change, work).await?;
        if let (GrantOutcome::Changed(epoch), Some(feed)) = (outcome, &self.feed) {
            feed.add(Revocation::User(user, epoch));
        }
        Ok(outcome)
    }

    /// Defines a role, or replaces its permissions. A party that has it is permitted the new ones within
    /// two seconds.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: it can be repeated.
    pub async fn define(
        &self,
        role: Role,
        permissions: Permissions,
        limit: Permissions,
        change: Change,
    ) -> Result<RoleOutcome, ChangeError> {
        if Role::built_in(role.as_str()).is_some() {
            return Ok(RoleOutcome::Fixed);
        }
        if !limit.includes(permissions) {
            return Ok(RoleOutcome::Lacking(permissions.without(limit)));
        }
        let define = Define {
            role,
            permissions,
            change: change.clone(),
        };
        let outcome = change::write(&self.database, &change, define).await?;
        self.reload(outcome).await;
        Ok(outcome)
    }

    /// Removes a role that no user has.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: it can be repeated.
    pub async fn remove(&self, role: Role, change: Change) -> Result<RoleOutcome, ChangeError> {
        if Role::built_in(role.as_str()).is_some() {
            return Ok(RoleOutcome::Fixed);
        }
        let remove = Remove {
            role,
            change: change.clone(),
        };
        let outcome = change::write(&self.database, &change, remove).await?;
        self.reload(outcome).await;
        Ok(outcome)
    }

    async fn reload(&self, outcome: RoleOutcome) {
        if let (RoleOutcome::Done, Some(feed)) = (outcome, &self.feed) {
            feed.reload().await;
        }
    }

    /// What a role permits; `None` if there is no such role.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn find(&self, role: &Role) -> Result<Option<Definition>, StoreError> {
        let name = role.as_str();
        if let Some(known) = built_in().into_iter().find(|known| known.role == name) {
            return Ok(Some(known));
        }
        self.database
            .fetch_latest(&DEFINITION, (name.to_owned(),))
            .await
    }

    /// The first users who have a role, by id.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn holders(&self, role: &Role) -> Result<Vec<UserId>, StoreError> {
        let most = i64::try_from(MAX_HOLDERS).unwrap_or(i64::MAX);
        let row = (role.as_str().to_owned(), most);
        let found: Vec<(Uuid,)> = self.database.fetch_all_latest(&HOLDERS, row).await?;
        Ok(found.into_iter().map(|(id,)| UserId::new(id)).collect())
    }

    /// A page of the roles beside the built-in ones, by name; and whether there are more.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn page(&self, after: &str) -> Result<(Vec<Definition>, bool), StoreError> {
        let most = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let row = (after.to_owned(), most);
        let mut page: Vec<Definition> = self.database.fetch_all_latest(&DEFINITIONS, row).await?;
        let has_more = page.len() > PAGE;
        page.truncate(PAGE);
        Ok((page, has_more))
    }
}

struct ChangeGrant {
    grant: Grant,
    is_given: bool,
}

impl UnitOfWork for ChangeGrant {
    type Outcome = GrantOutcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<GrantOutcome>, Error> {
        let outcome = if self.is_given {
            self.grant.add(transaction).await?
        } else {
            self.grant.remove(transaction).await?
        };
        Ok(match outcome {
            GrantOutcome::Changed(_) => End::Commit(outcome),
            _ => End::Rollback(outcome),
        })
    }
}

struct Define {
    role: Role,
    permissions: Permissions,
    change: Change,
}

impl UnitOfWork for Define {
    type Outcome = RoleOutcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<RoleOutcome>, Error> {
        let name = self.role.as_str();
        let row = (name, Micros(self.change.at));
        let is_new = transaction.execute(&INSERT_ROLE, row).await? == 1;
        // Counted with the new one. Two at once may both pass, which does no harm.
        let most = i64::try_from(MAX_ROLES).unwrap_or(i64::MAX);
        let beyond: Option<(String,)> = transaction.fetch_optional(&IS_FULL, (most,)).await?;
        if is_new && beyond.is_some() {
            return Ok(End::Rollback(RoleOutcome::TooMany));
        }
        if own_permissions(transaction, name).await? == Some(self.permissions) && !is_new {
            return Ok(End::Rollback(RoleOutcome::Done));
        }
        transaction.execute(&DELETE_PERMISSIONS, (name,)).await?;
        for permission in self.permissions.iter() {
            let row = (name, permission.as_str());
            transaction.execute(&INSERT_PERMISSION, row).await?;
        }
        auth_log::append_change(transaction, &self.change, "role.defined", name).await?;
        Ok(End::Commit(RoleOutcome::Done))
    }
}

struct Remove {
    role: Role,
    change: Change,
}

impl UnitOfWork for Remove {
    type Outcome = RoleOutcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<RoleOutcome>, Error> {
        let name = self.role.as_str();
        // A grant locks the role, too: so a grant that is under way is seen by the next statement.
        let found: Option<(String,)> = transaction.fetch_optional(&LOCK_ROLE, (name,)).await?;
        if found.is_none() {
            return Ok(End::Rollback(RoleOutcome::NoSuchRole));
        }
        let holder: Option<(Uuid,)> = transaction.fetch_optional(&HOLDERS, (name, 1_i64)).await?;
        if holder.is_some() {
            return Ok(End::Rollback(RoleOutcome::InUse));
        }
        // Its permissions go with it.
        transaction.execute(&DELETE_ROLE, (name,)).await?;
        auth_log::append_change(transaction, &self.change, "role.removed", name).await?;
        Ok(End::Commit(RoleOutcome::Done))
    }
}
