//! The file of breached passwords, and the look-up in it.
//!
//! Lists of breached passwords have only the SHA-1 of each, so passwords are looked up by it. The first byte of the
//! hash picks one of 256 shards, the eight behind it are the key in the shard. A shard is a binary fuse filter of 16
//! bits (Graf and Lemire, 2022): 18 to 20 bits a password, never a miss, and a hit for about one in 65,536 of the
//! passwords that are not in the list.
//!
//! A small list is in memory. A large one stays on the disk ([`super::on_disk`]), with the heads of its shards in memory.
//!
//! A password is looked up as it was sent: its bytes, in its case, neither trimmed nor normalised. It is hashed in the
//! same way for its account, so what is looked up is exactly what an attacker would have to try.
//!
//! The file, with integers in little-endian order:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `BREACHED` |
//! | 4 | the version of this format: 1 |
//! | 4 | the length of the next part, at most 4 KiB |
//! | | [`About`], as JSON |
//! | 24 + 2 for each fingerprint | 256 times a shard: passwords (4), seed (8), length of a segment (4), length of all segments but two (4), fingerprints (4), the fingerprints |
//! | 32 | the SHA-256 of all before |
//!
//! The fingerprints depend on the crate `xorf`. A test has the bytes of a file, so that a release of the crate which
//! computes others is noticed: it needs another version of the format.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA256_OUTPUT_LEN, digest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use xorf::{BinaryFuse16, Descriptor, Filter as _};

use super::on_disk::{OnDisk, Shard, Version};

/// The largest file, in bytes. All passwords that are known from breaches, about a billion, take 2.3 GB.
pub const MAX_FILE: u64 = 4 * 1024 * 1024 * 1024;

/// The most passwords of a shard: 256 shards of so many fit into [`MAX_FILE`].
pub const MAX_SHARD: usize = 7_000_000;

/// Shards of a file: one for each value of a byte.
pub const SHARDS: usize = 256;

const MAGIC: [u8; 8] = *b"BREACHED";
const VERSION: u32 = 1;
const MAX_ABOUT: u32 = 4 * 1024;
/// The longest segment that `xorf` makes.
const MAX_SEGMENT: u32 = 1 << 18;
/// The only hash, and the only normalisation.
const HASH: &str = "sha1";
const NORMALISATION: &str = "none";
/// Fingerprints that are read at a time.
const CHUNK: usize = 8 * 1024;

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    hash: String,
    normalisation: String,
    /// The name of the file that it was made of.
    pub source: String,
    /// The date of that file.
    pub date: DateTime<Utc>,
}

impl About {
    /// A list made of a file with this name and date.
    #[must_use]
    pub fn new(source: String, date: DateTime<Utc>) -> Self {
        Self {
            hash: HASH.to_owned(),
            normalisation: NORMALISATION.to_owned(),
            source,
            date,
        }
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("it was not made by `signup-service breached build`")]
    Foreign,
    /// It has another version, hash or normalisation.
    #[error("it was made for another version of the service; build it again")]
    Version,
    /// Some of its bytes are wrong, or missing.
    #[error("it is damaged; copy or build it again")]
    Damaged,
    /// It is larger than [`MAX_FILE`].
    #[error(
        "it has {has} MiB, more than the {limit} MiB that are read; build it with a lower --top"
    )]
    TooLarge {
        /// Its size, in MiB.
        has: u64,
        /// The largest, in MiB.
        limit: u64,
    },
    /// Its bytes changed since it was opened.
    #[error("it was changed in place; replace it by a rename")]
    Changed,
}

/// Where a password is, if it is in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of its shard.
    pub shard: u8,
    /// Its key there.
    pub key: u64,
}

