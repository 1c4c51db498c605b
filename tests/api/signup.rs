//! `POST /signup`: every row of the contract, on both backends.

use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Backend, Backend::Postgres, Backend::Sqlite, Service, problem, signup_body};

async fn raw(service: &Service, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = service.client.post(service.url("/signup"));
    let request = request.header(CONTENT_TYPE, content_type).body(body);
    request.send().await.expect("a response")
}

/// Guarantee A2.
#[rstest]
#[tokio::test]
async fn an_account_is_created_and_read_back(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let body = json!({
        "name": "  Ada Lovelace ",
        "email": "Ada@Example.ORG",
        "password": "correct horse battery staple",
        "display_name": "Ada",
    });
    let response = service.signup(&body).send().await.expect("a response");

    assert_eq!(response.status(), 201);
    let location = response.headers()[LOCATION]
        .to_str()
        .expect("ASCII")
        .to_owned();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let user: Value = response.json().await.expect("JSON");
    assert_eq!(user["name"], "Ada Lovelace");
    assert_eq!(user["email"], "Ada@Example.ORG");
    assert_eq!(user["display_name"], "Ada");
    let id = user["id"].as_str().expect("an id");
    assert_eq!(location, format!("/users/{id}"));
    assert_eq!(&id[14..15], "7", "UUIDv7: {id}");
    let created_at = user["created_at"].as_str().expect("a time");
    assert!(
        created_at.len() == 27 && created_at.ends_with('Z'),
        "RFC 3339, UTC, microseconds: {created_at}"
    );
    assert_eq!(user.as_object().expect("an object").len(), 5, "{user}");

    let read: Value = service.get(&location).await.json().await.expect("JSON");
    assert_eq!(read, user);
}

/// Guarantee A1.
#[rstest]
#[tokio::test]
async fn one_signup_is_one_row_in_each_table(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let request = service.signup(&signup_body("Ada@Example.ORG"));
    let request = request.header("X-Correlation-ID", "order-42");
    let user: Value = request
        .send()
        .await
        .expect("a response")
        .json()
        .await
        .expect("JSON");
    let id = user["id"].as_str().expect("an id");

    assert_eq!(service.database.counts().await, [1, 1, 1]);
    let same = "SELECT count(*) FROM users u JOIN users_read r ON r.id = u.id \
         JOIN user_events e ON e.user_id = u.id \
         WHERE u.created_at = u.updated_at AND u.created_at = r.created_at \
         AND u.created_at = e.occurred_at AND u.email_canonical = r.email_canonical";
    assert_eq!(service.database.rows(same).await, ["1"]);
    let users = "SELECT name, email, email_canonical, substr(password_hash, 1, 28) FROM users";
    assert_eq!(
        service.database.rows(users).await,
        ["Ada Lovelace|Ada@Example.ORG|ada@example.org|$bcrypt-sha256$v=2,t=2b,r=4$"]
    );
    let events = "SELECT type, CAST(schema_version AS bigint), correlation_id, \
         CAST(payload AS text) FROM user_events";
    let event = &service.database.rows(events).await[0];
    let (fixed, payload) = event.split_at(event.find('{').expect("JSON"));
    assert_eq!(fixed, "user.signed_up|1|order-42|");
    let payload: Value = serde_json::from_str(payload).expect("JSON");
    assert_eq!(
        payload,
        json!({
            "id": id,
            "name": "Ada Lovelace",
            "email": "Ada@Example.ORG",
            "display_name": "Ada Lovelace",
        })
    );
}

