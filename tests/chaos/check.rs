//! Checks the promises against the responses to clients and the tables.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Connection, Row};

use crate::clients::{FinalResponse, Signup};
use crate::instances::Place;

/// The content of the tables: ids of users, of the projection and of the history, and addresses.
#[derive(Default)]
pub struct Tables {
    pub users: Vec<(String, String)>,
    pub users_read: Vec<(String, String)>,
    pub events: Vec<String>,
    /// Records and values in Redis that contain secrets.
    pub leaks: u64,
}

impl Tables {
    pub async fn read(place: &Place) -> Self {
        match place {
            Place::Sqlite(_) => {
                let connection = sqlx::SqliteConnection::connect(&place.url()).await;
                let hex = |column: &str| format!("lower(hex({column}))");
                Self::of(connection.expect("opens"), hex).await
            }
            Place::Postgres { .. } => {
                let connection = sqlx::PgConnection::connect(&place.url()).await;
                let hex = |column: &str| format!("replace({column}::text, '-', '')");
                Self::of(connection.expect("connects"), hex).await
            }
        }
    }

    /// Reads the tables, with the backend's expression for the hexadecimal digits of an id.
    async fn of<C>(mut connection: C, hex: impl Fn(&str) -> String) -> Self
    where
        C: Connection,
        for<'c> &'c mut C: sqlx::Executor<'c, Database = C::Database>,
        usize: sqlx::ColumnIndex<<C::Database as sqlx::Database>::Row>,
        for<'r> String: sqlx::Decode<'r, C::Database> + sqlx::Type<C::Database>,
    {
        let (id, user_id) = (hex("id"), hex("user_id"));
        let mut tables = Vec::new();
        for query in [
            format!("SELECT {id}, email_canonical FROM users"),
            format!("SELECT {id}, email_canonical FROM users_read"),
            format!("SELECT {user_id}, type FROM user_events"),
            "SELECT outcome, request_id FROM idempotency_records".to_owned(),
        ] {
            let query = sqlx::raw_sql(sqlx::AssertSqlSafe(query));
            let rows = query.fetch_all(&mut connection).await.expect("rows");
            tables.push(rows.iter().map(|row| (row.get(0), row.get(1))).collect());
        }
        let [users, users_read, events, records]: [Vec<(String, String)>; 4] =
            tables.try_into().expect("four tables");
        let leaks = records.iter().filter(|(body, _)| body.contains("horse"));
        Self {
            leaks: u64::try_from(leaks.count()).expect("small"),
            users,
            users_read,
            events: events.into_iter().map(|(id, _)| id).collect(),
        }
    }
}

/// The number of values in Redis that contain a password or an address in plain text.
pub fn leaks_in(server: &throwaway_servers::redis::Server) -> u64 {
    let keys = server.command(&["KEYS", "*"]);
    let values: Vec<String> = keys
        .lines()
        .map(|key| server.command(&["GET", key]))
        .collect();
    let outcomes = values.iter().filter(|value| value.starts_with('O'));
    assert!(outcomes.count() > 0, "no outcome to check: {keys}");
    let is_leak = |value: &&String| value.contains("horse") || value.contains("@example");
    u64::try_from(values.iter().filter(is_leak).count()).expect("few")
}

fn id_of(response: &FinalResponse) -> Option<String> {
    Some(
        response
            .location
            .as_ref()?
            .strip_prefix("/users/")?
            .replace('-', ""),
    )
}

