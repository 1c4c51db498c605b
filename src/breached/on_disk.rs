//! A list that is too large for the memory: three reads of two bytes of its file for each look-up.
//!
//! The checksum of the file is compared when it is opened. Behind a rename, the open file is still the one before. One
//! that is changed in place is noticed by its length or its time of modification, and is not used any more: then a
//! look-up fails, and says nothing of the password.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use xorf::Descriptor;

use super::filter::{FilterError, Place};

/// A file whose checksum was right.
pub(super) struct OnDisk {
    file: File,
    /// The version that was checked.
    version: Version,
    /// As many as [`super::filter::SHARDS`].
    shards: Vec<Shard>,
}

/// A shard whose fingerprints are in the file.
pub(super) struct Shard {
    pub(super) descriptor: Descriptor,
    /// Where its fingerprints begin, in bytes.
    pub(super) begin: u64,
}

/// The length and the time of modification of an open file. Unlike [`super::filter::Stamp`], it stays the same when the
/// name of the file is taken by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    length: u64,
    modified: (i64, i64),
}

impl Version {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }
}

impl OnDisk {
    /// A file that had this version before it was read.
    pub(super) fn new(
        file: File,
        version: Version,
        shards: Vec<Shard>,
    ) -> Result<Self, FilterError> {
        let list = Self {
            file,
            version,
            shards,
        };
        list.is_unchanged().map(|()| list)
    }

    /// Whether there is a password in this place. It blocks while the disk is read.
    pub(super) fn has(&self, place: Place) -> Result<bool, FilterError> {
        let Some(shard) = self.shards.get(usize::from(place.shard)) else {
            return Ok(false);
        };
        let (mut fingerprint, indices) = shard.find(place.key);
        for index in indices {
            fingerprint ^= self.fingerprint(shard.begin + 2 * u64::from(index))?;
        }
        // Not before: what was read is right only if the file still is what it was.
        self.is_unchanged()?;
        Ok(fingerprint == 0)
    }

    fn fingerprint(&self, at: u64) -> Result<u16, FilterError> {
        let mut bytes = [0; 2];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => FilterError::Changed,
                _ => FilterError::Read(error),
            })?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn is_unchanged(&self) -> Result<(), FilterError> {
        if Version::of(&self.file)? == self.version {
            Ok(())
        } else {
            Err(FilterError::Changed)
        }
    }
}

impl Shard {
    /// The fingerprint of a key, and the indices of those that make it up.
    ///
    /// As `xorf` does it, which has no look-up without the fingerprints: the finalizer of `MurmurHash3`, then a place in
    /// three segments that follow one another. A test compares the two.
    fn find(&self, key: u64) -> (u16, [u32; 3]) {
        let hash = mixed(key.wrapping_add(self.descriptor.seed));
        let Descriptor {
            segment_length,
            segment_length_mask,
            segment_count_length,
            ..
        } = self.descriptor;
        // The high half of the product, which is less than `segment_count_length`.
        let [.., a, b, c, d, _, _, _, _, _, _, _, _] =
            (u128::from(hash) * u128::from(segment_count_length)).to_be_bytes();
        let first = u32::from_be_bytes([a, b, c, d]);
        let second = first + segment_length;
        let third = second + segment_length;
        let indices = [
            first,
            second ^ (low(hash >> 18) & segment_length_mask),
            third ^ (low(hash) & segment_length_mask),
        ];
        let [.., a, b] = (hash ^ (hash >> 32)).to_be_bytes();
        (u16::from_be_bytes([a, b]), indices)
    }
}

/// The finalizer of `MurmurHash3`.
const fn mixed(key: u64) -> u64 {
    let key = (key ^ (key >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let key = (key ^ (key >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    key ^ (key >> 33)
}

const fn low(bits: u64) -> u32 {
    let [.., a, b, c, d] = bits.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
