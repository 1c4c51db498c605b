//! Statements that both databases accept, with their parameters and rows.
//!
//! Parameters are `$1`, `$2`, …: sqlx numbers them on SQLite as PostgreSQL does, also if one is
//! repeated or they are out of order. A statement for only one database is a constant whose name
//! ends in `_POSTGRES` or `_SQLITE`. `tests/statements.rs` prepares every statement on each of its
//! databases.

use chrono::{DateTime, Utc};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgRow, PgTypeInfo, PgValueRef};
use sqlx::sqlite::{
    SqliteArguments, SqliteArgumentsBuffer, SqliteConnection, SqliteRow, SqliteTypeInfo,
    SqliteValueRef,
};
use sqlx::{Arguments as _, ColumnIndex, Decode, Encode, Postgres, Row as _, Sqlite, Type};

use crate::platform::telemetry::spans::{System, statement};

/// A statement, with the operation and table that name its span and its faults.
#[derive(Debug)]
pub struct Statement {
    operation: &'static str,
    table: &'static str,
    text: &'static str,
    /// The highest number of a parameter: SQLite would treat a missing one as NULL.
    parameters: usize,
}

impl Statement {
    /// A statement by its text. Its first word is the operation; the word after `INTO`, `UPDATE` or
    /// the first `FROM` is the table.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        let operation = word(text, 0);
        let table = match operation.as_bytes() {
            b"INSERT" => word_after(text, b"INTO"),
            b"UPDATE" => word_after(text, b"UPDATE"),
            _ => word_after(text, b"FROM"),
        };
        Self {
            operation,
            table,
            text,
            parameters: highest_parameter(text),
        }
    }

    /// Encodes parameters for PostgreSQL.
    pub(super) fn for_postgres(&self, given: impl Parameters) -> Result<PgArguments, sqlx::Error> {
        let arguments = given.for_postgres().map_err(sqlx::Error::Encode)?;
        self.check(arguments.len()).map(|()| arguments)
    }

    /// Encodes parameters for SQLite.
    pub(super) fn for_sqlite(
        &self,
        given: impl Parameters,
    ) -> Result<SqliteArguments, sqlx::Error> {
        let arguments = given.for_sqlite().map_err(sqlx::Error::Encode)?;
        self.check(arguments.len()).map(|()| arguments)
    }

    fn check(&self, given: usize) -> Result<(), sqlx::Error> {
        if given == self.parameters {
            return Ok(());
        }
        let wanted = self.parameters;
        let table = self.table;
        let reason = format!("a statement on {table} takes {wanted} parameters, but got {given}");
        Err(sqlx::Error::Encode(reason.into()))
    }

    /// The operation: `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// The table; empty if there is none.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.table
    }

    /// Whether it reads by a key: `SELECT … FROM … WHERE key = $1`.
    pub(super) const fn is_by_key(&self) -> bool {
        let bytes = self.text.as_bytes();
        let key = word_after(self.text, b"WHERE");
        let end = b" = $1";
        let ends_so = bytes.len() > end.len() && is_at(bytes, bytes.len() - end.len(), end);
        let is_select = matches!(self.operation.as_bytes(), b"SELECT");
        is_select
            && !key.is_empty()
            && ends_so
            && occurrences(self.text, b"$") == 1
            && occurrences(self.text, b" FROM ") == 1
    }

    /// The text.
    pub(crate) const fn text(&self) -> &'static str {
        self.text
    }

    /// Runs it on PostgreSQL. Returns the number of rows affected.
    pub(super) async fn execute_on_postgres(
        &self,
        connection: &mut PgConnection,
        arguments: PgArguments,
    ) -> Result<u64, sqlx::Error> {
        let run = sqlx::query_with(self.text, arguments).execute(connection);
        let result = statement(System::Postgres, self.operation, self.table, run).await;
        result.map(|result| result.rows_affected())
    }

    /// Runs it on SQLite. Returns the number of rows affected.
    pub(super) async fn execute_on_sqlite(
        &self,
        connection: &mut SqliteConnection,
        arguments: SqliteArguments,
    ) -> Result<u64, sqlx::Error> {
        let run = sqlx::query_with(self.text, arguments).execute(connection);
        let result = statement(System::Sqlite, self.operation, self.table, run).await;
        result.map(|result| result.rows_affected())
    }

    /// Fetches its rows on PostgreSQL.
    pub(super) async fn fetch_on_postgres(
        &self,
        connection: &mut PgConnection,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let run = sqlx::query_with(self.text, arguments).fetch_all(connection);
        statement(System::Postgres, self.operation, self.table, run).await
    }

    /// Fetches its rows on SQLite.
    pub(super) async fn fetch_on_sqlite(
        &self,
        connection: &mut SqliteConnection,
        arguments: SqliteArguments,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let run = sqlx::query_with(self.text, arguments).fetch_all(connection);
        statement(System::Sqlite, self.operation, self.table, run).await
    }
}

