//! Rows of users, written directly.

use chrono::{DateTime, Utc};

use crate::config::Backend;
use crate::mail::links;
use crate::platform::database::testing::TestDatabase;
use crate::platform::database::{End, Error, Transaction, UnitOfWork};
use crate::slices::user::User;
use crate::tokens::one_time::Grant;

impl TestDatabase {
    /// Inserts rows into the projection only. The addresses must be canonical.
    pub async fn project(&self, users: &[User]) {
        for users in users.chunks(500) {
            let rows: Vec<String> = users.iter().map(|user| row(self.backend, user)).collect();
            self.sql(&format!(
                "INSERT INTO users_read \
                 (id, name, email, email_canonical, display_name, created_at) VALUES {}",
                rows.join(", ")
            ))
            .await;
        }
    }
}

fn row(backend: Backend, user: &User) -> String {
    let id = user.id.as_uuid();
    let micros = user.created_at.timestamp_micros();
    let (id, created_at) = match backend {
        Backend::Sqlite => (format!("x'{}'", id.simple()), micros.to_string()),
        Backend::Postgres => (
            format!("'{id}'"),
            format!("timestamptz 'epoch' + {micros} * interval '1 microsecond'"),
        ),
    };
    let (name, email, display_name) = (&user.name, &user.email, &user.display_name);
    format!("({id}, '{name}', '{email}', '{email}', '{display_name}', {created_at})")
}

/// Inserts a user with this number as its id, in both tables.
pub async fn new_user(test: &TestDatabase, number: u128, password_hash: &str) {
    let id = uuid::Uuid::from_u128(number);
    let (id, at) = match test.backend {
        Backend::Sqlite => (format!("x'{}'", id.simple()), "0".to_owned()),
        Backend::Postgres => (format!("'{id}'"), "timestamptz 'epoch'".to_owned()),
    };
    let address = format!("'ada{number}@example.org'");
    test.sql(&format!(
        "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
         VALUES ({id}, 'Ada', {address}, {address}, '{password_hash}', {at}, {at})"
    ))
    .await;
    test.sql(&format!(
        "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
         VALUES ({id}, 'Ada', {address}, {address}, 'Ada', {at})"
    ))
    .await;
}

/// Adds a token, in a transaction of its own.
pub struct AddLink(pub Grant, pub DateTime<Utc>);

impl UnitOfWork for AddLink {
    type Outcome = ();

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        links::add(transaction, &self.0, self.1).await?;
        Ok(End::Commit(()))
    }
}
