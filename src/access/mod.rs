//! Access: who calls, and which callers may use an operation, over any transport.
//!
//! An operation declares its [`Access`]; without it, it does not compile. The transport finds out the
//! [`Caller`] and asks [`Access::allows`] before the operation begins, so that a handler is only
//! called for those that may.
//!
//! What changes access is here as well, as several areas and the command line do it in transactions of
//! their own: [`account`] has the status and the sessions of users, [`roles`] what they are granted,
//! [`service_keys`] the keys of machines. To add a change, write what it does in a transaction here,
//! with its event in the [`history`].

pub mod account;
pub mod auth_log;
pub mod authenticator;
pub mod change;
pub mod erasure;
pub mod feed;
pub mod history;
pub mod live;
pub mod roles;
pub mod service_keys;
#[cfg(test)]
mod testing;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::{Permission, Permissions, SessionId, TokenEpoch, UserId};
use change::Actor;

/// Which callers may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every caller that can reach the port, for this reason.
    Public(&'static str),
    /// Users, on their own account.
    User,
    /// Users, on their own account, who sent their password within this time.
    Fresh(Duration),
    /// The user named in the path, and callers with a permission.
    Own(Own),
    /// Callers with this permission.
    Needs(Permission),
}

/// Access to what belongs to the user named in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// The variable of the path with the user's id.
    pub variable: &'static str,
    /// The permission that others need.
    pub or: Permission,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user, by an access token.
    User(UserCaller),
    /// A machine, by a service key.
    Service(ServiceCaller),
}

/// A user with an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCaller {
    /// The user.
    pub user: UserId,
    /// The session of the token.
    pub session: SessionId,
    /// When the user last sent the password in this session.
    pub auth_time: DateTime<Utc>,
    /// The epoch of the user when the token was issued.
    pub epoch: TokenEpoch,
    /// What the user's roles permit.
    pub permissions: Permissions,
}

/// A machine with a service key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCaller {
    /// The id of the key.
    pub key: String,
    /// What the key permits.
    pub permissions: Permissions,
}

/// Why a caller may not use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The caller lacks a permission, or is no user.
    NotPermitted,
    /// The resource is another user's; the response must not show that it exists.
    Foreign,
    /// The password was sent too long ago.
    NotFresh(Duration),
}

impl Denied {
    /// The word for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::Foreign => "foreign",
            Self::NotFresh(_) => "not_fresh",
        }
    }
}

/// For the reference pages.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(because) => write!(f, "public: {because}"),
            Self::User => f.write_str("users"),
            Self::Fresh(within) => {
                let minutes = within.as_secs() / 60;
                write!(f, "users who sent the password within {minutes} min")
            }
            Self::Own(own) => write!(f, "the user itself, or `{}`", own.or),
            Self::Needs(permission) => write!(f, "`{permission}`"),
        }
    }
}

impl Caller {
    /// What the caller may do beyond its own account.
    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        match self {
            Self::User(user) => user.permissions,
            Self::Service(service) => service.permissions,
        }
    }

    /// The caller, as the history names it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::User(user) => Actor::User(user.user),
            Self::Service(service) => Actor::Service(service.key.clone()),
        }
    }

    /// The user, if it is one.
    #[must_use]
    pub const fn user(&self) -> Option<&UserCaller> {
        match self {
            Self::User(user) => Some(user),
            Self::Service(_) => None,
        }
    }
}

impl Access {
    /// Access to what belongs to the user named in this variable of the path; others need the
    /// permission.
    #[must_use]
    pub const fn own(variable: &'static str, or: Permission) -> Self {
        Self::Own(Own { variable, or })
    }

    /// Whether every caller may use it. `opened` are the permissions that no one needs here.
    #[must_use]
    pub const fn is_open(&self, opened: Permissions) -> bool {
        match self {
            Self::Public(_) => true,
            Self::Own(Own { or, .. }) | Self::Needs(or) => opened.contains(*or),
            Self::User | Self::Fresh(_) => false,
        }
    }