impl Place {
    /// The place of a password, as it was sent.
    #[must_use]
    pub fn of_password(password: &[u8]) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
        let mut bytes = [0; 20];
        bytes.copy_from_slice(hash.as_ref());
        Self::of_hash(&bytes)
    }

    /// The place of a password with this SHA-1.
    #[must_use]
    pub fn of_hash(hash: &[u8; 20]) -> Self {
        let [shard, key @ .., _, _, _, _, _, _, _, _, _, _, _] = *hash;
        Self {
            shard,
            key: u64::from_be_bytes(key),
        }
    }
}

/// A version of a file: another one is noticed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([i128; 5]);

impl Stamp {
    /// The version that a file has now.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let time =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self([
            metadata.dev().into(),
            metadata.ino().into(),
            metadata.len().into(),
            time(metadata.mtime(), metadata.mtime_nsec()),
            // Also a change of the permissions makes it worth another try.
            time(metadata.ctime(), metadata.ctime_nsec()),
        ])
    }
}

/// A list of breached passwords.
pub struct Filter {
    about: About,
    passwords: u64,
    shards: Shards,
}

/// The shards of a list: as many as [`SHARDS`].
enum Shards {
    InMemory(Vec<BinaryFuse16>),
    OnDisk(OnDisk),
}

impl Filter {
    /// Reads a file of at most [`MAX_FILE`]. One of at most `in_memory` bytes is in memory, a larger one stays open.
    ///
    /// # Errors
    /// When it cannot be used. It never panics, whatever the file has.
    pub fn open(path: &Path, in_memory: u64) -> Result<Self, FilterError> {
        // A named pipe would block until it has a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(FilterError::Foreign);
        }
        let file = File::open(path)?;
        let version = Version::of(&file)?;
        let length = version.length();
        if length > MAX_FILE {
            return Err(FilterError::TooLarge {
                has: length.div_ceil(1 << 20),
                limit: MAX_FILE >> 20,
            });
        }
        let input = BufReader::with_capacity(64 * 1024, &file);
        if length <= in_memory {
            return Self::read(input, length);
        }
        let list = List::read(input, length, Input::shard_to_read)?;
        let on_disk = OnDisk::new(file, version, list.shards)?;
        Ok(Self {
            about: list.about,
            passwords: list.passwords,
            shards: Shards::OnDisk(on_disk),
        })
    }

    /// Reads a list of this many bytes into memory.
    ///
    /// # Errors
    /// When it cannot be used. It never panics, and needs no more memory than the bytes have.
    pub fn read(input: impl Read, length: u64) -> Result<Self, FilterError> {
        let list = List::read(input, length, Input::shard)?;
        Ok(Self {
            about: list.about,
            passwords: list.passwords,
            shards: Shards::InMemory(list.shards),
        })
    }

    /// Whether a password is in the list, as it was sent. About one in 65,536 others counts as well. A list that is not
    /// in memory is read for it.
    ///
    /// # Errors
    /// When it cannot be read, or was changed in place.
    pub fn contains(&self, password: &[u8]) -> Result<bool, FilterError> {
        self.has(Place::of_password(password))
    }

    /// Whether there is a password of the list in this place, as for [`Self::contains`].
    ///
    /// # Errors
    /// When it cannot be read, or was changed in place.
    pub fn has(&self, place: Place) -> Result<bool, FilterError> {
        match &self.shards {
            Shards::InMemory(shards) => Ok(has(shards, place)),
            Shards::OnDisk(list) => list.has(place),
        }
    }

    /// The same at once. `None` if the list is not in memory.
    #[must_use]
    pub fn has_in_memory(&self, place: Place) -> Option<bool> {
        match &self.shards {
            Shards::InMemory(shards) => Some(has(shards, place)),
            Shards::OnDisk(_) => None,
        }
    }

    /// Whether the list is in memory.
    #[must_use]
    pub const fn is_in_memory(&self) -> bool {
        matches!(self.shards, Shards::InMemory(_))
    }

    /// Where the list comes from.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// How many passwords it has.
    #[must_use]
    pub const fn passwords(&self) -> u64 {
        self.passwords
    }
}

