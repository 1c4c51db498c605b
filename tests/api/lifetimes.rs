//! Expiry of records and limits, with a clock that the test advances.

use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, InProcess, signup_body,
};

async fn service(backend: Backend, settings: &[(&str, &str)]) -> InProcess {
    InProcess::start_on(Arc::new(Database::new(backend)), settings).await
}

/// The status of a signup, and whether it is a replay.
async fn sign_up(service: &InProcess, key: &str, email: &str) -> (u16, bool) {
    let response = service.post("/signup", key, &signup_body(email)).await;
    let is_replay = response.headers().contains_key("idempotent-replayed");
    (response.status().as_u16(), is_replay)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_outcome_for_a_day_and_is_then_free(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = service(backend, &[("BCRYPT_COST", "4")]).await;
    assert_eq!(
        sign_up(&service, "k", "ada@example.org").await,
        (201, false)
    );
    let nearly = Duration::from_mins(24 * 60 - 1);
    service.clock.advance(nearly);
    assert_eq!(sign_up(&service, "k", "ada@example.org").await, (201, true));
    assert_eq!(
        sign_up(&service, "k", "bob@example.org").await,
        (422, false)
    );
    service.clock.advance(Duration::from_secs(61));
    // It is executed again: the address is taken by now.
    assert_eq!(
        sign_up(&service, "k", "ada@example.org").await,
        (409, false)
    );
    assert_eq!(sign_up(&service, "k", "ada@example.org").await, (409, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_regains_its_share_after_the_window() {
    let settings = [("BCRYPT_COST", "4"), ("RATE_LIMIT_SIGNUP", "2/1h")];
    let service = service(Sqlite, &settings).await;
    for number in 0..2 {
        let email = format!("ada{number}@example.org");
        assert_eq!(sign_up(&service, &email, &email).await, (201, false));
    }
    assert_eq!(
        sign_up(&service, "k", "eve@example.org").await,
        (429, false)
    );
    service.clock.advance(Duration::from_mins(59));
    assert_eq!(
        sign_up(&service, "k", "eve@example.org").await,
        (429, false)
    );
    service.clock.advance(Duration::from_hours(1));
    assert_eq!(
        sign_up(&service, "k", "eve@example.org").await,
        (201, false)
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_readiness_report_is_cached_for_a_second(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = service(backend, &[]).await;
    assert_eq!(service.get("/ready").await.status(), 200);
    let broken = "ALTER TABLE users_read RENAME TO elsewhere";
    service.database.execute(broken).await.expect("renamed");
    assert_eq!(service.get("/ready").await.status(), 200, "the last report");
    service.clock.advance(Duration::from_secs(1));
    assert_eq!(service.get("/ready").await.status(), 503);
}
