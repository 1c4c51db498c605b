//! Every lane makes the same hash as the `bcrypt` crate.

mod compare;

use compare::{Request, compare, requests};
use proptest::collection::vec;
use proptest::prelude::*;

fn request() -> impl Strategy<Value = Request> {
    (
        vec(any::<u8>(), 1..=72),
        any::<[u8; 16]>(),
        4_u32..=6,
        0_u32..=40,
    )
        .prop_map(|(password, salt, cost, iterations)| Request {
            password,
            salt,
            cost,
            iterations,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lanes_of_any_length_and_cost_that_join_at_any_moment(requests in vec(request(), 1..=20)) {
        compare(&requests);
    }

    #[test]
    fn requests_decoded_from_arbitrary_bytes(bytes in vec(any::<u8>(), 0..=1_000)) {
        compare(&requests(&bytes));
    }
}

#[test]
fn every_length_of_a_password() {
    let all: Vec<Request> = (0..=72_u8)
        .map(|length| Request {
            password: (1..=length).collect(),
            salt: [length; 16],
            cost: 4,
            iterations: 0,
        })
        .collect();
    compare(&all);
}

#[test]
fn bytes_that_implementations_treat_differently() {
    let passwords: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"a\0b", b"\xff\xff\xff\xff", &[0; 72]];
    let all = passwords.map(|password| Request {
        password: password.to_vec(),
        salt: [0x80; 16],
        cost: 5,
        iterations: 3,
    });
    compare(&all);
}

#[test]
fn bytes_from_the_fuzzer() {
    let inputs: [&[u8]; 4] = [b"", b"\0\0", b"\x48\x13", &[0xff; 500]];
    for bytes in inputs {
        compare(&requests(bytes));
    }
    assert_eq!(
        requests(&[72; 180]).len(),
        2,
        "two whole requests are decoded"
    );
}