/// Guarantee A6.
#[rstest]
#[tokio::test]
async fn the_history_is_append_only(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let response = service.signup(&signup_body("ada@example.org")).send().await;
    assert_eq!(response.expect("a response").status(), 201);
    for statement in [
        "UPDATE user_events SET type = 'x'",
        "DELETE FROM user_events",
    ] {
        let error = service
            .database
            .execute(statement)
            .await
            .expect_err(statement);
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[rstest]
#[case::empty("", 400)]
#[case::cut("{\"name\":\"Ada\"", 400)]
#[case::invalid_json("name=Ada", 400)]
#[case::an_array("[\"Ada\",\"ada@example.org\",\"correct horse battery staple\"]", 400)]
#[case::a_string("\"Ada\"", 400)]
#[case::null("null", 400)]
#[case::trailing_data(
    "{\"name\":\"Ada\",\"email\":\"a@b.c\",\"password\":\"correct horse battery\"} x",
    400
)]
#[case::duplicate(
    "{\"name\":\"Ada\",\"name\":\"Ada\",\"email\":\"a@b.c\",\"password\":\"correct horse battery\"}",
    400
)]
#[case::unknown(
    "{\"name\":\"Ada\",\"email\":\"a@b.c\",\"password\":\"correct horse battery\",\"admin\":true}",
    400
)]
#[case::wrong_type(
    "{\"name\":1,\"email\":\"a@b.c\",\"password\":\"correct horse battery\"}",
    400
)]
#[case::surrogate(
    "{\"name\":\"\\ud800\",\"email\":\"a@b.c\",\"password\":\"correct horse battery\"}",
    400
)]
#[tokio::test]
async fn a_body_that_is_not_the_expected_json(
    #[case] body: &'static str,
    #[case] status: u16,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let response = problem(
        raw(&service, "application/json", body).await,
        status,
        "malformed-request",
    )
    .await;
    assert!(
        !response.to_string().contains("correct horse"),
        "{response}"
    );
    assert_eq!(service.database.counts().await, [0, 0, 0]);
}

#[rstest]
#[tokio::test]
async fn invalid_utf8_and_deep_nesting_are_malformed(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let bad_utf8 = b"{\"name\":\"\xff\xfe\",\"email\":\"a@b.c\",\"password\":\"p\"}".to_vec();
    problem(
        raw(&service, "application/json", bad_utf8).await,
        400,
        "malformed-request",
    )
    .await;
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(8000), "]".repeat(8000));
    problem(
        raw(&service, "application/json", deep).await,
        400,
        "malformed-request",
    )
    .await;
    let deep_unknown = format!("{{\"x\":{}", "{\"x\":".repeat(3000));
    problem(
        raw(&service, "application/json", deep_unknown).await,
        400,
        "malformed-request",
    )
    .await;
}

#[rstest]
#[tokio::test]
async fn only_the_json_content_type_is_accepted(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    for (number, accepted) in ["application/json", "Application/JSON; charset=utf-8"]
        .iter()
        .enumerate()
    {
        let body = signup_body(&format!("ada{number}@example.org")).to_string();
        assert_eq!(
            raw(&service, accepted, body).await.status(),
            201,
            "{accepted}"
        );
    }
    let body = signup_body("bob@example.org").to_string();
    for refused in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "json",
        "",
    ] {
        let response = raw(&service, refused, body.clone()).await;
        problem(response, 415, "unsupported-media-type").await;
    }
    let packed = service
        .signup(&signup_body("bob@example.org"))
        .header("Content-Encoding", "gzip");
    problem(
        packed.send().await.expect("a response"),
        415,
        "unsupported-media-type",
    )
    .await;
    let without = service.client.post(service.url("/signup")).body(body);
    problem(
        without.send().await.expect("a response"),
        415,
        "unsupported-media-type",
    )
    .await;
}

#[rstest]
#[tokio::test]
async fn a_body_over_16_kib_is_refused(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let body = signup_body("ada@example.org").to_string();
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    assert_eq!(
        raw(&service, "application/json", padded(16 * 1024))
            .await
            .status(),
        201
    );
    let response = raw(&service, "application/json", padded(16 * 1024 + 1)).await;
    problem(response, 413, "payload-too-large").await;
}

