//! Cursors: the end of a page, as an opaque text.

use chrono::{DateTime, Datelike};
use uuid::Uuid;

use super::store::Position;
use crate::domain::UserId;
use crate::platform::opaque;
use crate::slices::user::User;

/// Changed with the format, so that an old cursor is refused and not misread.
const VERSION: u8 = 1;
const LENGTH: usize = 1 + 8 + 16;

/// What separates these cursors from others.
const LABEL: &str = "signup-service cursor";

/// The cursor after this user.
#[must_use]
pub fn after(user: &User) -> String {
    write(&Position {
        created_at: user.created_at,
        id: user.id,
    })
}

/// The cursor after this position.
#[must_use]
pub fn write(position: &Position) -> String {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.push(VERSION);
    bytes.extend(position.created_at.timestamp_micros().to_be_bytes());
    bytes.extend(position.id.as_uuid().as_bytes());
    opaque::write(LABEL, &bytes)
}

/// Parses a cursor; `None` if it is not one that [`after`] returned.
#[must_use]
pub fn read(text: &str) -> Option<Position> {
    let body: [u8; LENGTH] = opaque::read(LABEL, text)?.try_into().ok()?;
    if body[0] != VERSION {
        return None;
    }
    let micros = i64::from_be_bytes(body[1..9].try_into().ok()?);
    let id = Uuid::from_slice(&body[9..]).ok()?;
    let created_at = DateTime::from_timestamp_micros(micros)
        // A time outside the databases' range is a forgery.
        .filter(|at| (1970..10_000).contains(&at.year()))?;
    Some(Position {
        created_at,
        id: UserId::new(id),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(micros: i64, id: u128) -> User {
        User {
            id: UserId::new(Uuid::from_u128(id)),
            name: String::new(),
            email: String::new(),
            display_name: String::new(),
            created_at: DateTime::from_timestamp_micros(micros).expect("in range"),
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(micros in 0..4_000_000_000_000_000_i64, id: u128) {
            let user = user(micros, id);
            let position = read(&after(&user)).expect("our own");
            prop_assert_eq!(position.created_at, user.created_at);
            prop_assert_eq!(position.id, user.id);
        }

        #[test]
        fn a_changed_cursor_is_refused(at in 0..44_usize, to in "[A-Za-z0-9_-]") {
            let cursor = after(&user(1_700_000_000_000_000, 42));
            let mut changed = cursor.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != cursor);
            prop_assert!(read(&changed).is_none());
        }

        #[test]
        fn a_time_out_of_range_is_refused(micros in prop_oneof![i64::MIN / 2..-1, 253_402_300_800_000_000..i64::MAX / 2]) {
            let forged = user(0, 1);
            if let Some(created_at) = DateTime::from_timestamp_micros(micros) {
                let forged = User { created_at, ..forged };
                prop_assert!(read(&after(&forged)).is_none());
            }
        }

        #[test]
        fn arbitrary_text_is_refused(text in "\\PC{0,60}") {
            prop_assert!(read(&text).is_none());
        }
    }
}