fn has(shards: &[BinaryFuse16], place: Place) -> bool {
    let shard = shards.get(usize::from(place.shard));
    shard.is_some_and(|shard| shard.contains(&place.key))
}

/// What was read of a file, whose shards are kept as `S`.
struct List<S> {
    about: About,
    passwords: u64,
    shards: Vec<S>,
}

impl<S> List<S> {
    fn read<R: Read>(
        reader: R,
        length: u64,
        shard: impl Fn(&mut Input<R>, Head) -> Result<S, FilterError>,
    ) -> Result<Self, FilterError> {
        let Some(contents) = length.checked_sub(SHA256_OUTPUT_LEN as u64) else {
            return Err(FilterError::Foreign);
        };
        let mut input = Input {
            reader,
            contents,
            left: contents,
            seen: Context::new(&SHA256),
        };
        let about = input.about()?;
        let (mut passwords, mut shards) = (0, Vec::with_capacity(SHARDS));
        for _ in 0..SHARDS {
            let head = input.head()?;
            passwords += u64::from(head.passwords);
            shards.push(shard(&mut input, head)?);
        }
        input.end()?;
        Ok(Self {
            about,
            passwords,
            shards,
        })
    }
}

/// What a shard has before its fingerprints.
struct Head {
    passwords: u32,
    descriptor: Descriptor,
    fingerprints: u32,
}

/// The bytes of a file, counted and hashed as they are read.
struct Input<R> {
    reader: R,
    /// Bytes before the checksum.
    contents: u64,
    /// Those of them that have not been read.
    left: u64,
    seen: Context,
}

impl<R: Read> Input<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FilterError> {
        let length = bytes.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(FilterError::Damaged)?;
        self.reader.read_exact(bytes).map_err(shortened)?;
        self.seen.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FilterError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, FilterError> {
        self.array().map(u32::from_le_bytes)
    }

    fn about(&mut self) -> Result<About, FilterError> {
        let magic: [u8; 8] = self.array().map_err(|error| match error {
            FilterError::Damaged => FilterError::Foreign,
            other => other,
        })?;
        if magic != MAGIC {
            return Err(FilterError::Foreign);
        }
        if self.number()? != VERSION {
            return Err(FilterError::Version);
        }
        let length = self.number()?;
        if length > MAX_ABOUT {
            return Err(FilterError::Damaged);
        }
        let mut json = vec![0; length as usize];
        self.fill(&mut json)?;
        let about: About = serde_json::from_slice(&json).map_err(|_| FilterError::Damaged)?;
        if about.hash != HASH || about.normalisation != NORMALISATION {
            return Err(FilterError::Version);
        }
        Ok(about)
    }

    /// The head of a shard. Its parts must fit together: a look-up relies on it.
    fn head(&mut self) -> Result<Head, FilterError> {
        let passwords = self.number()?;
        let seed = u64::from_le_bytes(self.array()?);
        let [segment, segments, count] = [self.number()?, self.number()?, self.number()?];
        // The three places of a key are in segments that follow one another, the first of them within `segments`.
        let fits = segment.is_power_of_two()
            && segment <= MAX_SEGMENT
            && segments > 0
            && segments.is_multiple_of(segment)
            && u64::from(count) == u64::from(segments) + 2 * u64::from(segment)
            && passwords <= count
            && u64::from(count) * 2 <= self.left;
        if !fits {
            return Err(FilterError::Damaged);
        }
        let descriptor = Descriptor {
            seed,
            segment_length: segment,
            segment_length_mask: segment - 1,
            segment_count_length: segments,
        };
        Ok(Head {
            passwords,
            descriptor,
            fingerprints: count,
        })
    }

    /// A shard with its fingerprints.
    fn shard(&mut self, head: Head) -> Result<BinaryFuse16, FilterError> {
        let mut fingerprints = Vec::with_capacity(head.fingerprints as usize);
        self.each_chunk(head.fingerprints, |chunk| {
            let pairs = chunk.as_chunks().0.iter();
            fingerprints.extend(pairs.map(|pair| u16::from_le_bytes(*pair)));
        })?;
        Ok(BinaryFuse16 {
            descriptor: head.descriptor,
            fingerprints: fingerprints.into_boxed_slice(),
        })
    }

