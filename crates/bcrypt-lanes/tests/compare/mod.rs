//! Compares lanes with the `bcrypt` crate. Shared by the property test and the fuzz target.

use bcrypt_lanes::{Cost, Lane, MAX_LANES, MAX_PASSWORD, advance};

/// A hash requested while others are being computed.
#[derive(Debug, Clone)]
pub struct Request {
    pub password: Vec<u8>,
    pub salt: [u8; 16],
    pub cost: u32,
    /// How far all lanes advance before the next request.
    pub iterations: u32,
}

/// Adds lanes for the requests in turn, advances the lanes in between, and compares the hashes with
/// those of the `bcrypt` crate.
///
/// # Panics
///
/// If they differ, or if a lane has a wrong number of iterations.
pub fn compare(requests: &[Request]) {
    let mut unfinished: Vec<(Lane, &Request)> = Vec::new();
    for request in requests {
        while unfinished.len() == MAX_LANES {
            advance_by(&mut unfinished, request.iterations.max(1));
        }
        let cost = Cost::new(request.cost).expect("the cost of a request is in range");
        let lane = Lane::new(&request.password, request.salt, cost)
            .expect("the password of a request is short enough");
        assert_eq!(lane.remaining(), cost.iterations());
        unfinished.push((lane, request));
        advance_by(&mut unfinished, request.iterations);
    }
    while !unfinished.is_empty() {
        advance_by(&mut unfinished, 7);
    }
}

fn advance_by(unfinished: &mut Vec<(Lane, &Request)>, iterations: u32) {
    let before: Vec<u32> = unfinished
        .iter()
        .map(|(lane, _)| lane.remaining())
        .collect();
    advance(unfinished.iter_mut().map(|(lane, _)| lane), iterations);
    for ((lane, _), before) in unfinished.iter().zip(before) {
        assert_eq!(lane.remaining(), before.saturating_sub(iterations));
    }
    for (lane, request) in unfinished.extract_if(.., |(lane, _)| lane.is_done()) {
        let hash = lane.finish().expect("the lane is done");
        assert_eq!(hash.digest(), &digest(request), "{request:?}");
        assert_eq!(hash.to_string(), text(request), "{request:?}");
    }
}

/// The hash of a request by the `bcrypt` crate.
fn digest(request: &Request) -> [u8; 24] {
    let mut key = request.password.clone();
    if key.len() < MAX_PASSWORD {
        key.push(0);
    }
    bcrypt::bcrypt(request.cost, request.salt, &key)
}

fn text(request: &Request) -> String {
    bcrypt::hash_with_salt(&request.password, request.cost, request.salt)
        .expect("the crate accepts what a lane accepts")
        .format_for_version(bcrypt::Version::TwoB)
}

/// Decodes requests of cost 4 from arbitrary bytes: each byte, or group of bytes, is the next field.
pub fn requests(mut bytes: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let [length, iterations, rest @ ..] = bytes {
        let (salt, rest) = rest.split_at(rest.len().min(16));
        let (password, rest) = rest.split_at(rest.len().min(usize::from(*length) % 73));
        let mut padded = [0; 16];
        padded[..salt.len()].copy_from_slice(salt);
        requests.push(Request {
            password: password.to_vec(),
            salt: padded,
            cost: 4,
            iterations: u32::from(*iterations) % 20,
        });
        bytes = rest;
    }
    requests
}
