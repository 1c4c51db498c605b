//! The API of lanes.

use bcrypt_lanes::{Cost, Error, Hash, Lane, MAX_LANES, MAX_PASSWORD, advance};

const SALT: [u8; 16] = *b"sixteen bytes it";

fn lane(cost: u32) -> Lane {
    let cost = Cost::new(cost).expect("the cost is in range");
    Lane::new(b"password", SALT, cost).expect("the password is short enough")
}

fn remaining(lanes: &[Lane]) -> Vec<u32> {
    lanes.iter().map(Lane::remaining).collect()
}

fn hash_of(mut lane: Lane) -> Hash {
    advance([&mut lane], u32::MAX);
    lane.finish().expect("the lane is done")
}

#[test]
fn the_costs_are_4_to_31() {
    for cost in 4..=31 {
        let cost = Cost::new(cost).unwrap();
        assert_eq!(u64::from(cost.iterations()), 2_u64.pow(cost.get()));
    }
    for cost in [0, 3, 32, u32::MAX] {
        assert_eq!(Cost::new(cost), Err(Error::CostOutOfRange(cost)));
        assert_eq!(Cost::try_from(cost), Err(Error::CostOutOfRange(cost)));
    }
    let error = Cost::new(3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the cost is 3, but has to be from 4 to 31"
    );
}

#[test]
fn a_password_that_would_be_truncated_is_refused() {
    let new = |length| Lane::new(&vec![b'x'; length], SALT, Cost::new(4).unwrap());
    assert!(new(MAX_PASSWORD).is_ok());
    let error = new(MAX_PASSWORD + 1).unwrap_err();
    assert_eq!(error, Error::PasswordTooLong(73));
    assert_eq!(
        error.to_string(),
        "the password has 73 bytes, but bcrypt takes 72"
    );
}

#[test]
fn a_lane_is_read_only_when_it_is_done() {
    let mut lane = lane(4);
    advance([&mut lane], 15);
    assert!(!lane.is_done());
    let mut lane = lane.finish().unwrap_err();
    assert_eq!(lane.remaining(), 1);
    advance([&mut lane], 1);
    assert!(lane.is_done());
    assert!(lane.finish().is_ok());
}

#[test]
fn a_hash_has_its_cost_and_salt() {
    let hash = hash_of(lane(5));
    assert_eq!(hash.cost().get(), 5);
    assert_eq!(hash.salt(), &SALT);
    let text = hash.to_string();
    assert_eq!(text.as_bytes(), hash.encode());
    assert!(text.starts_with("$2b$05$"));
    assert!(bcrypt::verify("password", &text).unwrap());
}

#[test]
fn a_cost_of_two_digits_is_written_with_both() {
    assert!(hash_of(lane(10)).to_string().starts_with("$2b$10$"));
}

#[test]
fn no_iterations_change_nothing() {
    let mut lanes = [lane(4), lane(5)];
    advance(&mut lanes, 0);
    assert_eq!(remaining(&lanes), [16, 32]);
}

#[test]
fn no_lanes_are_no_work() {
    advance([], u32::MAX);
}

#[test]
fn finished_lanes_are_skipped() {
    let mut lanes = [lane(5), lane(4), lane(6)];
    advance(&mut lanes, 20);
    assert_eq!(remaining(&lanes), [12, 0, 44]);
    advance(&mut lanes, 20);
    assert_eq!(remaining(&lanes), [0, 0, 24]);
    advance(&mut lanes, u32::MAX);
    for moved in lanes {
        let alone = hash_of(lane(moved.cost().get()));
        assert_eq!(moved.finish().unwrap().encode(), alone.encode());
    }
}

#[test]
fn more_lanes_than_fit_together_all_advance() {
    let mut lanes: Vec<Lane> = (0..=2 * MAX_LANES).map(|_| lane(5)).collect();
    advance(&mut lanes[..3], 32);
    advance(&mut lanes, 31);
    assert_eq!(remaining(&lanes[3..]), vec![1; 2 * MAX_LANES - 2]);
    advance(&mut lanes, 1);
    let expected = hash_of(lane(5)).to_string();
    for lane in lanes {
        assert_eq!(lane.finish().unwrap().to_string(), expected);
    }
}

#[test]
fn debug_output_has_no_secrets() {
    let mut lane = lane(4);
    assert_eq!(
        format!("{lane:?}"),
        "Lane { cost: Cost(4), remaining: 16, .. }"
    );
    advance([&mut lane], 16);
    assert_eq!(
        format!("{:?}", lane.finish().unwrap()),
        "Hash { cost: Cost(4), .. }"
    );
}