    /// A shard whose fingerprints are read later.
    fn shard_to_read(&mut self, head: Head) -> Result<Shard, FilterError> {
        let begin = self.contents - self.left;
        self.each_chunk(head.fingerprints, |_| {})?;
        Ok(Shard {
            descriptor: head.descriptor,
            begin,
        })
    }

    /// Reads so many fingerprints, some at a time.
    fn each_chunk(&mut self, count: u32, mut take: impl FnMut(&[u8])) -> Result<(), FilterError> {
        let mut left = count as usize;
        let mut chunk = [0; 2 * CHUNK];
        while left > 0 {
            let some = CHUNK.min(left);
            let bytes = &mut chunk[..2 * some];
            self.fill(bytes)?;
            take(bytes);
            left -= some;
        }
        Ok(())
    }

    /// Compares the checksum, behind which there must be nothing.
    fn end(mut self) -> Result<(), FilterError> {
        let mut checksum = [0; SHA256_OUTPUT_LEN];
        self.reader.read_exact(&mut checksum).map_err(shortened)?;
        let is_whole = self.left == 0 && self.reader.read(&mut [0])? == 0;
        if is_whole && self.seen.finish().as_ref() == checksum {
            Ok(())
        } else {
            Err(FilterError::Damaged)
        }
    }
}

fn shortened(error: io::Error) -> FilterError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FilterError::Damaged,
        _ => FilterError::Read(error),
    }
}

/// Why a list was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No filter was found for these keys.
    #[error("no filter was found for its passwords")]
    NoFilter,
}

/// Writes a list: what it is about, each shard in turn, the checksum.
pub struct Writer<W> {
    output: W,
    seen: Context,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a list.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn begin(output: W, about: &About) -> Result<Self, WriteError> {
        let mut writer = Self {
            output,
            seen: Context::new(&SHA256),
            bytes: 0,
        };
        let json = serde_json::to_vec(about).map_err(io::Error::from)?;
        writer.put(&MAGIC)?;
        writer.number(VERSION)?;
        writer.number(u32::try_from(json.len()).unwrap_or(u32::MAX))?;
        writer.put(&json)?;
        Ok(writer)
    }

