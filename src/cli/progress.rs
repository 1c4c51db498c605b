//! A progress bar on standard error, where that is a terminal. Elsewhere nothing is written.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::terminal;
use crate::platform::clock;

/// Characters of the bar.
const WIDTH: u64 = 24;

/// How often it is drawn at most.
const EVERY: Duration = Duration::from_millis(100);

/// Returns to the beginning of the line and clears it.
const CLEAR: &str = "\r\x1b[2K";

/// The progress of work whose size may be known.
pub struct Progress {
    is_shown: bool,
    /// The size of the work, in bytes.
    total: Option<u64>,
    drawn: Option<Instant>,
}

impl Progress {
    /// Of work of this size in bytes, if it is known.
    pub fn new(total: Option<u64>) -> Self {
        Self {
            is_shown: std::io::stderr().is_terminal(),
            total,
            drawn: None,
        }
    }

    /// Draws it, unless it was drawn a moment ago.
    pub fn show(&mut self, done: u64, words: &str) {
        let is_recent = self.drawn.is_some_and(|at| clock::since(at) < EVERY);
        if !self.is_shown || is_recent {
            return;
        }
        self.drawn = Some(clock::monotonic());
        terminal::status(&format!("{CLEAR}{}{words}", bar(done, self.total)));
    }

    /// Clears the line, for other output or at the end.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            terminal::status(CLEAR);
        }
    }
}

/// `[############------------]  50 %  `; nothing where the size is not known.
fn bar(done: u64, total: Option<u64>) -> String {
    let Some(total) = total.filter(|total| *total > 0) else {
        return String::new();
    };
    let part = |of: u64| {
        let part = u128::from(done.min(total)) * u128::from(of) / u128::from(total);
        usize::try_from(part).unwrap_or(0)
    };
    let (full, width) = (part(WIDTH), usize::try_from(WIDTH).unwrap_or(0));
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(width - full));
    format!("[{bar}] {:3} %  ", part(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up() {
        assert_eq!(bar(0, None), "");
        assert_eq!(bar(0, Some(0)), "");
        assert_eq!(bar(0, Some(9)), format!("[{}]   0 %  ", "-".repeat(24)));
        let half = format!("[{}{}]  50 %  ", "#".repeat(12), "-".repeat(12));
        assert_eq!(bar(5, Some(10)), half);
        for done in [10, 11, u64::MAX] {
            assert_eq!(bar(done, Some(10)), format!("[{}] 100 %  ", "#".repeat(24)));
        }
        let huge = bar(u64::MAX / 2, Some(u64::MAX));
        assert!(huge.contains(" 49 %"), "{huge}");
    }
}