#[rstest]
#[tokio::test]
async fn a_body_declared_too_large_is_not_read(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let head = "POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let mut declared = service.connect();
    declared.send(format!("{head}Content-Length: 1000000000\r\n\r\n"));
    declared
        .response()
        .expect("a response")
        .problem(413, "payload-too-large");
    assert!(declared.is_closed());

    let mut chunked = service.connect();
    chunked.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    for _ in 0..5 {
        chunked.send(format!("1000\r\n{}\r\n", " ".repeat(4096)));
    }
    chunked
        .response()
        .expect("a response")
        .problem(413, "payload-too-large");
    assert!(chunked.is_closed());
}

/// The invalid fields in a response, as `pointer code`.
async fn broken(service: &Service, body: &Value) -> Vec<String> {
    let response = service.signup(body).send().await.expect("a response");
    let response = problem(response, 422, "validation-failed").await;
    let errors = response["errors"].as_array().expect("errors");
    errors
        .iter()
        .map(|error| {
            assert!(error["detail"].is_string(), "{error}");
            let pointer = error["pointer"].as_str().expect("a pointer");
            let code = error["code"].as_str().expect("a code");
            format!("{pointer} {code}")
        })
        .collect()
}

/// Guarantee A7.
#[rstest]
#[tokio::test]
async fn all_invalid_fields_are_reported_at_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    assert_eq!(
        broken(&service, &json!({})).await,
        ["/name required", "/email required", "/password required"]
    );
    let body = json!({
        "name": " ",
        "email": "nobody",
        "password": "short",
        "display_name": "a\nb",
    });
    assert_eq!(
        broken(&service, &body).await,
        [
            "/name required",
            "/email invalid_email",
            "/password too_short",
            "/display_name control_character",
        ]
    );
    assert_eq!(service.database.counts().await, [0, 0, 0]);
}

/// Guarantee A7.
#[rstest]
#[case::name_long("name", "x".repeat(256), "too_long")]
#[case::name_control("name", "a\u{0}b".to_owned(), "control_character")]
#[case::display_name_empty("display_name", String::new(), "required")]
#[case::display_name_long("display_name", "é".repeat(256), "too_long")]
#[case::email_octets("email", format!("a@{}.example.org", vec!["d".repeat(60); 5].join(".")), "too_long")]
#[case::email_local("email", format!("{}@example.org", "a".repeat(65)), "too_long")]
#[case::email_no_ascii_local("email", "ädä@example.org".to_owned(), "invalid_email")]
#[case::email_space("email", "ada @example.org".to_owned(), "invalid_email")]
#[case::email_control("email", "ada@example.org\u{7}".to_owned(), "invalid_email")]
#[case::locale_empty("locale", String::new(), "invalid_locale")]
#[case::locale_of_posix("locale", "de_AT.UTF-8".to_owned(), "invalid_locale")]
#[case::locale_long("locale", "de-x-".to_owned() + &"abcdefg-".repeat(4), "invalid_locale")]
#[case::password_short("password", "kX9#vQ2".to_owned(), "too_short")]
#[case::password_long("password", "kX9#vQ2z".repeat(129), "too_long")]
#[case::password_nul("password", "kX9#vQ2z\u{0}".to_owned(), "nul_character")]
#[case::password_common("password", "PassWord1".to_owned(), "common")]
#[case::password_guessable("password", "z".repeat(30), "too_guessable")]
#[case::password_service("password", "signup-service".to_owned(), "too_guessable")]
#[case::password_own_parts("password", "lovelace.ada1".to_owned(), "own_name_or_address")]
#[case::password_own_name("password", "ada lovelace".to_owned(), "own_name_or_address")]
#[case::password_own_address("password", "ADA@example.org".to_owned(), "own_name_or_address")]
#[tokio::test]
async fn each_rule_of_a_field(
    #[case] field: &str,
    #[case] value: String,
    #[case] code: &str,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let mut body = signup_body("ada@example.org");
    body[field] = json!(value);
    assert_eq!(broken(&service, &body).await, [format!("/{field} {code}")]);
}