/// The name that begins at this byte.
const fn word(text: &'static str, begin: usize) -> &'static str {
    let bytes = text.as_bytes();
    let mut end = begin;
    while end < bytes.len() && (bytes[end].is_ascii_alphanumeric() || bytes[end] == b'_') {
        end += 1;
    }
    text.split_at(end).0.split_at(begin).1
}

/// The name after the first occurrence of this keyword outside parentheses; empty if there is none.
const fn word_after(text: &'static str, keyword: &[u8]) -> &'static str {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at + keyword.len() < bytes.len() {
        let end = at + keyword.len();
        match bytes[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 && is_at(bytes, at, keyword) && bytes[end] == b' ' {
            return word(text, end + 1);
        }
        at += 1;
    }
    ""
}

/// Whether these bytes are at this place, which has room for them.
const fn is_at(bytes: &[u8], at: usize, wanted: &[u8]) -> bool {
    let mut same = 0;
    while same < wanted.len() && bytes[at + same] == wanted[same] {
        same += 1;
    }
    same == wanted.len()
}

/// How often this occurs.
const fn occurrences(text: &str, wanted: &[u8]) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut count) = (0, 0);
    while at + wanted.len() <= bytes.len() {
        if is_at(bytes, at, wanted) {
            count += 1;
        }
        at += 1;
    }
    count
}

/// The highest `$n`.
const fn highest_parameter(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut highest) = (0, 0);
    while at < bytes.len() {
        if bytes[at] == b'$' {
            let mut number = 0;
            while at + 1 < bytes.len() && bytes[at + 1].is_ascii_digit() {
                at += 1;
                number = number * 10 + (bytes[at] - b'0') as usize;
            }
            if number > highest {
                highest = number;
            }
        }
        at += 1;
    }
    highest
}

/// A time in whole microseconds: `timestamptz` on PostgreSQL, an integer on SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Micros(pub DateTime<Utc>);

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <DateTime<Utc> as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Micros {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <DateTime<Utc> as Decode<'r, Postgres>>::decode(value).map(Self)
    }
}

impl Type<Sqlite> for Micros {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Micros {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<'_, Sqlite>>::encode_by_ref(&self.0.timestamp_micros(), buffer)
    }
}

impl<'r> Decode<'r, Sqlite> for Micros {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let micros = <i64 as Decode<'r, Sqlite>>::decode(value)?;
        let time = DateTime::from_timestamp_micros(micros).ok_or("out of range")?;
        Ok(Self(time))
    }
}

/// The parameters of a statement, in their order: a tuple of values or references.
pub trait Parameters: Send {
    /// Encodes them for PostgreSQL.
    ///
    /// # Errors
    /// When a value can't be encoded.
    fn for_postgres(self) -> Result<PgArguments, BoxDynError>;

    /// Encodes them for SQLite.
    ///
    /// # Errors
    /// When a value can't be encoded.
    fn for_sqlite(self) -> Result<SqliteArguments, BoxDynError>;
}

/// The parameters of a statement, encoded for a driver.
#[derive(Clone)]
pub(super) enum Arguments {
    Postgres(PgArguments),
    Sqlite(SqliteArguments),
}

