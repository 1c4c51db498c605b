//! bcrypt's use of Blowfish, over `N` states at once.
//!
//! Every round is done for all states before the next round, so that the look-ups of one state
//! fill the time in which another waits for its own.

use core::array;

use crate::digits_of_pi::DIGITS_OF_PI;

/// The number of subkeys.
const SUBKEYS: usize = 18;

/// The number of words of a state: the subkeys, then four boxes of 256 words.
pub(crate) const WORDS: usize = SUBKEYS + 4 * 256;

/// The subkeys, then the boxes, one after another.
pub(crate) type State = [u32; WORDS];

/// A password or salt, repeated to the length that is mixed into the subkeys.
pub(crate) type Key = [u32; SUBKEYS];

/// The state from which every hash starts.
pub(crate) const INITIAL: State = DIGITS_OF_PI;

/// Fills `words`, which are all zero, with `bytes`, repeated.
pub(crate) fn repeat(bytes: impl Iterator<Item = u8> + Clone, words: &mut [u32]) {
    let mut bytes = bytes.cycle();
    for word in words {
        for byte in bytes.by_ref().take(4) {
            *word = *word << 8 | u32::from(byte);
        }
    }
}

/// bcrypt's first step: `ExpandKey` with both salt and password.
pub(crate) fn set_up(state: &mut State, password: &Key, salt: &Key) {
    add_key(state, password);
    let (mut left, mut right) = (0, 0);
    for word in (0..WORDS).step_by(2) {
        // Four words are the whole salt.
        left ^= salt[word % 4];
        right ^= salt[word % 4 + 1];
        encrypt(
            array::from_ref(state),
            array::from_mut(&mut left),
            array::from_mut(&mut right),
        );
        state[word] = left;
        state[word + 1] = right;
    }
}

/// bcrypt's costly step, `iterations` times: `ExpandKey` with the password, then with the salt.
#[expect(clippy::inline_always, reason = "however the caller is built")]
#[inline(always)]
pub(crate) fn iterate<const N: usize>(
    states: &mut [State; N],
    passwords: [&Key; N],
    salts: [&Key; N],
    iterations: u32,
) {
    // One call, as it is inlined: the code of two does not fit where a processor keeps decoded
    // instructions, and is up to a fifth slower by where it comes to lie.
    for _ in 0..iterations {
        for keys in [passwords, salts] {
            expand(states, keys);
        }
    }
}

/// bcrypt's last step: a fixed text, each block of it encrypted 64 times.
pub(crate) fn digest(state: &State) -> [u8; 24] {
    let mut words = [0; 6];
    repeat(b"OrpheanBeholderScryDoubt".iter().copied(), &mut words);
    for [left, right] in words.as_chunks_mut().0 {
        for _ in 0..64 {
            encrypt(
                array::from_ref(state),
                array::from_mut(left),
                array::from_mut(right),
            );
        }
    }
    let mut digest = [0; 24];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    digest
}

// From here on: index loops, and functions that are always inlined. The compiler may leave the
// closures of iterator chains as functions of their own, and does so with some build profiles:
// eight lanes then take up to four times as long.

/// `ExpandKey` without a salt.
#[expect(clippy::inline_always, reason = "however the caller is built")]
#[inline(always)]
fn expand<const N: usize>(states: &mut [State; N], keys: [&Key; N]) {
    for lane in 0..N {
        add_key(&mut states[lane], keys[lane]);
    }
    let (mut left, mut right) = ([0; N], [0; N]);
    let mut word = 0;
    while word < WORDS {
        encrypt(states, &mut left, &mut right);
        for lane in 0..N {
            states[lane][word] = left[lane];
            states[lane][word + 1] = right[lane];
        }
        word += 2;
    }
}

#[expect(clippy::inline_always, reason = "however the caller is built")]
#[inline(always)]
fn add_key(state: &mut State, key: &Key) {
    for word in 0..SUBKEYS {
        state[word] ^= key[word];
    }
}

/// Encrypts one block of each state, whose halves are `left` and `right`.
#[expect(clippy::inline_always, reason = "however the caller is built")]
#[inline(always)]
fn encrypt<const N: usize>(states: &[State; N], left: &mut [u32; N], right: &mut [u32; N]) {
    // Not a loop: the compiler would not unroll it, and eight lanes would be a fifth slower.
    round(states, 0, left, right);
    round(states, 1, right, left);
    round(states, 2, left, right);
    round(states, 3, right, left);
    round(states, 4, left, right);
    round(states, 5, right, left);
    round(states, 6, left, right);
    round(states, 7, right, left);
    round(states, 8, left, right);
    round(states, 9, right, left);
    round(states, 10, left, right);
    round(states, 11, right, left);
    round(states, 12, left, right);
    round(states, 13, right, left);
    round(states, 14, left, right);
    round(states, 15, right, left);
    for lane in 0..N {
        let half = left[lane];
        left[lane] = right[lane] ^ states[lane][17];
        right[lane] = half ^ states[lane][16];
    }
}

#[expect(clippy::inline_always, reason = "however the caller is built")]
#[inline(always)]
fn round<const N: usize>(
    states: &[State; N],
    number: usize,
    from: &mut [u32; N],
    to: &mut [u32; N],
) {
    for lane in 0..N {
        from[lane] ^= states[lane][number];
        to[lane] ^= substitute(&states[lane], from[lane]);
    }
}

/// Blowfish's function F: one word of each box, whose index is a byte of `half`.
#[expect(clippy::inline_always, reason = "however the caller is built")]
#[inline(always)]
const fn substitute(state: &State, half: u32) -> u32 {
    // Not `to_be_bytes`: for that, the compiler swaps the bytes first, which slows down eight lanes.
    let first = state[SUBKEYS + (half >> 24) as usize];
    let second = state[SUBKEYS + 256 + (half >> 16 & 0xff) as usize];
    let third = state[SUBKEYS + 512 + (half >> 8 & 0xff) as usize];
    let fourth = state[SUBKEYS + 768 + (half & 0xff) as usize];
    (first.wrapping_add(second) ^ third).wrapping_add(fourth)
}
