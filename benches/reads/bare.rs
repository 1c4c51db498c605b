//! The baselines of the comparison: bare handlers of actix-web and sqlx.
//!
//! The pools are set up like the service's: ten connections and no ping before each use.

use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{PgPool, SqlitePool};
use uuid::Uuid;

use super::Failure;

const CONNECTIONS: u32 = 10;
const PATH: &str = "/users/{id}";

type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

const ON_POSTGRES: &str =
    "SELECT id, name, email, display_name, created_at FROM users_read WHERE id = $1";
const ON_SQLITE: &str =
    "SELECT id, name, email, display_name, created_at FROM users_read WHERE id = ?1";

/// The id of a numbered user; `load::SCRIPT` makes the same ids.
fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x7000_8000_0000_0000_0000 + number)
}

#[derive(Serialize)]
struct User {
    id: Uuid,
    name: String,
    email: String,
    display_name: String,
    created_at: DateTime<Utc>,
}

type Row<T> = (Uuid, String, String, String, T);

fn user((id, name, email, display_name, created_at): Row<DateTime<Utc>>) -> User {
    User {
        id,
        name,
        email,
        display_name,
        created_at,
    }
}

async fn on_postgres(pool: web::Data<PgPool>, id: web::Path<Uuid>) -> HttpResponse {
    let row = sqlx::query_as(ON_POSTGRES)
        .bind(*id)
        .fetch_optional(pool.get_ref())
        .await;
    match row {
        Ok(Some(row)) => HttpResponse::Ok().json(user(row)),
        Ok(None) => HttpResponse::NotFound().finish(),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn on_sqlite(pool: web::Data<SqlitePool>, id: web::Path<Uuid>) -> HttpResponse {
    let row: Result<Option<Row<i64>>, _> = sqlx::query_as(ON_SQLITE)
        .bind(*id)
        .fetch_optional(pool.get_ref())
        .await;
    match row {
        Ok(Some((id, name, email, display_name, micros))) => {
            let created_at = DateTime::from_timestamp_micros(micros).unwrap_or_default();
            HttpResponse::Ok().json(user((id, name, email, display_name, created_at)))
        }
        Ok(None) => HttpResponse::NotFound().finish(),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn constant() -> HttpResponse {
    HttpResponse::Ok().json(User {
        id: Uuid::nil(),
        name: "Ada Lovelace".to_owned(),
        email: "ada@example.org".to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        created_at: DateTime::UNIX_EPOCH,
    })
}

/// Serves reads from a database, or a constant, on a free port, which it prints first.
pub fn serve(url: Option<&str>) -> Result<(), Failure> {
    let url = url.map(ToOwned::to_owned);
    actix_web::rt::System::new().block_on(async move {
        let routes: Routes = match url {
            None => Arc::new(|app| {
                app.route(PATH, web::get().to(constant));
            }),
            Some(url) if url.starts_with("postgres") => {
                let pool = PgPoolOptions::new()
                    .max_connections(CONNECTIONS)
                    .test_before_acquire(false)
                    .connect(&url)
                    .await?;
                let pool = web::Data::new(pool);
                Arc::new(move |app| {
                    app.app_data(pool.clone())
                        .route(PATH, web::get().to(on_postgres));
                })
            }
            Some(url) => {
                let pool = web::Data::new(open_sqlite(&url, true).await?);
                Arc::new(move |app| {
                    app.app_data(pool.clone())
                        .route(PATH, web::get().to(on_sqlite));
                })
            }
        };
        let server =
            HttpServer::new(move || App::new().configure(|app| routes(app))).bind("127.0.0.1:0")?;
        let address = server.addrs().into_iter().next().ok_or("no address")?;
        println!("{address}");
        server.run().await?;
        Ok(())
    })
}

async fn open_sqlite(url: &str, read_only: bool) -> Result<SqlitePool, sqlx::Error> {
    let options: SqliteConnectOptions = url.parse()?;
    SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .connect_with(
            options
                .journal_mode(SqliteJournalMode::Wal)
                .read_only(read_only),
        )
        .await
}

/// Writes numbered users into the projection.
pub fn fill(url: &str, users: u128) -> Result<(), Failure> {
    const ON_POSTGRES: &str = "INSERT INTO users_read \
         (id, name, email, email_canonical, display_name, created_at) \
         VALUES ($1, 'Ada Lovelace', $2, $2, 'Ada Lovelace', now())";
    const ON_SQLITE: &str = "INSERT INTO users_read \
         (id, name, email, email_canonical, display_name, created_at) \
         VALUES (?1, 'Ada Lovelace', ?2, ?2, 'Ada Lovelace', 1700000000000000)";
    let address = |number| format!("ada{number}@example.org");
    actix_web::rt::System::new().block_on(async {
        if url.starts_with("postgres") {
            let pool = PgPool::connect(url).await?;
            for number in 1..=users {
                let insert = sqlx::query(ON_POSTGRES)
                    .bind(id(number))
                    .bind(address(number));
                insert.execute(&pool).await?;
            }
            sqlx::query("ANALYZE users_read").execute(&pool).await?;
            pool.close().await;
        } else {
            let pool = open_sqlite(url, false).await?;
            let mut transaction = pool.begin().await?;
            for number in 1..=users {
                let insert = sqlx::query(ON_SQLITE)
                    .bind(id(number))
                    .bind(address(number));
                insert.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            pool.close().await;
        }
        Ok(())
    })
}
