//! `migrate`: up, status, down, and concurrent runs.

use std::sync::Arc;

use rstest::rstest;
use serde_json::json;
use signup_service::config;
use signup_service::platform::database::migrate;

use crate::harness::mailing::Mailing;
use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Output, Service, login_body, run,
    signup_body,
};

/// The number of migrations.
fn all() -> usize {
    migrate::known_versions(config::Backend::Sqlite).len()
}

fn run_migrate(database: &Database, arguments: &[&str]) -> Output {
    let arguments = [&["migrate"], arguments].concat();
    run(&arguments, &[("DATABASE_URL", &database.url())])
}

fn printed(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    &output.stdout
}

/// Guarantee O4.
#[rstest]
#[tokio::test]
async fn every_migration_applies_and_reverts(#[values(Sqlite, Postgres)] backend: Backend) {
    let all = all();
    let database = Database::new(backend);
    let status = run_migrate(&database, &["status"]);
    assert!(
        printed(&status).contains(&format!("{all} pending of {all}")),
        "{status:?}"
    );

    let up = run_migrate(&database, &[]);
    assert!(
        printed(&up).contains("0001 users") && up.stdout.contains("done in"),
        "{up:?}"
    );
    assert!(
        up.stdout.contains(&format!("{all} migrations applied")),
        "{up:?}"
    );
    let schema = schema(&database, backend).await;
    let again = run_migrate(&database, &["up"]);
    assert!(printed(&again).contains("nothing to do"), "{again:?}");

    for pending in 1..=all {
        let down = run_migrate(&database, &["down", "--yes"]);
        assert!(printed(&down).contains("1 migration reverted"), "{down:?}");
        let status = run_migrate(&database, &["status"]);
        assert!(
            printed(&status).contains(&format!("{pending} pending of {all}")),
            "{status:?}"
        );
    }
    let nothing = run_migrate(&database, &["down", "--yes"]);
    assert!(
        printed(&nothing).contains("nothing to revert"),
        "{nothing:?}"
    );

    printed(&run_migrate(&database, &[]));
    assert_eq!(
        self::schema(&database, backend).await,
        schema,
        "reverting leaves nothing behind"
    );
}

async fn schema(database: &Database, backend: Backend) -> Vec<String> {
    let query = match backend {
        Sqlite => "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name",
        Postgres => {
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable \
             FROM information_schema.columns WHERE table_schema = 'public' \
             UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
             UNION ALL SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal \
             UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace \
             ORDER BY 1"
        }
    };
    database.rows(query).await
}

/// Guarantee O4.
#[rstest]
#[tokio::test]
async fn concurrent_runs_apply_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let database = Database::new(backend);
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| run_migrate(&database, &[])))
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("no panic"))
            .collect()
    });
    let applied = |output: &&Output| printed(output).contains("migrations applied");
    let idle = |output: &&Output| printed(output).contains("nothing to do");
    assert_eq!(outputs.iter().filter(applied).count(), 1, "{outputs:?}");
    assert_eq!(outputs.iter().filter(idle).count(), 3, "{outputs:?}");
}

