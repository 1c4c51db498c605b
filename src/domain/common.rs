//! Common passwords, which an attacker tries first.
//!
//! A sorted list in the binary, one password per line, searched in place: no allocation, no
//! start-up cost, some microseconds. `common_passwords/README.md` has its source and how to
//! regenerate it.

use std::cmp::Ordering;

use secrecy::zeroize::Zeroizing;

/// In lower case, sorted by bytes, each line terminated by a line feed.
const LIST: &str = include_str!("common_passwords/list.txt");

/// Whether a password is on the list, ignoring the case of its letters.
pub fn is_common(text: &str) -> bool {
    let folded = Zeroizing::new(text.to_lowercase());
    has_line(LIST, &folded)
}

/// Whether a sorted text contains this line.
fn has_line(sorted: &str, wanted: &str) -> bool {
    let mut rest = sorted.as_bytes();
    while !rest.is_empty() {
        let middle = rest.len() / 2;
        let begins = rest[..middle].iter().rposition(|byte| *byte == b'\n');
        let begins = begins.map_or(0, |at| at + 1);
        let length = rest[begins..].iter().position(|byte| *byte == b'\n');
        let ends = length.map_or(rest.len(), |length| begins + length);
        match wanted.as_bytes().cmp(&rest[begins..ends]) {
            Ordering::Equal => return true,
            Ordering::Less => rest = &rest[..begins],
            Ordering::Greater => rest = rest.get(ends + 1..).unwrap_or_default(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_form_that_the_search_needs() {
        assert!(LIST.ends_with('\n'));
        let lines: Vec<&str> = LIST.lines().collect();
        assert!(lines.len() >= 10_000, "{}", lines.len());
        assert!(lines.is_sorted_by(|one, next| one.as_bytes() < next.as_bytes()));
        for line in lines {
            assert!(line.chars().count() >= 8, "{line}");
            assert_eq!(line, line.to_lowercase());
            assert!(is_common(line), "{line}");
            assert!(is_common(&line.to_uppercase()), "{line}");
            assert!(!is_common(&format!("{line}\n")));
        }
    }

    #[test]
    fn text_between_two_lines_is_not_found() {
        let sorted = "b\nbb\nd\n";
        for line in ["b", "bb", "d"] {
            assert!(has_line(sorted, line), "{line}");
        }
        for other in ["", "a", "ba", "bbb", "c", "e", "b\nbb", "\n"] {
            assert!(!has_line(sorted, other), "{other:?}");
        }
        assert!(!has_line("", "") && !has_line("", "a"));
    }

    #[test]
    fn a_search_looks_at_few_lines() {
        // Each step halves the rest, and reads one line of it.
        let longest = LIST.lines().map(str::len).max().unwrap_or_default();
        let steps = LIST.len().ilog2() + 1;
        assert!(longest < 64 && steps < 20, "{longest} bytes, {steps} steps");
    }
}
