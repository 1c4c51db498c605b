//! The profiles of the stored hashes, for the hashes of addresses without an account.
//!
//! After a change of `BCRYPT_COST`, or an import, the table has hashes of several profiles. An address
//! without an account gets one of these, in the same proportions, and always the same one: so the time
//! of a login does not show whether the address has an account.

use std::sync::{PoisonError, RwLock};

use super::profile::Profile;

/// Profiles that are kept: the most frequent ones.
const MAX: usize = 64;

/// How many hashes have which profile.
pub struct Profiles {
    counts: RwLock<Vec<(Profile, u64)>>,
    /// The profile of new hashes, for a table without any.
    default: Profile,
}

impl Profiles {
    /// Profiles that have not been counted: all are that of new hashes, by their cost.
    #[must_use]
    pub const fn new(cost: u32) -> Self {
        Self {
            counts: RwLock::new(Vec::new()),
            default: Profile::Bcrypt { cost },
        }
    }

    /// Whether no hash has been counted yet.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        counts.is_empty()
    }

    /// Replaces the counts: pairs of a profile, and the number of hashes that have it. The 64 most
    /// frequent are kept.
    pub fn set(&self, mut counts: Vec<(Profile, u64)>) {
        counts.sort_unstable_by_key(|(profile, hashes)| (std::cmp::Reverse(*hashes), *profile));
        counts.truncate(MAX);
        // An order that hardly changes: an address is to keep its profile.
        counts.sort_unstable_by_key(|(profile, _)| *profile);
        let mut known = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        *known = counts;
    }

    /// The profile for an address without an account, by a keyed hash of the address.
    #[must_use]
    pub fn of(&self, address: &[u8; 32]) -> Profile {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = counts.iter().map(|(_, hashes)| hashes).sum();
        let Some(first) = address.first_chunk::<8>() else {
            return self.default;
        };
        let Some(mut place) = u64::from_be_bytes(*first).checked_rem(all) else {
            return self.default;
        };
        for (profile, hashes) in counts.iter() {
            if place < *hashes {
                return *profile;
            }
            place -= hashes;
        }
        self.default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(profiles: &Profiles, number: u64) -> Profile {
        let mut address = [0; 32];
        address[..8].copy_from_slice(&number.to_be_bytes());
        profiles.of(&address)
    }

    fn bcrypt(cost: u32) -> Profile {
        Profile::Bcrypt { cost }
    }

    #[test]
    fn addresses_get_the_profiles_in_their_proportions() {
        let profiles = Profiles::new(12);
        assert_eq!(profiles.of(&[1; 32]), bcrypt(12));
        let argon2 = Profile::of("$argon2id$v=19$m=64,t=1,p=1$").expect("valid");
        profiles.set(vec![(argon2, 3), (bcrypt(10), 1)]);
        let all: Vec<Profile> = (0..8).map(|number| of(&profiles, number)).collect();
        let [a, b] = [argon2, bcrypt(10)];
        assert_eq!(all, [b, a, a, a, b, a, a, a]);
    }

    #[test]
    fn the_most_frequent_profiles_are_kept() {
        let profiles = Profiles::new(12);
        let pbkdf2 = |iterations| {
            let text = format!("$pbkdf2-sha256${iterations}$");
            Profile::of(&text).expect("valid")
        };
        let rare = (1..1000).map(|iterations| (pbkdf2(iterations), 1));
        profiles.set(rare.chain([(bcrypt(10), 1000)]).collect());
        let all: Vec<Profile> = (0..1063).map(|number| of(&profiles, number)).collect();
        let frequent = all.iter().filter(|profile| **profile == bcrypt(10));
        assert_eq!(frequent.count(), 1000);
    }
}
