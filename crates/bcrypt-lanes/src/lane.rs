use alloc::boxed::Box;
use alloc::vec::Vec;
use core::array;
use core::cmp::Reverse;
use core::{fmt, iter};

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::blowfish::{self, Key, State};
use crate::{Cost, Error, Hash, MAX_LANES, MAX_PASSWORD};

#[cfg(test)]
mod tests;

/// One hash under way.
///
/// A new lane has [`Cost::iterations`] before it. [`advance`] takes it forward, and
/// [`finish`](Lane::finish) reads it once there are none left.
///
/// Its secrets are in one allocation on the heap, and stay there when the lane is moved. They are
/// wiped when it is dropped.
pub struct Lane {
    work: Box<Work>,
    salt: [u8; 16],
    cost: Cost,
    remaining: u32,
}

/// What must not outlive the hash.
struct Work {
    state: State,
    password: Key,
    salt: Key,
}

impl Lane {
    /// A lane at its start. This is as much work as half an iteration.
    ///
    /// Every byte of `password` counts. NUL is a byte as any other here, though programs in C
    /// end the password at it. bcrypt repeats the password and the NUL that it adds, so `a` and
    /// `a\0a` have the same hash. Encode passwords that may contain NUL, for example in base64.
    /// An empty password is hashed like any other: whether to take one is for the caller to say.
    ///
    /// A password of 72 bytes fills bcrypt's key, and no NUL is added to it.
    ///
    /// # Errors
    ///
    /// [`Error::PasswordTooLong`] if `password` has more than [`MAX_PASSWORD`] bytes. Other
    /// programs cut it there, and hash what is left.
    pub fn new(password: &[u8], salt: [u8; 16], cost: Cost) -> Result<Lane, Error> {
        if password.len() > MAX_PASSWORD {
            return Err(Error::PasswordTooLong(password.len()));
        }
        // No secret is in it until it is where it stays.
        let mut work = Box::new(Work {
            state: blowfish::INITIAL,
            password: [0; _],
            salt: [0; _],
        });
        let terminated = password
            .iter()
            .copied()
            .chain(iter::once(0))
            .take(MAX_PASSWORD);
        blowfish::repeat(terminated, &mut work.password);
        blowfish::repeat(salt.into_iter(), &mut work.salt);
        let Work {
            state,
            password,
            salt: salt_words,
        } = &mut *work;
        blowfish::set_up(state, password, salt_words);
        Ok(Lane {
            work,
            salt,
            cost,
            remaining: cost.iterations(),
        })
    }

    /// The cost it was made with.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// How many of its iterations are left: [`Cost::iterations`] at the start, 0 at the end.
    pub const fn remaining(&self) -> u32 {
        self.remaining
    }

    /// Whether no iteration is left.
    pub const fn is_done(&self) -> bool {
        self.remaining == 0
    }

    /// The hash of a lane that is done. This is as much work as a fifth of an iteration.
    ///
    /// # Errors
    ///
    /// The lane itself, as it was, if it is not done.
    pub fn finish(self) -> Result<Hash, Lane> {
        if !self.is_done() {
            return Err(self);
        }
        let digest = blowfish::digest(&self.work.state);
        Ok(Hash {
            cost: self.cost,
            salt: self.salt,
            digest,
        })
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("cost", &self.cost)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

impl ZeroizeOnDrop for Lane {}

impl Zeroize for Work {
    fn zeroize(&mut self) {
        let Work {
            state,
            password,
            salt,
        } = self;
        state.zeroize();
        password.zeroize();
        salt.zeroize();
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.zeroize();
    }
}

/// Moves every lane forward by `iterations`, or to its end if that is nearer.
///
/// Lanes that are done are passed over. Of the others, up to [`MAX_LANES`] are moved together,
/// whatever their costs and passwords; if there are more, the next ones follow when the first
/// have been moved. As lanes get done on the way, the rest goes on with fewer together.
///
/// One iteration of eight lanes takes about 0.1 ms on a processor of 2024. Beside its iterations, a
/// call costs some microseconds. So a caller can look for new lanes, and take out those that are
/// done, every few milliseconds. A call needs 36 KiB of stack, and allocates a list of the lanes.
///
/// ```
/// use bcrypt_lanes::{Cost, Lane, advance};
///
/// let mut lanes = vec![
///     Lane::new(b"one", [1; 16], Cost::new(4)?)?, // 16 iterations
///     Lane::new(b"another", [2; 16], Cost::new(5)?)?, // 32 iterations
/// ];
/// advance(&mut lanes, 20);
/// assert!(lanes[0].is_done());
/// assert_eq!(lanes[1].remaining(), 12);
/// # Ok::<(), bcrypt_lanes::Error>(())
/// ```
pub fn advance<'a>(lanes: impl IntoIterator<Item = &'a mut Lane>, iterations: u32) {
    let mut lanes: Vec<&mut Lane> = lanes.into_iter().filter(|lane| !lane.is_done()).collect();
    for group in lanes.chunks_mut(MAX_LANES) {
        advance_group(group, iterations);
    }
}

// Not generic, so that it is compiled with this crate, as optimised as this crate is.
fn advance_group(mut group: &mut [&mut Lane], mut iterations: u32) {
    group.sort_unstable_by_key(|lane| Reverse(lane.remaining));
    while let Some(shortest) = group.last()
        && iterations > 0
    {
        let together = shortest.remaining.min(iterations);
        match group.len() {
            1 => advance_together::<1>(group, together),
            2 => advance_together::<2>(group, together),
            3 => advance_together::<3>(group, together),
            4 => advance_together::<4>(group, together),
            5 => advance_together::<5>(group, together),
            6 => advance_together::<6>(group, together),
            7 => advance_together::<7>(group, together),
            _ => advance_together::<MAX_LANES>(group, together),
        }
        iterations -= together;
        let going_on = group.partition_point(|lane| !lane.is_done());
        group = &mut group[..going_on];
    }
}

/// Moves `N` lanes forward, each of which has `iterations` or more left.
// Not inlined, so that the states of one `N` only are on the stack.
#[inline(never)]
fn advance_together<const N: usize>(lanes: &mut [&mut Lane], iterations: u32) {
    // States that are side by side are at fixed distances. Where each has its own address, there
    // are not enough registers, and eight lanes are a tenth slower. Copying takes microseconds.
    let mut states = Zeroizing::new([[0; blowfish::WORDS]; N]);
    for (state, lane) in states.iter_mut().zip(&*lanes) {
        state.copy_from_slice(&lane.work.state);
    }
    let passwords = array::from_fn(|lane| &lanes[lane].work.password);
    let salts = array::from_fn(|lane| &lanes[lane].work.salt);
    blowfish::iterate(&mut states, passwords, salts, iterations);
    for (state, lane) in states.iter().zip(lanes) {
        lane.work.state.copy_from_slice(state);
        lane.remaining -= iterations;
    }
}
