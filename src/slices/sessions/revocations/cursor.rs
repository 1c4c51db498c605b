//! Cursors of the list of revocations.
//!
//! A row is stamped before it commits, and by the clock of any instance; so one may appear behind rows
//! that a consumer has read already. A cursor therefore goes on exactly where a page ended only within
//! a round, which began with the first page that the consumer read. The cursor of the last page goes
//! back to [`OVERLAP`] before that beginning: it repeats rows, and misses none.

use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

use super::store::Position;
use crate::access::feed::OVERLAP;
use crate::platform::opaque;

/// Changed with the format, so that an old cursor is refused and not misread.
const VERSION: u8 = 1;
const LENGTH: usize = 1 + 8 + 16 + 8;

/// What separates these cursors from others.
const LABEL: &str = "signup-service revocations";

/// Where a consumer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Behind this position.
    pub after: Position,
    /// When the round began that this page is part of; `None` if a new one begins.
    pub round: Option<DateTime<Utc>>,
}

impl Cursor {
    /// The cursor behind a page that others follow, in a round that began then.
    #[must_use]
    pub const fn within(round: DateTime<Utc>, last: Position) -> Self {
        Self {
            after: last,
            round: Some(round),
        }
    }

    /// The cursor behind the last page of a round that began then.
    #[must_use]
    pub fn behind(round: DateTime<Utc>) -> Self {
        let after = Position {
            created_at: round - OVERLAP,
            id: Uuid::nil(),
        };
        Self { after, round: None }
    }

    /// Its text.
    #[must_use]
    pub fn write(&self) -> String {
        let micros = |time: DateTime<Utc>| time.timestamp_micros().to_be_bytes();
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend(micros(self.after.created_at));
        bytes.extend(self.after.id.as_bytes());
        bytes.extend(self.round.map_or([0; 8], micros));
        opaque::write(LABEL, &bytes)
    }

    /// Parses a text; `None` if it is not one that [`Cursor::write`] made.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let body: [u8; LENGTH] = opaque::read(LABEL, text)?.try_into().ok()?;
        let (version, rest) = body.split_first()?;
        let (created_at, rest) = rest.split_first_chunk::<8>()?;
        let (id, round) = rest.split_first_chunk::<16>()?;
        let time = |bytes: &[u8]| {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            DateTime::from_timestamp_micros(micros)
                // A time outside the databases' range is a forgery.
                .filter(|at| (1970..10_000).contains(&at.year()))
        };
        let after = Position {
            created_at: time(created_at)?,
            id: Uuid::from_bytes(*id),
        };
        let round = if round == [0; 8] {
            None
        } else {
            Some(time(round)?)
        };
        (*version == VERSION).then_some(Self { after, round })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(micros).expect("in range")
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(
            micros in 0..4_000_000_000_000_000_i64,
            round in proptest::option::of(1..4_000_000_000_000_000_i64),
            id: u128,
        ) {
            let after = Position { created_at: at(micros), id: Uuid::from_u128(id) };
            let cursor = Cursor { after, round: round.map(at) };
            prop_assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        }

        #[test]
        fn a_changed_cursor_is_refused(place in 0..55_usize, to in "[A-Za-z0-9_-]") {
            let cursor = Cursor::behind(at(1_700_000_000_000_000)).write();
            let mut changed = cursor.clone();
            changed.replace_range(place..=place, &to);
            prop_assume!(changed != cursor);
            prop_assert_eq!(Cursor::read(&changed), None);
        }

        #[test]
        fn arbitrary_text_is_refused(text in "\\PC{0,60}") {
            prop_assert_eq!(Cursor::read(&text), None);
        }
    }

    #[test]
    fn a_time_out_of_range_is_refused() {
        let id = Uuid::nil();
        for micros in [-1, 253_402_300_800_000_000] {
            let after = Position {
                created_at: at(micros),
                id,
            };
            let cursor = Cursor { after, round: None };
            assert_eq!(Cursor::read(&cursor.write()), None);
            let round = Some(at(micros));
            let after = Position {
                created_at: at(0),
                id,
            };
            assert_eq!(Cursor::read(&Cursor { after, round }.write()), None);
        }
    }
}