#[rstest]
#[tokio::test]
async fn down_requires_confirmation(#[values(Sqlite, Postgres)] backend: Backend) {
    let database = Database::new(backend);
    printed(&run_migrate(&database, &[]));
    let refused = run_migrate(&database, &["down"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    let status = run_migrate(&database, &["status"]);
    assert!(printed(&status).contains("0 pending"), "{status:?}");
}

#[rstest]
#[tokio::test]
async fn a_database_of_a_newer_binary_is_not_changed(#[values(Sqlite, Postgres)] backend: Backend) {
    let database = Database::new(backend);
    printed(&run_migrate(&database, &[]));
    let newer = "UPDATE _sqlx_migrations SET version = 9000 \
                 WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    database.execute(newer).await.expect("updated");
    let refused = run_migrate(&database, &[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("newer than this binary"),
        "{refused:?}"
    );
    let status = run_migrate(&database, &["status"]);
    assert!(printed(&status).contains("unknown  9000"), "{status:?}");
    let down = run_migrate(&database, &["down", "--yes"]);
    assert_eq!(down.status.code(), Some(1), "{down:?}");
}

/// Reverts the migrations that added outcomes to records, and those after them.
async fn revert_outcomes(database: &Database) {
    const ADDED_OUTCOMES: i64 = 5;
    let newest = "SELECT CAST(max(version) AS TEXT) FROM _sqlx_migrations";
    while database.rows(newest).await[0]
        .parse::<i64>()
        .expect("a number")
        >= ADDED_OUTCOMES
    {
        printed(&run_migrate(database, &["down", "--yes"]));
    }
}

/// Creates a record of each kind of outcome with this release; returns the response for each.
async fn recorded(database: &Arc<Database>) -> [String; 2] {
    let service = Service::start_on(Arc::clone(database), &[("DATABASE_MIGRATE", "true")]).await;
    let responses = ["created", "taken"].map(|key| replayed(&service, key));
    let [created, taken] = responses;
    [created.await, taken.await]
}

/// The body of the response to a signup with this key, followed by its `Location`.
async fn replayed(service: &Service, key: &str) -> String {
    let signup = service.signup(&signup_body("ada@example.org"));
    let response = signup.header("Idempotency-Key", key).send().await;
    let response = response.expect("a response");
    let location = response.headers().get("location").cloned();
    format!("{} {location:?}", response.text().await.expect("a body"))
}

/// A response of this release, with the title that the older release has for the same problem.
fn in_words_of_older_release(response: &str) -> String {
    response.replace("Email already registered", "The address has an account")
}

/// Retries across an upgrade, or a downgrade and an upgrade, get the same response.
#[rstest]
#[tokio::test]
async fn records_are_replayed_after_a_downgrade_and_an_upgrade(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::new(backend));
    let before = recorded(&database).await;

    revert_outcomes(&database).await;
    let body = match backend {
        Sqlite => "CAST(body AS TEXT)",
        Postgres => "convert_from(body, 'UTF8')",
    };
    let status = "CAST(status AS TEXT)";
    let query = format!(
        "SELECT {status} || ' ' || {body} || ' ' || coalesce(location, '') \
         FROM idempotency_records ORDER BY status"
    );
    let old = database.rows(&query).await;
    for (old, (status, new)) in old.iter().zip(["201", "409"].iter().zip(&before)) {
        let new = in_words_of_older_release(new)
            .replace(" Some(\"", " ")
            .replace("\")", "")
            .replace("None", "");
        assert_eq!(*old, format!("{status} {new}"));
    }
    assert_eq!(old.len(), 2);

    assert_eq!(recorded(&database).await, before);
}

/// Guarantee O5. During a rolling deployment, instances of two releases write and read the same records.
#[tokio::test]
async fn records_of_two_releases_coexist() {
    let database = Arc::new(Database::new(Postgres));
    let before = recorded(&database).await;
    let newer = database
        .rows(
            "SELECT status || ' ' || convert_from(body, 'UTF8') FROM idempotency_records \
             ORDER BY status",
        )
        .await;
    // An older instance returns the response of the newer one.
    for (newer, before) in newer.iter().zip(&before) {
        let (_, body) = newer.split_once(' ').expect("a status");
        let before = in_words_of_older_release(before);
        assert!(before.starts_with(body), "{newer}");
    }
    let unknown = "UPDATE idempotency_records SET outcome = '\"of another command\"'; \
                   SELECT DISTINCT status || ' ' || content_type FROM idempotency_records";
    let unknown = database.execute(unknown).await.expect("updated");
    assert_eq!(unknown, ["503 application/problem+json"]);
    database
        .execute("DELETE FROM idempotency_records; DELETE FROM users; DELETE FROM users_read")
        .await
        .expect("deleted");
    let before = recorded(&database).await;

    // Records as the previous release has and writes them.
    revert_outcomes(&database).await;
    database
        .execute("CREATE TABLE kept AS TABLE idempotency_records")
        .await
        .expect("kept");
    printed(&run_migrate(&database, &[]));
    let columns =
        "key_hash, fingerprint, status, location, content_type, body, created_at, expires_at";
    for write in [
        // It inserts, and completes a conflict.
        "DELETE FROM idempotency_records; INSERT INTO idempotency_records (COLUMNS) \
         SELECT COLUMNS FROM kept",
        // It reclaims expired records.
        "UPDATE idempotency_records SET outcome = 'null'; \
         INSERT INTO idempotency_records (COLUMNS) SELECT COLUMNS FROM kept \
         ON CONFLICT (key_hash) DO UPDATE SET status = excluded.status, \
         location = excluded.location, content_type = excluded.content_type, body = excluded.body",
    ] {
        database
            .execute(&write.replace("COLUMNS", columns))
            .await
            .expect("written");
        assert_eq!(recorded(&database).await, before, "{write}");
    }
}

/// A migration that makes a table again keeps its rows.
#[rstest]
#[tokio::test]
async fn links_work_after_a_downgrade_and_an_upgrade(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    let token = mailing.signed_up("ada@example.org").await;
    let database = Arc::clone(&mailing.service.database);
    drop(mailing);
    // To before the migration that made the table of links again, the 23rd.
    for _ in 22..all() {
        printed(&run_migrate(&database, &["down", "--yes"]));
    }
    printed(&run_migrate(&database, &[]));
    let settings = [("EMAIL_VERIFICATION", "required"), ("MAIL_URL", "console")];
    let service = Service::start_on(database, &settings).await;
    let password = login_body("ada@example.org")["password"].clone();
    let body = json!({ "token": token, "password": password });
    let verified = service.post("/auth/verify-email", &body).send().await;
    assert_eq!(verified.expect("a response").status(), 204);
}
