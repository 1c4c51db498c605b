//! Classes of work. To add one, add it to [`Class`], and its share to `HASH_SHARES`.

use crate::config::HashShares;

/// What a password is hashed or verified for. While several classes wait, each has its share of the
/// lanes and of the places in the queue (`HASH_SHARES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A login from a device that the account knows.
    Known,
    /// Any other login.
    Login,
    /// A signup.
    Signup,
    /// Work on an account that exists: a password that is changed, reset or hashed again, an
    /// address that is verified.
    Account,
}

impl Class {
    /// All classes, in the order of `HASH_SHARES`.
    pub const ALL: [Self; 4] = [Self::Known, Self::Login, Self::Signup, Self::Account];

    /// Its name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Login => "login",
            Self::Signup => "signup",
            Self::Account => "account",
        }
    }

    /// Its weight: a share is the weight by the sum of all.
    #[must_use]
    pub const fn weight(self, shares: HashShares) -> u32 {
        match self {
            Self::Known => shares.known,
            Self::Login => shares.login,
            Self::Signup => shares.signup,
            Self::Account => shares.account,
        }
    }

    /// How many jobs of one network may wait; `None` for as many as there are places.
    ///
    /// A login is cheap to ask for and has no key, so a guesser could fill the queue with them.
    #[must_use]
    pub const fn network_places(self) -> Option<usize> {
        match self {
            Self::Known | Self::Login => Some(NETWORK_PLACES),
            Self::Signup | Self::Account => None,
        }
    }
}

/// The places of one network in the queue of logins.
pub const NETWORK_PLACES: usize = 8;
