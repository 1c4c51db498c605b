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

/// A hash being computed.
///
/// A new lane has [`Cost::iterations`] left. [`advance`] performs them, and
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

/// Data that must not outlive the hash.
struct Work {
    state: State,
    password: Key,
    salt: Key,
}

impl Lane {
    /// Makes a new lane. This is as much work as half an iteration.
    ///
    /// Every byte of `password` counts. NUL is a byte like any other here, though programs in C
    /// end the password at it. bcrypt repeats the password and the NUL that it adds, so `a` and
    /// `a\0a` have the same hash. Encode passwords that may contain NUL, for example in base64.
    /// An empty password is hashed like any other: whether to accept one is up to the caller.
    ///
    /// A password of 72 bytes fills bcrypt's key, and no NUL is added to it.
    ///
    /// # Errors
    ///
    /// [`Error::PasswordTooLong`] if `password` has more than [`MAX_PASSWORD`] bytes. Other
    /// programs truncate it.
    pub fn new(password: &[u8], salt: [u8; 16], cost: Cost) -> Result<Lane, Error> {
        if password.len() > MAX_PASSWORD {
            return Err(Error::PasswordTooLong(password.len()));
        }
        // Secrets are written to it only once it is at its final place.
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

    /// The lane's cost.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The number of iterations left: [`Cost::iterations`] at the start, 0 at the end.
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
    /// The unchanged lane if it is not done.
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

/// Advances every lane by `iterations`, or to its end if that is nearer.
///
/// Finished lanes are skipped. Of the others, up to [`MAX_LANES`] advance together, whatever their
/// costs and passwords; if there are more, the next ones follow after the first. When lanes finish
/// on the way, the others continue in a smaller group.
///
/// One iteration of eight lanes takes about 0.1 ms on a processor of 2024. The overhead of a call
/// is some microseconds. So a caller can add new lanes, and take out finished ones, every few
/// milliseconds. A call needs 36 KiB of stack, and allocates a list of the lanes.
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

// Not generic, so that it is compiled with the optimisation of this crate.
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

/// Advances `N` lanes, each of which has `iterations` or more left.
// Not inlined, so that the states of one `N` only are on the stack.
#[inline(never)]
fn advance_together<const N: usize>(lanes: &mut [&mut Lane], iterations: u32) {
    // Adjacent states are at fixed offsets. If each had its own address, there would not be enough
    // registers, and eight lanes would be a tenth slower. Copying takes microseconds.
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