/// A type that can be read from a row of either database: a tuple of its columns, or a type that
/// names them.
pub trait FromRow: Sized + Send {
    /// Reads a row.
    ///
    /// # Errors
    /// When a column is missing or has another type.
    fn from_row(row: Row<'_>) -> Result<Self, sqlx::Error>;
}

/// A row of either database.
#[derive(Clone, Copy)]
pub enum Row<'r> {
    /// Of PostgreSQL.
    Postgres(&'r PgRow),
    /// Of SQLite.
    Sqlite(&'r SqliteRow),
}

impl Row<'_> {
    /// The value of a column, by its name or its index from 0.
    ///
    /// # Errors
    /// When there is no such column, or it has another type.
    pub fn get<T: Column>(
        &self,
        column: impl ColumnIndex<PgRow> + ColumnIndex<SqliteRow>,
    ) -> Result<T, sqlx::Error> {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
    }
}

/// A value that both databases can store.
pub trait Column:
    for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>
{
}

impl<T> Column for T where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>
{
}

impl FromRow for () {
    fn from_row(_: Row<'_>) -> Result<Self, sqlx::Error> {
        Ok(())
    }
}

impl Parameters for () {
    fn for_postgres(self) -> Result<PgArguments, BoxDynError> {
        Ok(PgArguments::default())
    }

    fn for_sqlite(self) -> Result<SqliteArguments, BoxDynError> {
        Ok(SqliteArguments::default())
    }
}

macro_rules! tuples {
    ($($name:ident $place:tt),+) => {
        impl<'q, $($name),+> Parameters for ($($name,)+)
        where
            $($name: Encode<'q, Postgres> + Type<Postgres> + Encode<'q, Sqlite> + Type<Sqlite> + Send,)+
        {
            fn for_postgres(self) -> Result<PgArguments, BoxDynError> {
                let mut arguments = PgArguments::default();
                $(arguments.add(self.$place)?;)+
                Ok(arguments)
            }

            fn for_sqlite(self) -> Result<SqliteArguments, BoxDynError> {
                let mut arguments = SqliteArguments::default();
                $(arguments.add(self.$place)?;)+
                Ok(arguments)
            }
        }

        impl<$($name: Column + Send),+> FromRow for ($($name,)+) {
            fn from_row(row: Row<'_>) -> Result<Self, sqlx::Error> {
                Ok(($(row.get::<$name>($place)?,)+))
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);

/// How many rows a read is expected to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One, or a few.
    Few,
    /// A page of a list. Half of the connections are closed to it, so that many page reads do not
    /// block single-row reads.
    Many,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("INSERT INTO users (id) VALUES ($1)", "INSERT", "users")]
    #[case("UPDATE users_read SET name = $1", "UPDATE", "users_read")]
    #[case("DELETE FROM user_events WHERE id = $1", "DELETE", "user_events")]
    #[case("SELECT id, name FROM users WHERE id = $1", "SELECT", "users")]
    #[case("SELECT 1", "SELECT", "")]
    #[case("SELECT x.FROMAGE FROM y", "SELECT", "y")]
    #[case("SELECT (SELECT 1 FROM z) FROM y", "SELECT", "y")]
    fn a_statement_knows_its_operation_and_table(
        #[case] text: &'static str,
        #[case] operation: &str,
        #[case] table: &str,
    ) {
        let statement = Statement::new(text);
        assert_eq!(statement.operation(), operation);
        assert_eq!(statement.table(), table);
    }

    #[rstest]
    #[case("SELECT name FROM users WHERE id = $1", true)]
    #[case("SELECT name FROM users WHERE id = $1 AND name = $1", false)]
    #[case("SELECT name FROM users WHERE name = $2 AND id = $1", false)]
    #[case("SELECT name FROM users WHERE id = $2", false)]
    #[case("SELECT name FROM users WHERE id = $1 LIMIT 1", false)]
    #[case("SELECT EXTRACT(year FROM made) FROM users WHERE id = $1", false)]
    #[case("SELECT name FROM users", false)]
    #[case("DELETE FROM users WHERE id = $1", false)]
    #[case("SELECT $1", false)]
    fn only_a_select_by_one_key_can_have_many(#[case] text: &'static str, #[case] can: bool) {
        assert_eq!(Statement::new(text).is_by_key(), can);
    }

    #[test]
    fn parameters_that_are_missing_or_too_many_are_refused() {
        let statement = Statement::new("SELECT $2, $1, $2");
        assert!(statement.for_sqlite((1_i64, 2_i64)).is_ok());
        assert!(statement.for_postgres((1_i64, 2_i64)).is_ok());
        assert!(statement.for_sqlite((1_i64,)).is_err());
        assert!(statement.for_sqlite((1_i64, 2_i64, 3_i64)).is_err());
        assert!(statement.for_postgres((1_i64,)).is_err());
    }
}
