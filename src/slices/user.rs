//! Users: the row in the projection, the response, and the OpenAPI schemas of its values.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{MAX_LOCALE_BYTES, UserId};
use crate::platform::clock::timestamp;
use crate::platform::database::{Error, FromRow, Micros, Row};

/// A query of users: `users_read!("WHERE id = $1")`. Defines the columns of a [`User`] in one
/// place.
macro_rules! users_read {
    ($rest:literal) => {
        crate::platform::database::Statement::new(concat!(
            "SELECT id, name, email, display_name, created_at FROM users_read ",
            $rest
        ))
    };
}

pub(crate) use users_read;

/// A row of the projection `users_read`. Records of signups also keep it as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The name sent at signup.
    pub name: String,
    /// The address as typed.
    pub email: String,
    /// The display name; the name if signup had none.
    pub display_name: String,
    /// When the account was created, to the microsecond.
    #[serde(with = "six_digits")]
    pub created_at: DateTime<Utc>,
}

/// A time as in the response: the previous release must read the same bytes from a record.
mod six_digits {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::platform::clock::timestamp;

    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&timestamp(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::deserialize(from)
    }
}

impl fmt::Debug for User {
    // Only the id: names and addresses must not be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl FromRow for User {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: UserId::new(row.get("id")?),
            name: row.get("name")?,
            email: row.get("email")?,
            display_name: row.get("display_name")?,
            created_at: row.get::<Micros>("created_at")?.0,
        })
    }
}

/// A user, without password or hash.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserResponse<'a> {
    /// A UUIDv7, in lower case and with hyphens. It sorts by the time of signup.
    #[schema(format = "uuid", example = json!(EXAMPLE.0))]
    id: Cow<'a, str>,
    /// The name sent at signup.
    #[schema(min_length = 1, max_length = 255, example = json!(EXAMPLE.1))]
    name: &'a str,
    /// The address as typed.
    #[schema(value_type = EmailAddress)]
    email: &'a str,
    /// The display name; the name if signup had none.
    #[schema(min_length = 1, max_length = 255, example = json!(EXAMPLE.3))]
    display_name: &'a str,
    /// RFC 3339, in UTC, with six digits of microseconds.
    #[schema(
        format = "date-time",
        pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        example = json!(EXAMPLE.4)
    )]
    created_at: Cow<'a, str>,
}

/// The id of the user in the examples.
pub const EXAMPLE_ID: &str = "01a1fcd0-39d9-7edf-9953-1bfef046d2c7";

/// The user in the examples.
const EXAMPLE: (&str, &str, &str, &str, &str) = (
    EXAMPLE_ID,
    "Ada Lovelace",
    "Ada@example.org",
    "Ada",
    "2026-11-21T06:34:27.161988Z",
);

impl UserResponse<'static> {
    /// The user in the examples.
    #[must_use]
    pub const fn example() -> Self {
        let (id, name, email, display_name, created_at) = EXAMPLE;
        Self {
            id: Cow::Borrowed(id),
            name,
            email,
            display_name,
            created_at: Cow::Borrowed(created_at),
        }
    }
}

impl<'a> From<&'a User> for UserResponse<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id.to_string().into(),
            name: &user.name,
            email: &user.email,
            display_name: &user.display_name,
            created_at: timestamp(user.created_at).into(),
        }
    }
}

/// The schema of [`Email`](crate::domain::Email).
pub struct EmailAddress;

impl PartialSchema for EmailAddress {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("idn-email".to_owned())))
            .max_length(Some(254))
            // The local part; an @; letters, digits, dots and hyphens, and any non-ASCII
            // characters.
            .pattern(Some(
                r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[^\u0000-,/:-@\[-`{-\u007f]+$",
            ))
            .description(Some(
                "An e-mail address: at most 254 octets, at most 64 of them before the @. The part before the @ is \
                 ASCII, without quotes and spaces; the part after it is a domain name, which may be international.",
            ))
            .examples([EXAMPLE.2])
            .into()
    }
}

impl ToSchema for EmailAddress {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("EmailAddress")
    }
}

/// The schema of [`Name`](crate::domain::Name).
pub struct PersonName;

impl PartialSchema for PersonName {
    fn schema() -> RefOr<Schema> {
        // White space and control characters by number: regular expressions differ in their
        // definitions of both.
        const SPACE: &str = r"\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
        const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f";
        // Those of the first plane that are never needed. Not all regular expressions support the
        // other planes.
        const HIDDEN: &str = concat!(
            r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f",
            r"\u2800\u3164\ue000-\uf8ff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
        );
        let end = format!("[^{SPACE}{CONTROL}{HIDDEN}]");
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .pattern(Some(format!(
                "^[{SPACE}]*{end}([^{CONTROL}{HIDDEN}]{{0,253}}{end})?[{SPACE}]*$"
            )))
            .description(Some(
                "1 to 255 characters after white space at both ends is trimmed, at least one of them visible; no \
                 control characters, nothing that changes the direction of the text, and no invisible characters \
                 except where emoji and scripts need them.",
            ))
            .examples([EXAMPLE.1])
            .into()
    }
}

impl ToSchema for PersonName {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("PersonName")
    }
}

/// The grammar of a language tag: `langtag` of RFC 5646, section 2.1.
const LANGUAGE_TAG: &str = concat!(
    "([A-Za-z]{2,3}(-[A-Za-z]{3}){0,3}|[A-Za-z]{4,8})",
    "(-[A-Za-z]{4})?",
    "(-([A-Za-z]{2}|[0-9]{3}))?",
    "(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*",
    "(-[0-9A-WY-Za-wy-z](-[A-Za-z0-9]{2,8})+)*",
    "(-[Xx](-[A-Za-z0-9]{1,8})+)?",
);

/// The schema of [`Locale`](crate::domain::Locale).
pub struct LanguageTag;

impl PartialSchema for LanguageTag {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(MAX_LOCALE_BYTES))
            .pattern(Some(format!("^{LANGUAGE_TAG}$")))
            .description(Some(
                "A well-formed language tag of RFC 5646, such as `de` or `de-AT`.",
            ))
            .examples(["en-GB"])
            .into()
    }
}

impl ToSchema for LanguageTag {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("LanguageTag")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::Locale;

    proptest! {
        #[test]
        fn what_the_grammar_allows_is_a_language(tag in LANGUAGE_TAG) {
            if tag.len() <= MAX_LOCALE_BYTES {
                prop_assert!(Locale::parse(&tag).is_ok(), "{tag}");
            }
        }
    }

    #[test]
    fn a_record_keeps_a_user_as_in_the_response() {
        for micros in [
            1_700_000_000_000_000,
            1_700_000_000_123_000,
            1_700_000_000_123_456,
        ] {
            let user = User {
                id: UserId::new(Uuid::from_u128(7)),
                name: "Ada Lovelace".to_owned(),
                email: "ada@example.org".to_owned(),
                display_name: "Ada".to_owned(),
                created_at: DateTime::from_timestamp_micros(micros).expect("in range"),
            };
            let kept = serde_json::to_string(&user).expect("text");
            let shown = serde_json::to_string(&UserResponse::from(&user)).expect("text");
            assert_eq!(kept, shown);
            assert_eq!(serde_json::from_str::<User>(&kept).expect("itself"), user);
        }
    }
}