/// Guarantee A3.
#[rstest]
#[tokio::test]
async fn one_canonical_address_has_one_account(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let first = service
        .signup(&signup_body("ada@bücher.example"))
        .send()
        .await;
    assert_eq!(first.expect("a response").status(), 201);
    for same in [
        "ADA@BÜCHER.example",
        "ada@xn--bcher-kva.example",
        "Ada@bu\u{308}cher.example",
    ] {
        let response = service
            .signup(&signup_body(same))
            .send()
            .await
            .expect("a response");
        problem(response, 409, "email-already-registered").await;
    }
    for other in ["ada+x@bücher.example", "a.da@bücher.example"] {
        let response = service
            .signup(&signup_body(other))
            .send()
            .await
            .expect("a response");
        assert_eq!(response.status(), 201, "{other}");
    }
    assert_eq!(service.database.counts().await, [3, 3, 3]);
}

/// Guarantee A3.
#[rstest]
#[tokio::test]
async fn a_race_for_an_address_has_one_winner(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let send = || async {
        let request = service.signup(&signup_body("ada@example.org"));
        let response = request
            .header("X-Request-ID", "race")
            .send()
            .await
            .expect("a response");
        let status = response.status().as_u16();
        (status, response.bytes().await.expect("a body"))
    };
    let responses = futures_util::future::join_all((0..16).map(|_| send())).await;
    let (won, lost): (Vec<_>, Vec<_>) = responses
        .into_iter()
        .partition(|response| response.0 == 201);
    assert_eq!(won.len(), 1);
    let later = send().await;
    assert_eq!(later.0, 409);
    assert!(
        lost.iter().all(|response| *response == later),
        "found first or lost in a race, the response is the same: {lost:?}"
    );
    assert_eq!(service.database.counts().await, [1, 1, 1]);
}

/// Guarantee L1.
#[rstest]
#[tokio::test]
async fn a_full_hashing_queue_is_overload(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = [
        ("BCRYPT_COST", "12"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_QUEUE", "1"),
    ];
    let service = Service::start_with(backend, &settings).await;
    let send = async |number: u32| {
        let request = service.signup(&signup_body(&format!("ada{number}@example.org")));
        request.send().await.expect("a response")
    };
    let responses = futures_util::future::join_all((0..12).map(send)).await;
    let (made, refused): (Vec<_>, Vec<_>) = responses
        .into_iter()
        .partition(|response| response.status() == 201);
    assert!(!made.is_empty() && made.len() < 12, "{}", made.len());
    for response in refused {
        let wait: u64 = response.headers()[RETRY_AFTER]
            .to_str()
            .expect("ASCII")
            .parse()
            .expect("seconds");
        assert!((1..=10).contains(&wait), "{wait}");
        problem(response, 503, "overloaded").await;
    }
    let count = i64::try_from(made.len()).expect("small");
    assert_eq!(service.database.counts().await, [count; 3]);
}

/// Guarantee L1.
#[rstest]
#[tokio::test]
async fn a_wait_beyond_the_deadline_is_overload_at_once(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [("BCRYPT_COST", "20"), ("REQUEST_TIMEOUT_MS", "8000")];
    let service = Service::start_with(backend, &settings).await;
    let begun = std::time::Instant::now();
    let response = service.sign_up("ada@example.org").await;
    problem(response, 503, "overloaded").await;
    assert!(begun.elapsed().as_millis() < 3_000, "{:?}", begun.elapsed());
}

/// Guarantee A5.
#[rstest]
#[tokio::test]
async fn an_unreachable_store_is_unavailable(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &[("REQUEST_TIMEOUT_MS", "2000")]).await;
    service
        .database
        .execute("ALTER TABLE users RENAME TO away")
        .await
        .expect("renamed");
    let response = service.sign_up("ada@example.org").await;
    // A missing table is a defect, not unavailability.
    problem(response, 500, "internal-error").await;
    service
        .database
        .execute("ALTER TABLE away RENAME TO users")
        .await
        .expect("renamed");

    let _lock = lock_out(&service, backend).await;
    let response = service.sign_up("ada@example.org").await;
    assert!(response.headers().contains_key(RETRY_AFTER));
    problem(response, 503, "unavailable").await;
}

