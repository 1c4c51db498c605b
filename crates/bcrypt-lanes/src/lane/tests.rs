extern crate std;

use super::*;

/// Tests run in parallel, and one searches all of the memory, so each has its own password.
fn lane(first: u8) -> Lane {
    let password: [u8; 72] = array::from_fn(|index| first + u8::try_from(index).unwrap());
    Lane::new(&password, [7; 16], Cost::new(8).unwrap()).unwrap()
}

#[test]
fn zeroize_leaves_nothing() {
    let mut work = lane(1).work;
    assert!(work.state.iter().any(|word| *word != 0));
    work.zeroize();
    assert_eq!(work.state, [0; blowfish::WORDS]);
    assert_eq!(work.password, [0; _]);
    assert_eq!(work.salt, [0; _]);
}

/// Searches all of the memory of this process for secrets.
#[cfg(all(target_os = "linux", target_endian = "little"))]
mod memory {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The distance between the words of a pattern, in words.
    const STRIDE: usize = 5;
    const PATTERN_BYTES: usize = 4 * (3 * STRIDE + 1);
    const CHUNK: usize = 1 << 20;

    /// Four words out of a secret, inverted, so that the pattern itself is not found.
    struct Pattern([u32; 4]);

    impl Pattern {
        fn of(secret: &[u32]) -> Pattern {
            Pattern(array::from_fn(|index| !secret[index * STRIDE]))
        }

        fn is_at(&self, bytes: &[u8]) -> bool {
            self.0.iter().enumerate().all(|(index, inverted)| {
                let word = bytes[4 * STRIDE * index..].first_chunk().copied();
                word.map(u32::from_le_bytes) == Some(!inverted)
            })
        }
    }

    /// Counts each pattern in the writable memory of this process.
    fn occurrences(patterns: &[Pattern; 4]) -> [usize; 4] {
        let mut counts = [0; 4];
        let memory = File::open("/proc/self/mem").unwrap();
        let mut buffer = std::vec![0; CHUNK];
        // What is read must not be found again in the buffer.
        let own = buffer.as_ptr() as usize..buffer.as_ptr() as usize + CHUNK;
        for (start, end) in regions() {
            let mut address = start;
            while address < end {
                if own.contains(&address) {
                    address = own.end;
                    continue;
                }
                let limit = if address < own.start {
                    end.min(own.start)
                } else {
                    end
                };
                let wanted = CHUNK.min(limit - address);
                let read = memory
                    .read_at(&mut buffer[..wanted], address as u64)
                    .unwrap_or(0);
                for bytes in buffer[..read].windows(PATTERN_BYTES).step_by(4) {
                    for (count, pattern) in counts.iter_mut().zip(patterns) {
                        *count += usize::from(pattern.is_at(bytes));
                    }
                }
                let all = wanted == limit - address || read < wanted;
                address = if all {
                    limit
                } else {
                    address + wanted - PATTERN_BYTES + 4
                };
            }
        }
        buffer.zeroize();
        counts
    }

    fn regions() -> impl Iterator<Item = (usize, usize)> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let writable = |line: &str| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            rest.starts_with("rw")
                .then_some((address(start)?, address(end)?))
        };
        maps.lines()
            .filter_map(writable)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn patterns(lane: &Lane) -> [Pattern; 4] {
        let state = &lane.work.state;
        [
            Pattern::of(&lane.work.password),
            Pattern::of(state),
            Pattern::of(&state[500..]),
            Pattern::of(&state[blowfish::WORDS - 1 - 3 * STRIDE..]),
        ]
    }

    #[test]
    fn has_secrets_only_in_lanes_and_nothing_after_them() {
        let mut lanes = [(); MAX_LANES + 1].map(|()| lane(101));
        let new = patterns(&lanes[0]);
        assert_eq!(
            occurrences(&new),
            [9; 4],
            "each lane has its own copy, as they are all equal"
        );

        advance(&mut lanes, 200);
        let under_way = patterns(&lanes[0]);
        assert_eq!(occurrences(&under_way), [9; 4], "moves left no copy");

        advance(&mut lanes, 56);
        let done = patterns(&lanes[0]);
        let [first, others @ ..] = lanes;
        assert!(first.finish().is_ok());
        assert_eq!(occurrences(&done), [8; 4], "a finished lane is wiped");

        drop(others);
        for gone in [new, under_way, done] {
            assert_eq!(occurrences(&gone), [0; 4]);
        }
    }
}