    /// Writes the next shard. Its keys must differ; there must be at most [`MAX_SHARD`] of them.
    ///
    /// # Errors
    /// When there is no filter for them, or the output cannot be written.
    pub fn shard(&mut self, keys: &Vec<u64>) -> Result<(), WriteError> {
        let filter = BinaryFuse16::try_from(keys).map_err(|_| WriteError::NoFilter)?;
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.number(number(keys.len()))?;
        self.put(&filter.descriptor.seed.to_le_bytes())?;
        self.number(filter.descriptor.segment_length)?;
        self.number(filter.descriptor.segment_count_length)?;
        self.number(number(filter.fingerprints.len()))?;
        let mut bytes = Vec::with_capacity(2 * CHUNK);
        for chunk in filter.fingerprints.chunks(CHUNK) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|print| print.to_le_bytes()));
            self.put(&bytes)?;
        }
        Ok(())
    }

    /// Ends the list, after [`SHARDS`] shards. Returns the output, and how many bytes were written to it.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn end(mut self) -> Result<(W, u64), WriteError> {
        let checksum = self.seen.finish();
        self.output.write_all(checksum.as_ref())?;
        self.output.flush()?;
        let bytes = self.bytes + checksum.as_ref().len() as u64;
        Ok((self.output, bytes))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.seen.update(bytes);
        self.bytes += bytes.len() as u64;
        self.output.write_all(bytes)
    }

    fn number(&mut self, number: u32) -> io::Result<()> {
        self.put(&number.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn about() -> About {
        let date = DateTime::from_timestamp(1_700_000_000, 0).expect("in range");
        About::new("list.txt".to_owned(), date)
    }

    fn password(number: usize) -> Vec<u8> {
        format!("password {number}").into_bytes()
    }

    fn file(passwords: usize) -> Vec<u8> {
        let mut keys = vec![BTreeSet::new(); SHARDS];
        for number in 0..passwords {
            let place = Place::of_password(&password(number));
            keys[usize::from(place.shard)].insert(place.key);
        }
        let mut writer = Writer::begin(Vec::new(), &about()).expect("written");
        for keys in keys {
            writer
                .shard(&keys.into_iter().collect())
                .expect("a filter and room");
        }
        let (bytes, length) = writer.end().expect("written");
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Filter, FilterError> {
        Filter::read(bytes, bytes.len() as u64)
    }

    fn on_disk(bytes: &[u8]) -> Result<Filter, FilterError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        std::fs::write(&path, bytes).expect("written");
        Filter::open(&path, 0)
    }

    fn has(filter: &Filter, password: &[u8]) -> bool {
        filter.contains(password).expect("readable")
    }

    /// The same bytes with the checksum that they should have.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let end = bytes.len() - SHA256_OUTPUT_LEN;
        let (contents, checksum) = bytes.split_at_mut(end);
        checksum.copy_from_slice(digest(&SHA256, contents).as_ref());
        bytes
    }

    /// Where the first shard begins.
    fn begin_of_shards(bytes: &[u8]) -> usize {
        let length = bytes[12..16].try_into().expect("four bytes");
        16 + u32::from_le_bytes(length) as usize
    }

    #[test]
    fn every_password_of_a_list_is_found_and_hardly_another_one() {
        for passwords in [1, 3, 5_000] {
            let bytes = file(passwords);
            let filter = read(&bytes).expect("usable");
            let on_disk = on_disk(&bytes).expect("usable");
            assert!(filter.is_in_memory() && !on_disk.is_in_memory());
            for filter in [&filter, &on_disk] {
                assert_eq!(filter.passwords(), passwords as u64);
                assert_eq!(filter.about(), &about());
                assert!((0..passwords).all(|number| has(filter, &password(number))));
            }
            // Three of them by chance, which are the same.
            let others = (passwords..passwords + 200_000).map(password);
            let others: Vec<_> = others.filter(|other| has(&filter, other)).collect();
            assert!(others.len() < 15, "{} of 200,000", others.len());
            let mut again = (passwords..passwords + 200_000).map(password);
            assert!(again.all(|other| has(&on_disk, &other) == others.contains(&other)));
        }
        let filter = read(&file(1)).expect("usable");
        assert!(!has(&filter, b"Password 0") && !has(&filter, b"password 0 "));
    }

    /// If this fails after an update of `xorf`, files that were made before are of no use: raise [`VERSION`].
    #[test]
    fn the_format_is_what_it_was() {
        let checksum = hex::encode(digest(&SHA256, &file(5_000)));
        let expected = "409b0abbd5e75c62112b04b70e6664002580b84afb9b3c7af5e265740bb04207";
        assert_eq!(checksum, expected);
    }

    #[test]
    fn a_place_is_made_of_the_first_bytes_of_the_hash() {
        // FIPS 180-2, appendix A.1: a9993e36 4706816a ba3e2571 7850c26c 9cd0d89d.
        let place = Place::of_password(b"abc");
        assert_eq!((place.shard, place.key), (0xa9, 0x993e_3647_0681_6aba));
    }

    #[test]
    fn a_file_with_any_wrong_byte_is_refused() {
        let good = file(20);
        let begin = begin_of_shards(&good);
        // All of the head, of the first shards and of the checksum; some of the rest.
        let end = good.len() - SHA256_OUTPUT_LEN;
        for at in 0..good.len() {
            if at > begin + 200 && at < end && at % 97 != 0 {
                continue;
            }
            for wrong in [good[at] ^ 1, good[at] ^ 0x80, !good[at]] {
                let mut bytes = good.clone();
                bytes[at] = wrong;
                assert!(read(&bytes).is_err(), "byte {at} is {wrong}");
                if at % 97 == 0 {
                    assert!(on_disk(&bytes).is_err(), "byte {at} is {wrong}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_too_short_or_too_long_is_refused() {
        let good = file(20);
        for length in (0..300).chain((300..good.len()).step_by(97)) {
            assert!(read(&good[..length]).is_err(), "{length} bytes");
            assert!(on_disk(&good[..length]).is_err(), "{length} bytes");
            // Truncated while it is read.
            let shorter = Filter::read(&good[..length], good.len() as u64);
            assert!(shorter.is_err(), "{length} bytes");
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert!(read(&longer).is_err() && on_disk(&longer).is_err());
        assert!(Filter::read(longer.as_slice(), good.len() as u64).is_err());
    }

    #[test]
    fn a_file_of_another_kind_or_version_is_named() {
        let line = |bytes: &[u8]| read(bytes).err().expect("refused").to_string();
        assert!(line(b"").contains("breached build"));
        assert!(line(&[b'x'; 100]).contains("breached build"));
        let mut other = file(1);
        other[8] = 2;
        assert!(line(&other).contains("another version"));
        let text = String::from_utf8_lossy(&about_json()).replace("none", "NFKC");
        let mut writer = Writer::begin(Vec::new(), &about()).expect("written").output;
        writer.truncate(12);
        writer.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
        writer.extend(text.into_bytes());
        writer.extend([0; SHA256_OUTPUT_LEN]);
        assert!(line(&writer).contains("another version"));
    }

    fn about_json() -> Vec<u8> {
        serde_json::to_vec(&about()).expect("JSON")
    }

    #[test]
    fn a_file_is_bounded_and_must_be_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        assert!(matches!(Filter::open(&path, 1), Err(FilterError::Read(_))));
        assert!(matches!(
            Filter::open(folder.path(), 1),
            Err(FilterError::Foreign)
        ));
        let bytes = file(20);
        std::fs::write(&path, &bytes).expect("written");
        let length = bytes.len() as u64;
        let open = |in_memory| Filter::open(&path, in_memory).expect("usable");
        assert!(open(length).is_in_memory() && !open(length - 1).is_in_memory());
        // It has no blocks, so it takes no room.
        let sparse = File::create(&path).expect("created");
        sparse.set_len(MAX_FILE + 1).expect("extended");
        let Err(refused @ FilterError::TooLarge { .. }) = Filter::open(&path, 0) else {
            panic!("it is larger");
        };
        assert!(refused.to_string().contains("4097 MiB"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(read(&bytes).is_err());
            let begun = [&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat();
            prop_assert!(read(&begun).is_err());
            prop_assert!(read(&sealed([&begun[..], &[0; SHA256_OUTPUT_LEN]].concat())).is_err());
        }

        /// A hostile file has the right checksum.
        #[test]
        fn no_sealed_file_makes_a_look_up_panic(
            shard in 0_usize..3,
            field in prop_oneof![Just(0_usize), Just(4), Just(12), Just(16), Just(20)],
            value in prop_oneof![any::<u32>(), 0_u32..64, Just(1_u32 << 18), Just(1 << 31)],
        ) {
            let mut bytes = file(0);
            // The shards of an empty list have one length.
            let begin = begin_of_shards(&bytes);
            let each = (bytes.len() - begin - SHA256_OUTPUT_LEN) / SHARDS;
            let at = begin + shard * each + field;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let bytes = sealed(bytes);
            if let Ok(filter) = read(&bytes) {
                let on_disk = on_disk(&bytes).expect("usable");
                for password in (0..2_000).map(password) {
                    prop_assert_eq!(has(&filter, &password), has(&on_disk, &password));
                }
            }
        }
    }
}