/// All of them wait as long as the first may wait for the lock.
#[tokio::test]
async fn signups_behind_one_that_waits_for_a_lock_wait_as_long() {
    let service = Service::start_with(Sqlite, &[("REQUEST_TIMEOUT_MS", "20000")]).await;
    let lock = lock_out(&service, Sqlite).await;
    let signups = ["ada@example.org", "bob@example.org", "eve@example.org"];
    let signups = futures_util::future::join_all(signups.map(|email| service.sign_up(email)));
    // More than a statement waits for one of several connections.
    let released = async {
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        drop(lock);
    };
    let (signups, ()) = tokio::join!(signups, released);
    assert!(signups.iter().all(|response| response.status() == 201));
}

/// Takes a lock that blocks all writes until dropped.
pub async fn lock_out(service: &Service, backend: Backend) -> Box<dyn std::any::Any> {
    use sqlx::{Connection, Executor};
    match backend {
        Sqlite => {
            let mut connection = sqlx::SqliteConnection::connect(&service.database.url())
                .await
                .expect("opens");
            connection.execute("BEGIN IMMEDIATE").await.expect("locked");
            Box::new(connection)
        }
        Postgres => {
            let mut connection = sqlx::PgConnection::connect(&service.database.url())
                .await
                .expect("connects");
            connection
                .execute("BEGIN; LOCK TABLE users")
                .await
                .expect("locked");
            Box::new(connection)
        }
    }
}

