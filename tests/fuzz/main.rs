//! Fuzzing of every parser of client input.
//!
//! Inputs are mutated at random, with tokens of the grammar. Inputs with a new outcome, or slower than
//! any before, are mutated further. For each input the parser must keep its promises, never panic, and
//! finish in bounded time.
//!
//! The inputs in `corpus/` are tried first: those that have failed, and the slowest found. A run prints
//! its seed. `FUZZ_SEED` sets another one, and `FUZZ_SECONDS` the time for each parser; with
//! `FUZZ_KEEP=1` the slowest input is kept. `make chaos` runs it for longer.

mod mutation;
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rstest::rstest;
use targets::{Outcome, Target, targets};

/// The time limit for an input. It is meant to detect superlinear parsers; the benchmark `hostile` has
/// the authoritative figure, on optimised code.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 2 });

/// The maximum number of inputs kept for mutation.
const MOST: usize = 2_000;

fn number(name: &str, default: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no settings file; its variables are named in its documentation"
    )]
    let text = std::env::var(name).unwrap_or_default();
    text.parse().unwrap_or(default)
}

/// The corpus folder of a target.
fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target.name)
}

/// A run on one target.
struct Run<'a> {
    target: &'a Target,
    inputs: Vec<Vec<u8>>,
    seen: HashSet<Outcome>,
    slowest: (Duration, Vec<u8>),
}

impl Run<'_> {
    fn time(&self, input: &[u8]) -> Duration {
        let begun = Instant::now();
        std::hint::black_box((self.target.parse)(std::hint::black_box(input)));
        begun.elapsed()
    }

    /// Tries an input, and keeps it if it is interesting.
    fn input(&mut self, input: Vec<u8>) {
        let Target {
            name, check, parse, ..
        } = self.target;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            check(&input);
            parse(&input)
        }));
        let Ok(outcome) = outcome else {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
            std::fs::write(&file, &input).expect("written");
            panic!(
                "{name}: {} has the failed input; add it to the corpus",
                file.display()
            );
        };
        let mut time = self.time(&input);
        // Measured repeatedly, so that other load on the machine does not count.
        for _ in 0..4 {
            if time > self.slowest.0 {
                time = time.min(self.time(&input));
            }
        }
        let is_new = self.seen.insert(outcome) && self.inputs.len() < MOST;
        let is_slower = time > self.slowest.0.mul_f64(1.05);
        if is_new || is_slower {
            self.inputs.push(input.clone());
        }
        if time > self.slowest.0 {
            self.slowest = (time, input);
        }
    }
}

#[rstest]
#[case::name("name")]
#[case::email("email")]
#[case::password("password")]
#[case::json("json")]
#[case::query("query")]
#[case::cursor("cursor")]
#[case::key("key")]
#[case::token("token")]
#[case::trace("trace")]
#[case::forwarded("forwarded")]
#[case::host("host")]
#[case::mail_token("mail_token")]
#[case::password_hash("password_hash")]
#[case::import("import")]
#[case::mail_url("mail_url")]
fn no_input_breaks_a_promise_or_is_slow(#[case] name: &str) {
    let targets = targets();
    let target = targets.iter().find(|target| target.name == name);
    let target = target.expect("it exists");
    let seed = number("FUZZ_SEED", 20_261_126);
    let time = Duration::from_secs(number("FUZZ_SECONDS", 1));
    let mut random = Rng::with_seed(seed);
    let mut run = Run {
        target,
        inputs: vec![Vec::new()],
        seen: HashSet::new(),
        slowest: (Duration::ZERO, Vec::new()),
    };
    let files = std::fs::read_dir(folder(target)).into_iter().flatten();
    let kept = files.map(|file| std::fs::read(file.expect("a file").path()).expect("readable"));
    let words = target.words.iter().map(|word| word.as_bytes().to_vec());
    for input in kept.chain((target.worst)()).chain(words) {
        run.inputs.push(input.clone());
        run.input(input);
    }
    let begun = Instant::now();
    let mut tried = 0_u64;
    while begun.elapsed() < time {
        let mut input = random.choice(&run.inputs).expect("one at least").clone();
        for _ in 0..random.usize(1..5) {
            let other = random.choice(&run.inputs).expect("one at least");
            mutation::change(&mut random, &mut input, other, target);
        }
        run.input(input);
        tried += 1;
    }
    let (slowest, input) = &run.slowest;
    println!(
        "{name}: {tried} inputs, FUZZ_SEED={seed}, {} outcomes, the slowest takes {slowest:?}",
        run.seen.len()
    );
    if number("FUZZ_KEEP", 0) == 1 {
        std::fs::create_dir_all(folder(target)).expect("made");
        std::fs::write(folder(target).join("slowest"), input).expect("written");
    }
    assert!(
        *slowest < LIMIT,
        "{slowest:?} for {:?}",
        String::from_utf8_lossy(input)
    );
}

#[test]
fn every_target_is_run() {
    let source = include_str!("main.rs");
    for target in targets() {
        let case = format!("#[case::{0}(\"{0}\")]", target.name);
        assert!(source.contains(&case), "{case}");
    }
}
