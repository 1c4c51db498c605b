//! Rows of users, written directly.

use crate::config::Backend;
use crate::platform::database::testing::TestDatabase;
use crate::slices::user::User;

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