/// Every violated promise, by its number in the list of promises.
pub fn violations(history: &[Signup], replays: &[Signup], tables: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    let ids = |rows: &[(String, String)]| rows.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let (users, read) = (ids(&tables.users), ids(&tables.users_read));
    let once = |rows: &[String], id: &String| rows.iter().filter(|row| *row == id).count() == 1;

    let everything: Vec<&Signup> = history.iter().chain(replays).collect();
    let mut acknowledged = BTreeSet::new();
    for signup in everything.iter().filter(|signup| signup.is_created()) {
        match id_of(&signup.response) {
            None => found.push(format!("4: a 201 without a Location: {signup:?}")),
            Some(id) => {
                acknowledged.insert(id);
            }
        }
    }
    let sets =
        [&users, &read, &tables.events].map(|rows| rows.iter().cloned().collect::<BTreeSet<_>>());
    for id in &acknowledged {
        if !(once(&users, id) && once(&read, id) && once(&tables.events, id)) {
            found.push(format!(
                "1: {id} was acknowledged and is not exactly once in each table"
            ));
        }
    }
    if sets[0] != sets[1] || sets[1] != sets[2] {
        found.push("2: a row is in one table without the others".to_owned());
    }
    for id in sets[0].difference(&acknowledged) {
        found.push(format!(
            "3: {id} was created by an execution that no key reports"
        ));
    }

    let mut by_key: BTreeMap<&str, &FinalResponse> = BTreeMap::new();
    for signup in &everything {
        let first = by_key.entry(&signup.key).or_insert(&signup.response);
        if **first != signup.response {
            found.push(format!(
                "4: {} got {first:?} and {:?}",
                signup.key, signup.response
            ));
        }
    }
    let mut addresses = BTreeSet::new();
    for (_, email) in &tables.users {
        if !addresses.insert(email) {
            found.push(format!("5: {email} has two accounts"));
        }
    }
    for signup in everything
        .iter()
        .filter(|signup| signup.response.status == 0)
    {
        found.push(format!(
            "9: no final response after the faults stopped: {signup:?}"
        ));
    }
    let refused = |signup: &&&Signup| !signup.is_created() && signup.response.status != 0;
    for signup in everything.iter().filter(refused) {
        let by_another = everything.iter().any(|other| {
            other.is_created() && other.email == signup.email && other.key != signup.key
        });
        if signup.response.status != 409 || !by_another {
            found.push(format!("6: no other signup has the address: {signup:?}"));
        }
    }
    if tables.leaks > 0 {
        found.push(format!(
            "8: {} records or values contain secrets",
            tables.leaks
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(key: &str, email: &str, id: &str) -> Signup {
        Signup {
            key: key.to_owned(),
            email: email.to_owned(),
            response: FinalResponse {
                status: 201,
                location: Some(format!("/users/{id}")),
                body: id.to_owned(),
            },
            tries: 1,
        }
    }

    fn taken(key: &str, email: &str) -> Signup {
        let mut signup = created(key, email, "");
        signup.response.status = 409;
        signup.response.location = None;
        signup
    }

    fn tables(ids: &[&str]) -> Tables {
        let rows: Vec<_> = ids
            .iter()
            .map(|id| ((*id).to_owned(), format!("{id}@x")))
            .collect();
        Tables {
            users: rows.clone(),
            users_read: rows,
            events: ids.iter().map(|id| (*id).to_owned()).collect(),
            leaks: 0,
        }
    }

    fn broken(history: &[Signup], tables: &Tables) -> Vec<String> {
        let violations = violations(history, &[], tables);
        violations.iter().map(|text| text[..1].to_owned()).collect()
    }

    #[test]
    fn the_check_can_fail() {
        let good = [
            created("k", "a@x", "a"),
            created("k", "a@x", "a"),
            taken("l", "a@x"),
        ];
        assert!(broken(&good, &tables(&["a"])).is_empty());

        assert_eq!(broken(&good, &tables(&[])), ["1"]);
        assert_eq!(broken(&good, &tables(&["a", "a"])), ["1", "5"]);
        let mut half = tables(&["a"]);
        half.users_read.clear();
        assert_eq!(broken(&good, &half), ["1", "2"]);
        let mut half = tables(&["a"]);
        half.events.push("b".to_owned());
        assert_eq!(broken(&good, &half), ["2"]);
        assert_eq!(broken(&good, &tables(&["a", "b"])), ["3"]);
        let two = [created("k", "a@x", "a"), created("k", "a@x", "b")];
        assert_eq!(broken(&two, &tables(&["a", "b"])), ["4"]);
        assert_eq!(broken(&[taken("k", "a@x")], &tables(&[])), ["6"]);
        let own = [created("k", "a@x", "a"), taken("k", "a@x")];
        assert_eq!(broken(&own, &tables(&["a"])), ["4", "6"]);
        let mut uncertain = taken("m", "a@x");
        uncertain.response.status = 0;
        let uncertain = [created("k", "a@x", "a"), uncertain];
        assert_eq!(broken(&uncertain, &tables(&["a"])), ["9"]);
        let mut leak = tables(&["a"]);
        leak.leaks = 1;
        assert_eq!(broken(&good, &leak), ["8"]);
    }
}
