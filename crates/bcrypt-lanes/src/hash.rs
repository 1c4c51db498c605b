use core::fmt::{self, Write};

use crate::Cost;

const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A finished hash, with its salt and cost.
///
/// [`Display`](fmt::Display) writes it as `$2b$<cost>$<salt><digest>`, 60 characters. It is not
/// [`PartialEq`] on purpose: compare the bytes of two hashes in constant time. [`Debug`] omits
/// salt and digest, so that they are not logged by accident.
#[derive(Clone, Copy)]
pub struct Hash {
    pub(crate) cost: Cost,
    pub(crate) salt: [u8; 16],
    pub(crate) digest: [u8; 24],
}

impl Hash {
    /// The cost that the hash was made with.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The salt that the hash was made with.
    pub const fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    /// All 24 bytes of the digest. [`encode`](Hash::encode) has only the first 23 of them, as
    /// bcrypt's text form has had from the start.
    pub const fn digest(&self) -> &[u8; 24] {
        &self.digest
    }

    /// `$2b$`, two digits of cost, `$`, 22 characters of salt and 31 of digest, in ASCII.
    pub fn encode(&self) -> [u8; 60] {
        let mut text = *b"$2b$..$.....................................................";
        for (character, divisor) in text[4..6].iter_mut().zip([10, 1]) {
            let digit = self.cost.get() / divisor % 10;
            *character = b"0123456789"[digit as usize];
        }
        encode_base64(&self.salt, &mut text[7..29]);
        encode_base64(&self.digest[..23], &mut text[29..]);
        text
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encode()
            .into_iter()
            .try_for_each(|character| f.write_char(character.into()))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hash")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// Base64 with bcrypt's alphabet and no padding. The last bits are padded with zeros.
fn encode_base64(bytes: &[u8], text: &mut [u8]) {
    for (index, character) in text.iter_mut().enumerate() {
        let bit = 6 * index;
        let next = bytes.get(bit / 8 + 1).copied().unwrap_or(0);
        let window = u16::from_be_bytes([bytes[bit / 8], next]);
        let sextet = window >> (10 - bit % 8) & 63;
        *character = ALPHABET[usize::from(sextet)];
    }
}
