//! The costs of the stored hashes, for the hashes of addresses without an account.
//!
//! After a change of `BCRYPT_COST` the table has hashes of several costs. An address without an
//! account gets one of these, in the same proportions, and always the same one: so the time of a
//! login does not show whether the address has an account.

use std::sync::{PoisonError, RwLock};

/// How many hashes have which cost.
pub struct Costs {
    counts: RwLock<Vec<(u32, u64)>>,
    /// The cost of new hashes, for a table without any.
    default: u32,
}

impl Costs {
    /// Costs that have not been counted: all are the default.
    #[must_use]
    pub const fn new(default: u32) -> Self {
        Self {
            counts: RwLock::new(Vec::new()),
            default,
        }
    }

    /// Whether no hash has been counted yet.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        counts.is_empty()
    }

    /// Replaces the counts: pairs of a cost, and the number of hashes that have it.
    pub fn set(&self, counts: Vec<(u32, u64)>) {
        let mut known = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        *known = counts;
    }

    /// The cost for an address without an account, by a keyed hash of the address.
    #[must_use]
    pub fn of(&self, address: &[u8; 32]) -> u32 {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = counts.iter().map(|(_, accounts)| accounts).sum();
        let Some(first) = address.first_chunk::<8>() else {
            return self.default;
        };
        let Some(mut place) = u64::from_be_bytes(*first).checked_rem(all) else {
            return self.default;
        };
        for (cost, accounts) in counts.iter() {
            if place < *accounts {
                return *cost;
            }
            place -= accounts;
        }
        self.default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_costs_in_their_proportions() {
        let costs = Costs::new(12);
        assert_eq!(costs.of(&[1; 32]), 12);
        costs.set(vec![(10, 1), (12, 3)]);
        let of = |number: u64| {
            let mut address = [0; 32];
            address[..8].copy_from_slice(&number.to_be_bytes());
            costs.of(&address)
        };
        let all: Vec<u32> = (0..8).map(of).collect();
        assert_eq!(all, [10, 12, 12, 12, 10, 12, 12, 12]);
    }
}
