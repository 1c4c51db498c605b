//! The access token of a user who may read every user.

use serde_json::{Value, json};
use sqlx::{PgPool, SqlitePool};

use crate::common::{Failure, Server};

/// With it, reads need a credential.
pub const SETTINGS: [(&str, &str); 1] = [("READS", "protected")];

/// Signs a user up, grants the role `support`, and logs in.
pub fn bearer(server: &Server, url: &str) -> Result<String, Failure> {
    const GRANT: &str = "INSERT INTO user_roles (user_id, role, granted_by, granted_at) \
         SELECT id, 'support', 'bench', created_at FROM users";
    actix_web::rt::System::new().block_on(async {
        let client = reqwest::Client::new();
        let post = async |path: &str, body: Value| {
            let request = client.post(format!("http://{}{path}", server.address));
            request.json(&body).send().await?.error_for_status()
        };
        let (email, password) = ("reader@example.org", "correct horse battery staple");
        let user = json!({ "name": "Reader", "email": email, "password": password });
        post("/signup", user).await?;
        if url.starts_with("postgres") {
            sqlx::query(GRANT)
                .execute(&PgPool::connect(url).await?)
                .await?;
        } else {
            sqlx::query(GRANT)
                .execute(&SqlitePool::connect(url).await?)
                .await?;
        }
        let login = json!({ "email": email, "password": password });
        let session: Value = post("/auth/login", login).await?.json().await?;
        let token = session["access_token"].as_str().ok_or("no access token")?;
        Ok(token.to_owned())
    })
}
