//! Lanes beside the `bcrypt` crate. The property test and the fuzz target share this.

use bcrypt_lanes::{Cost, Lane, MAX_LANES, MAX_PASSWORD, advance};

/// A hash that somebody asks for while others are under way.
#[derive(Debug, Clone)]
pub struct Request {
    pub password: Vec<u8>,
    pub salt: [u8; 16],
    pub cost: u32,
    /// How far all lanes are moved before the next request comes.
    pub iterations: u32,
}

/// Takes the requests in turn into lanes, moves the lanes on between them, and compares what
/// comes out with the `bcrypt` crate.
///
/// # Panics
///
/// Where they differ, or where a lane has more or fewer iterations than it ought to have.
pub fn compare(requests: &[Request]) {
    let mut under_way: Vec<(Lane, &Request)> = Vec::new();
    for request in requests {
        while under_way.len() == MAX_LANES {
            move_on(&mut under_way, request.iterations.max(1));
        }
        let cost = Cost::new(request.cost).expect("a request has a cost in range");
        let lane = Lane::new(&request.password, request.salt, cost)
            .expect("a request has a password that is short enough");
        assert_eq!(lane.remaining(), cost.iterations());
        under_way.push((lane, request));
        move_on(&mut under_way, request.iterations);
    }
    while !under_way.is_empty() {
        move_on(&mut under_way, 7);
    }
}

fn move_on(under_way: &mut Vec<(Lane, &Request)>, iterations: u32) {
    let before: Vec<u32> = under_way.iter().map(|(lane, _)| lane.remaining()).collect();
    advance(under_way.iter_mut().map(|(lane, _)| lane), iterations);
    for ((lane, _), before) in under_way.iter().zip(before) {
        assert_eq!(lane.remaining(), before.saturating_sub(iterations));
    }
    for (lane, request) in under_way.extract_if(.., |(lane, _)| lane.is_done()) {
        let hash = lane.finish().expect("the lane is done");
        assert_eq!(hash.digest(), &digest(request), "{request:?}");
        assert_eq!(hash.to_string(), text(request), "{request:?}");
    }
}

/// What the `bcrypt` crate makes of a request.
fn digest(request: &Request) -> [u8; 24] {
    let mut key = request.password.clone();
    if key.len() < MAX_PASSWORD {
        key.push(0);
    }
    bcrypt::bcrypt(request.cost, request.salt, &key)
}

fn text(request: &Request) -> String {
    bcrypt::hash_with_salt(&request.password, request.cost, request.salt)
        .expect("the crate takes what a lane takes")
        .format_for_version(bcrypt::Version::TwoB)
}

/// Reads requests of cost 4 out of any bytes: each byte, or group of bytes, says the next thing.
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
