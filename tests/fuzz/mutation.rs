//! Mutation of inputs.

use fastrand::Rng;

use super::targets::Target;

/// Makes a small change to an input, limited to the maximum length of its target.
pub fn change(random: &mut Rng, input: &mut Vec<u8>, other: &[u8], target: &Target) {
    let at = random.usize(0..=input.len());
    match random.u8(0..10) {
        0 => insert(input, at, &[random.u8(..)]),
        1 => {
            let mut bytes = [0; 4];
            insert(
                input,
                at,
                random.char(..).encode_utf8(&mut bytes).as_bytes(),
            );
        }
        2..=4 => {
            let word = random.choice(target.words).unwrap_or(&"");
            insert(input, at, word.as_bytes());
        }
        5 => {
            let end = random.usize(at..=input.len());
            input.drain(at..end);
        }
        6 => {
            // Repeats a part of it.
            let end = random.usize(at..=input.len()).min(at + 64);
            let part = input[at..end].to_vec();
            let room = target.longest.saturating_sub(input.len());
            let most = room / part.len().max(1);
            let times = 1 << random.u32(0..15);
            insert(input, at, &part.repeat(most.min(times)));
        }
        7 => {
            let begin = random.usize(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[begin..]);
        }
        8 if at < input.len() => input[at] ^= 1 << random.u8(0..8),
        9 if at < input.len() => {
            let to = random.usize(0..input.len());
            input.swap(at, to);
        }
        _ => {}
    }
    input.truncate(target.longest);
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
