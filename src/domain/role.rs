//! Permissions, and the roles that grant them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a caller may do beyond its own account. The list is closed: each is asked for by an
/// operation of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// Read any user.
    UsersRead,
    /// Create users, and change their status.
    UsersWrite,
    /// Erase users.
    UsersErase,
    /// End any user's sessions.
    SessionsEnd,
    /// Grant and revoke roles, as far as the granter's own permissions go.
    RolesGrant,
    /// Define roles.
    RolesWrite,
    /// Create, rotate and revoke service keys.
    KeysWrite,
    /// Ask whether tokens are valid, and read the revocations.
    TokensCheck,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 8] = [
        Self::UsersRead,
        Self::UsersWrite,
        Self::UsersErase,
        Self::SessionsEnd,
        Self::RolesGrant,
        Self::RolesWrite,
        Self::KeysWrite,
        Self::TokensCheck,
    ];

    /// The text for stores and clients.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::UsersErase => "users:erase",
            Self::SessionsEnd => "sessions:end",
            Self::RolesGrant => "roles:grant",
            Self::RolesWrite => "roles:write",
            Self::KeysWrite => "keys:write",
            Self::TokensCheck => "tokens:check",
        }
    }

    /// The permission with this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|permission| permission.as_str() == text)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u16);

impl Permissions {
    /// No permission.
    pub const NONE: Self = Self(0);

    /// Every permission.
    pub const ALL: Self = {
        let mut bits = 0;
        let mut at = 0;
        while at < Permission::ALL.len() {
            bits |= Permission::ALL[at].bit();
            at += 1;
        }
        Self(bits)
    };

    /// These permissions.
    #[must_use]
    pub const fn of(permissions: &[Permission]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < permissions.len() {
            bits |= permissions[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether all of the others are among them.
    #[must_use]
    pub const fn includes(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those that are not among the others.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The permissions, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        let all = Permission::ALL.into_iter();
        all.filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        let bits = permissions.into_iter().map(Permission::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The longest name of a role, in characters.
pub const MAX_ROLE: usize = 64;

/// The name of a role: 1 to 64 lower-case letters, digits, `-` and `_`, the first one a letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(String);

impl Role {
    /// The role that every user has; it grants nothing beyond the own account.
    pub const USER: &'static str = "user";
    /// The role of those who help users.
    pub const SUPPORT: &'static str = "support";
    /// The role that grants everything.
    pub const ADMIN: &'static str = "admin";

    /// Parses a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() <= MAX_ROLE
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            });
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The permissions of a built-in role; `None` for any other.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Permissions> {
        match name {
            Self::USER => Some(Permissions::NONE),
            Self::SUPPORT => Some(Permissions::of(&[
                Permission::UsersRead,
                Permission::SessionsEnd,
            ])),
            Self::ADMIN => Some(Permissions::ALL),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_read_from_its_own_text_only() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(&permission.to_string()), Some(permission));
        }
        for other in ["", "users", "users:READ", "users:read "] {
            assert_eq!(Permission::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_set_contains_what_it_is_made_of() {
        let read = Permissions::of(&[Permission::UsersRead]);
        let both = [Permission::UsersRead, Permission::KeysWrite];
        let both: Permissions = both.into_iter().collect();
        assert!(both.includes(read) && !read.includes(both) && both.includes(Permissions::NONE));
        assert!(both.contains(Permission::KeysWrite) && !read.contains(Permission::KeysWrite));
        assert_eq!(read.union(Permissions::of(&[Permission::KeysWrite])), both);
        assert_eq!(
            both.without(read),
            Permissions::of(&[Permission::KeysWrite])
        );
        assert!(read.without(both).is_empty() && !both.is_empty());
        assert_eq!(format!("{both:?}"), "{UsersRead, KeysWrite}");
        assert_eq!(Permissions::ALL.iter().count(), Permission::ALL.len());
        assert_eq!(Permissions::default(), Permissions::NONE);
    }

    #[test]
    fn built_in_roles_grant_what_they_are_for() {
        let of = |name| Role::built_in(name).expect("built in");
        assert_eq!(of(Role::USER), Permissions::NONE);
        assert!(of(Role::ADMIN).includes(of(Role::SUPPORT)));
        assert!(of(Role::SUPPORT).contains(Permission::SessionsEnd));
        assert!(!of(Role::SUPPORT).contains(Permission::UsersWrite));
        assert_eq!(Role::built_in("other"), None);
    }

    #[test]
    fn a_role_has_a_short_plain_name() {
        for valid in ["a", "admin", "help-desk_2", &"a".repeat(MAX_ROLE)] {
            assert_eq!(Role::parse(valid).expect("valid").to_string(), valid);
        }
        for invalid in [
            "",
            "2a",
            "-a",
            "Admin",
            "a b",
            "a,b",
            "ä",
            &"a".repeat(MAX_ROLE + 1),
        ] {
            assert_eq!(Role::parse(invalid), None, "{invalid}");
        }
        assert_eq!(Role::parse("admin").expect("valid").as_str(), Role::ADMIN);
    }
}