    /// Whether this caller may use it. `owner` is the user named in the path, if it is a user's id.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(
        &self,
        caller: &Caller,
        owner: Option<UserId>,
        now: DateTime<Utc>,
    ) -> Result<(), Denied> {
        let user = caller.user().ok_or(Denied::NotPermitted);
        match self {
            Self::Public(_) => Ok(()),
            Self::User => user.map(drop),
            Self::Fresh(within) => {
                let age = now - user?.auth_time;
                let is_fresh = TimeDelta::from_std(*within).is_ok_and(|within| age <= within);
                is_fresh.then_some(()).ok_or(Denied::NotFresh(*within))
            }
            Self::Own(own) => {
                let is_own = user.is_ok_and(|user| Some(user.user) == owner);
                let may = is_own || caller.permissions().contains(own.or);
                may.then_some(()).ok_or(Denied::Foreign)
            }
            Self::Needs(permission) => {
                let may = caller.permissions().contains(*permission);
                may.then_some(()).ok_or(Denied::NotPermitted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const OWN: Access = Access::own("id", Permission::UsersRead);
    const FRESH: Access = Access::Fresh(Duration::from_mins(5));

    fn id(number: u128) -> UserId {
        UserId::new(Uuid::from_u128(number))
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("in range")
    }

    fn user(permissions: &[Permission]) -> Caller {
        Caller::User(UserCaller {
            user: id(1),
            session: SessionId::new(Uuid::from_u128(9)),
            auth_time: now() - TimeDelta::minutes(5),
            epoch: TokenEpoch::default(),
            permissions: Permissions::of(permissions),
        })
    }

    fn service(permissions: &[Permission]) -> Caller {
        Caller::Service(ServiceCaller {
            key: "key".to_owned(),
            permissions: Permissions::of(permissions),
        })
    }

    #[test]
    fn a_user_reads_itself_and_others_only_by_a_permission() {
        let foreign = Err(Denied::Foreign);
        assert_eq!(OWN.allows(&user(&[]), Some(id(1)), now()), Ok(()));
        assert_eq!(OWN.allows(&user(&[]), Some(id(2)), now()), foreign);
        assert_eq!(OWN.allows(&user(&[]), None, now()), foreign);
        let may_read = [Permission::UsersRead];
        assert_eq!(OWN.allows(&user(&may_read), Some(id(2)), now()), Ok(()));
        assert_eq!(OWN.allows(&service(&may_read), Some(id(2)), now()), Ok(()));
        assert_eq!(OWN.allows(&service(&[]), Some(id(1)), now()), foreign);
    }

    #[test]
    fn a_permission_is_needed_by_users_and_machines() {
        let access = Access::Needs(Permission::TokensCheck);
        let denied = Err(Denied::NotPermitted);
        for caller in [user(&[Permission::UsersRead]), service(&[])] {
            assert_eq!(access.allows(&caller, None, now()), denied);
        }
        for caller in [
            user(&[Permission::TokensCheck]),
            service(&[Permission::TokensCheck]),
        ] {
            assert_eq!(access.allows(&caller, None, now()), Ok(()));
        }
    }

    #[test]
    fn the_own_account_is_for_users_with_every_right_of_a_machine_denied() {
        assert_eq!(Access::User.allows(&user(&[]), None, now()), Ok(()));
        let machine = service(&Permission::ALL);
        for access in [Access::User, FRESH] {
            let denied = access.allows(&machine, None, now());
            assert_eq!(denied, Err(Denied::NotPermitted));
        }
        assert_eq!(Access::Public("").allows(&machine, None, now()), Ok(()));
    }

    #[test]
    fn a_password_sent_too_long_ago_is_asked_for_again() {
        assert_eq!(FRESH.allows(&user(&[]), None, now()), Ok(()));
        let later = now() + TimeDelta::milliseconds(1);
        let denied = FRESH.allows(&user(&[]), None, later);
        assert_eq!(denied, Err(Denied::NotFresh(Duration::from_mins(5))));
    }

    #[test]
    fn only_what_is_public_or_was_opened_is_open() {
        let opened = Permissions::of(&[Permission::UsersRead]);
        assert!(OWN.is_open(opened) && !OWN.is_open(Permissions::NONE));
        assert!(Access::Needs(Permission::UsersRead).is_open(opened));
        assert!(!Access::Needs(Permission::UsersWrite).is_open(opened));
        assert!(Access::Public("").is_open(Permissions::NONE));
        assert!(!Access::User.is_open(Permissions::ALL) && !FRESH.is_open(Permissions::ALL));
    }
}
