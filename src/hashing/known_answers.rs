//! Known answer test: checks that lanes make the same hashes as the crate `bcrypt`. A compiler or a
//! processor that gets them wrong would lock out every user who signs up.

use bcrypt_lanes::{Cost, Lane, MAX_LANES};

const COST: u32 = 5;

/// Compares hashes made in lanes with hashes of the crate. It takes some milliseconds.
pub fn lanes_are_right() -> bool {
    agree(|lanes, iterations| bcrypt_lanes::advance(lanes, iterations))
}

/// Advances eight lanes that finish one after the other, so that every number of lanes is tested.
fn agree(advance: impl Fn(&mut [Lane], u32)) -> bool {
    let password = |number: usize| [b'a'; 72][..=10 * number].to_vec();
    let salt = |number: usize| [u8::try_from(number).unwrap_or_default() + 1; 16];
    let Ok(cost) = Cost::new(COST) else {
        return false;
    };
    let mut lanes = Vec::new();
    for number in 0..MAX_LANES {
        let Ok(lane) = Lane::new(&password(number), salt(number), cost) else {
            return false;
        };
        lanes.push(lane);
        advance(&mut lanes, 1);
    }
    advance(&mut lanes, cost.iterations());
    lanes.into_iter().enumerate().all(|(number, lane)| {
        let by_crate = bcrypt::hash_with_salt(password(number), COST, salt(number));
        match (lane.finish(), by_crate) {
            (Ok(lane), Ok(expected)) => {
                lane.to_string() == expected.format_for_version(bcrypt::Version::TwoB)
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_agree_with_the_crate() {
        assert!(lanes_are_right());
    }

    #[test]
    fn a_lane_that_lags_is_detected() {
        let lagging = |lanes: &mut [Lane], iterations| {
            let together = lanes.len();
            bcrypt_lanes::advance(lanes.iter_mut().take(together.min(7)), iterations);
        };
        assert!(!agree(lagging));
    }

    #[test]
    fn a_lane_with_another_password_is_detected() {
        let mixed = |lanes: &mut [Lane], iterations| {
            if lanes.len() == 2 {
                lanes.swap(0, 1);
            }
            bcrypt_lanes::advance(lanes, iterations);
        };
        assert!(!agree(mixed));
    }
}
