//! Where the numbers of the initial Blowfish state come from: they are the binary digits of pi
//! after the point. This computes them and compares them with the committed table.
//!
//! `cargo test -p bcrypt-lanes --test digits_of_pi -- --ignored` writes the table anew.

const COMMITTED: &str = include_str!("../src/digits_of_pi.rs");
/// 18 subkeys and four boxes of 256 words.
const WORDS: usize = 18 + 4 * 256;
/// More words than are kept: they take up the errors of rounding.
const GUARD: usize = 2;

/// A number of 0 or more: one word before the point, the rest after it, highest first.
type Fixed = Vec<u32>;

fn divide(number: &mut Fixed, divisor: u32) {
    let mut rest = 0;
    for word in number {
        let dividend = rest << 32 | u64::from(*word);
        *word =
            u32::try_from(dividend / u64::from(divisor)).expect("the rest is below the divisor");
        rest = dividend % u64::from(divisor);
    }
}

fn add(to: &mut Fixed, number: &Fixed) {
    let mut carry = false;
    for (to, word) in to.iter_mut().zip(number).rev() {
        let (sum, first) = to.overflowing_add(*word);
        let (sum, second) = sum.overflowing_add(carry.into());
        *to = sum;
        carry = first || second;
    }
}

fn subtract(from: &mut Fixed, number: &Fixed) {
    let mut borrow = false;
    for (from, word) in from.iter_mut().zip(number).rev() {
        let (difference, first) = from.overflowing_sub(*word);
        let (difference, second) = difference.overflowing_sub(borrow.into());
        *from = difference;
        borrow = first || second;
    }
}

/// `factor` times the arc tangent of 1 / `x`: `factor` / x - `factor` / 3x³ + `factor` / 5x⁵ ...
fn arc_tangent(factor: u32, x: u32) -> Fixed {
    let mut power = vec![0; 1 + WORDS + GUARD];
    power[0] = factor;
    divide(&mut power, x);
    let mut sum = power.clone();
    for (odd, adds) in (3..).step_by(2).zip([false, true].into_iter().cycle()) {
        divide(&mut power, x * x);
        if power.iter().all(|word| *word == 0) {
            break;
        }
        let mut term = power.clone();
        divide(&mut term, odd);
        if adds {
            add(&mut sum, &term);
        } else {
            subtract(&mut sum, &term);
        }
    }
    sum
}

/// Machin's formula: pi is 16 arctan(1/5) - 4 arctan(1/239).
fn pi() -> Fixed {
    let mut pi = arc_tangent(16, 5);
    subtract(&mut pi, &arc_tangent(4, 239));
    pi
}

fn table() -> String {
    let pi = pi();
    assert_eq!(pi[0], 3);
    let word = |word: &u32| format!("0x{:04x}_{:04x},", word >> 16, word & 0xffff);
    let line = |words: &[u32]| words.iter().map(word).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = pi[1..=WORDS].chunks(7).map(line).collect();
    format!(
        "//! Written by `tests/digits_of_pi.rs`, which computes it.\n\
         \n\
         /// The first bits of pi after the point, 32 to a word.\n\
         #[rustfmt::skip]\n\
         pub(crate) const DIGITS_OF_PI: [u32; {WORDS}] = [\n    {}\n];\n",
        lines.join("\n    "),
    )
}

#[test]
fn the_committed_table_is_pi() {
    assert!(
        table() == COMMITTED,
        "src/digits_of_pi.rs is not what this test computes"
    );
}

#[test]
#[ignore = "writes the table"]
fn write_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/digits_of_pi.rs");
    std::fs::write(path, table()).unwrap();
}