#[rstest]
#[tokio::test]
async fn excess_signups_are_refused_only_as_overload(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = [
        ("BCRYPT_COST", "11"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_QUEUE", "8"),
        // Enough time for the write, even if other tests write to the same disk.
        ("REQUEST_TIMEOUT_MS", "10000"),
    ];
    let service = Service::start_with(backend, &settings).await;
    let made = std::sync::atomic::AtomicU32::new(0);
    let begun = std::time::Instant::now();
    let client = async |client: u32| {
        for number in 0.. {
            if begun.elapsed().as_secs() >= 4 {
                break;
            }
            let body = signup_body(&format!("ada{client}.{number}@example.org"));
            let response = service.signup(&body).send().await.expect("a response");
            if response.status() == 201 {
                made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            } else {
                // Nothing was done, and the response reports that.
                problem(response, 503, "overloaded").await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    };
    futures_util::future::join_all((0..40).map(client)).await;
    let made = i64::from(made.into_inner());
    assert!(made > 0, "{made}");
    assert_eq!(service.database.counts().await, [made; 3]);
}

/// Guarantee A5.
#[tokio::test]
async fn a_connection_lost_at_commit_is_an_unknown_outcome() {
    let service = Service::start(Postgres).await;
    // The server ends the session while it commits.
    let trap = "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION cut()";
    service.database.execute(trap).await.expect("set");
    let body = signup_body("ada@example.org");
    let response = service.signup(&body).send().await.expect("a response");
    assert!(response.headers().contains_key(RETRY_AFTER));
    problem(response, 503, "unavailable").await;
    assert_eq!(service.database.counts().await, [0; 3]);

    service
        .database
        .execute("DROP TRIGGER cut ON users")
        .await
        .expect("dropped");
    let response = service.signup(&body).send().await.expect("a response");
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn a_transaction_is_retried_on_request_of_the_server() {
    let service = Service::start(Postgres).await;
    // A sequence does not roll back: it counts the tries.
    let trap = "CREATE SEQUENCE tries; \
         CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') % 4 <> 3 THEN \
                 RAISE EXCEPTION 'again' USING ERRCODE = TG_ARGV[0]; \
             END IF; RETURN NEW; END $$";
    service.database.execute(trap).await.expect("set");
    for (number, code) in ["40001", "40P01"].into_iter().enumerate() {
        let set = format!(
            "ALTER SEQUENCE tries RESTART; DROP TRIGGER IF EXISTS again ON users; \
             CREATE TRIGGER again BEFORE INSERT ON users \
             FOR EACH ROW EXECUTE FUNCTION again('{code}')"
        );
        service.database.execute(&set).await.expect("set");
        // Two tries fail and the third succeeds; the service gives up after a third failure.
        let body = signup_body(&format!("ada{number}@example.org"));
        let response = service.signup(&body).send().await.expect("a response");
        assert_eq!(response.status(), 201, "{code}");
        service
            .database
            .execute("SELECT setval('tries', 3)::text")
            .await
            .expect("set");
        let body = signup_body(&format!("bob{number}@example.org"));
        let response = service.signup(&body).send().await.expect("a response");
        problem(response, 503, "unavailable").await;
        // Each of the two was retried twice.
        let reason = ["serialization", "deadlock"][number];
        let retries = format!("database_transaction_retries_total{{reason=\"{reason}\"}} 4");
        service.wait_for_metric(&retries).await;
    }
    assert_eq!(service.database.counts().await, [2; 3]);
}

/// Guarantee A4.
#[rstest]
#[tokio::test]
async fn a_disconnected_client_leaves_a_whole_signup_or_none(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, &[("BCRYPT_COST", "8")]).await;
    for number in 0_u64..40 {
        let body = signup_body(&format!("ada{number}@example.org")).to_string();
        let mut connection = service.connect();
        connection.send(format!(
            "POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        // Not a wait for a condition: the time of the disconnect varies, from immediately to well
        // after the hash.
        tokio::time::sleep(std::time::Duration::from_micros(number * 700)).await;
        drop(connection);
    }
    let last = service.sign_up("last@example.org").await;
    assert_eq!(last.status(), 201);
    // In one statement: signups of disconnected clients may still be running.
    let counts = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM users_read), \
         (SELECT count(*) FROM user_events), \
         (SELECT count(*) FROM users u JOIN users_read r ON r.id = u.id \
         JOIN user_events e ON e.user_id = u.id)";
    let counts = service.database.rows(counts).await;
    let counts: Vec<&str> = counts[0].split('|').collect();
    assert_eq!(counts, [counts[0]; 4]);
}

#[rstest]
#[tokio::test]
async fn no_password_is_kept_or_logged(#[values(Sqlite, Postgres)] backend: Backend) {
    let mut service = Service::start_with(backend, &[("RUST_LOG", "trace")]).await;
    let body = signup_body("ada@example.org");
    for _ in 0..2 {
        service.signup(&body).send().await.expect("a response");
    }
    let broken = body
        .to_string()
        .replace("\"name\"", "\"correct horse battery staple\"");
    raw(&service, "application/json", broken).await;
    for table in ["users", "users_read", "user_events"] {
        let columns = match table {
            "users" => "name || email || email_canonical || password_hash",
            "users_read" => "name || email || email_canonical || display_name",
            _ => "type || correlation_id || CAST(payload AS text)",
        };
        for row in service
            .database
            .rows(&format!("SELECT {columns} FROM {table}"))
            .await
        {
            assert!(!row.contains("horse"), "{table}: {row}");
        }
    }
    service
        .wait_for(|lines| lines.iter().filter(|l| l["message"] == "request").count() == 3)
        .await;
    let log = service.log_text();
    assert!(!log.contains("horse"), "a password in the log");
    for line in service.log_lines() {
        assert!(
            !line.to_string().contains("ada@example.org"),
            "an address in the log: {line}"
        );
    }
}
