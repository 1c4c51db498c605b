//! The contract of an import, on each database.

use std::sync::Arc;

use chrono::DateTime;
use rstest::rstest;

use super::import::{Batch, Entry, Outcome, Refusal, find, refusals};
use crate::access::change::{Actor, Change};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::clock::SystemRandomness;
use crate::platform::database::testing::TestDatabase;
use crate::slices::accounts::testing::new_user;

fn change() -> Change {
    Change {
        actor: Actor::Cli,
        caller: None,
        at: DateTime::from_timestamp(1_700_000_000, 0).expect("in range"),
        correlation_id: "import".to_owned(),
        network: None,
        randomness: Arc::new(SystemRandomness),
    }
}

async fn count(test: &TestDatabase, of: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS TEXT) FROM {of}");
    test.sql(&query).await.concat()
}

async fn recorded(test: &TestDatabase, after: i64) -> Vec<(i64, Refusal)> {
    refusals(&test.database, "test", after).await.expect("read")
}

fn entry(json: &str) -> Result<Entry, Refusal> {
    Entry::parse(json.as_bytes(), true, change().at)
}

fn line(email: &str, more: &str) -> Result<Entry, Refusal> {
    entry(&format!(
        r#"{{"email":"{email}","name":"Ada","email_verified":true{more}}}"#
    ))
}

fn batch(first: i64, lines: Vec<Result<Entry, Refusal>>) -> Batch {
    let lines: Vec<_> = (first..).zip(lines).collect();
    let next = lines.last().map_or(first, |(line, _)| line + 1);
    Batch {
        import: "test".to_owned(),
        first,
        next,
        digest: [7; 32],
        lines,
        change: change(),
        is_dry_run: false,
    }
}

fn done(imported: i64, refused: &[(i64, &str, &str)]) -> Outcome {
    let refused = refused.iter();
    let refused = refused.map(|(line, field, code)| (*line, Refusal::new(field, code)));
    let refused = refused.collect();
    Outcome::Done { imported, refused }
}

async fn write(test: &TestDatabase, batch: Batch) -> Outcome {
    test.database.write(batch).await.expect("written")
}

/// Guarantee S11.
#[rstest]
#[tokio::test]
async fn a_batch_commits_with_its_place(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let before = find(&test.database, "test").await.expect("read");
    assert_eq!(before, None);
    let lines = || {
        vec![
            line("a@example.org", ""),
            line("A@EXAMPLE.org", ""),
            Err(Refusal::new("line", "malformed")),
            line("b@example.org", r#","status":"suspended","import_id":"17""#),
        ]
    };
    let expected = done(2, &[(2, "email", "taken"), (3, "line", "malformed")]);
    let mut dry = batch(1, lines());
    dry.is_dry_run = true;
    assert_eq!(write(&test, dry).await, expected);
    assert_eq!(test.counts().await, [0, 0, 0], "a dry run writes nothing");

    assert_eq!(write(&test, batch(1, lines())).await, expected);
    assert_eq!(test.counts().await, [2, 2, 2]);
    let state = find(&test.database, "test").await.expect("read");
    let state = state.expect("it has begun");
    assert_eq!((state.next_line, state.imported, state.refused), (5, 2, 2));
    assert_eq!(state.digest, [7; 32]);
    let Outcome::Done { refused, .. } = expected else {
        unreachable!("it is done");
    };
    assert_eq!(recorded(&test, 0).await, refused);
    assert_eq!(recorded(&test, 2).await, refused[1..]);

    // The same lines by another process, and lines that do not follow.
    for first in [1, 4, 6] {
        let lines = vec![line("c@example.org", "")];
        assert_eq!(write(&test, batch(first, lines)).await, Outcome::Elsewhere);
    }
    let lines = vec![line("c@example.org", "")];
    assert_eq!(write(&test, batch(5, lines)).await, done(1, &[]));
    assert_eq!(test.counts().await, [3, 3, 3]);
    for suspended in ["users", "users_read"] {
        let of_it = format!("{suspended} WHERE status = 'suspended'");
        assert_eq!(count(&test, &of_it).await, "1");
    }
    assert_eq!(count(&test, "mail_queue").await, "0");
    assert_eq!(count(&test, "one_time_tokens").await, "0");
}

#[rstest]
#[tokio::test]
async fn a_line_with_an_unknown_role_leaves_nothing(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let lines = vec![
        line("a@example.org", r#","roles":["support"]"#),
        line("b@example.org", r#","roles":["support","other"]"#),
        line("c@example.org", r#","roles":["user"]"#),
        line("d@example.org", r#","roles":["admin","admin"]"#),
    ];
    let expected = done(2, &[(2, "roles", "unknown"), (3, "roles", "unknown")]);
    assert_eq!(write(&test, batch(1, lines)).await, expected);
    assert_eq!(count(&test, "users").await, "2");
    assert_eq!(count(&test, "user_roles").await, "2");
    assert_eq!(count(&test, "user_events").await, "4");
}

#[rstest]
#[tokio::test]
async fn an_account_that_exists_stays_as_it_is(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    new_user(&test, 1, "hash").await;
    let email = test.sql("SELECT email_canonical FROM users").await;
    let before = test.sql("SELECT name, password_hash FROM users").await;
    let outcome = write(&test, batch(1, vec![line(&email[0], "")])).await;
    assert_eq!(outcome, done(0, &[(1, "email", "taken")]));
    let after = test.sql("SELECT name, password_hash FROM users").await;
    assert_eq!(after, before);
}

#[test]
fn a_line_is_refused_with_its_field_and_reason() {
    let refused = |json: &str| {
        entry(json)
            .err()
            .map(|of| format!("{}: {}", of.field, of.code))
    };
    let with = |more: &str| {
        refused(&format!(
            r#"{{"email":"a@example.org","name":"Ada","email_verified":true{more}}}"#
        ))
    };
    let hash = "$2b$05$hGGb1zNNQo1qc0CqC93qQeEghwfOhH.NJVm3i2ifJGYS0HCxwp9c.";
    let long = format!(r#","import_id":"{}""#, "x".repeat(256));
    let many = format!(r#","roles":[{}]"#, vec![r#""support""#; 17].join(","));
    let fine = format!(
        r#","display_name":"Ada L","created_at":"2001-02-03T04:05:06.123456789+01:00","password_hash":"{hash}","roles":["support"],"import_id":"ž","status":"active""#
    );
    for (more, expected) in [
        ("", None),
        (fine.as_str(), None),
        (
            r#","display_name":null,"password_hash":null,"roles":null"#,
            None,
        ),
        (r#","display_name":"""#, Some("display_name: required")),
        (r#","locale":"de-AT""#, None),
        (r#","locale":null"#, None),
        (r#","locale":"de_AT""#, Some("locale: invalid_locale")),
        (r#","created_at":"2001-02-03""#, Some("created_at: invalid")),
        (
            r#","created_at":"1969-12-31T23:59:59Z""#,
            Some("created_at: invalid"),
        ),
        (
            r#","created_at":"2999-01-01T00:00:00Z""#,
            Some("created_at: invalid"),
        ),
        (r#","status":"erased""#, Some("status: invalid")),
        (r#","password_hash":17"#, Some("password_hash: invalid")),
        (
            r#","password_hash":"password""#,
            Some("password_hash: unknown_format"),
        ),
        (
            r#","password_hash":"5f4dcc3b5aa765d61d8327deb882cf99""#,
            Some("password_hash: weak_algorithm"),
        ),
        (
            r#","password_hash":"$2b$05$x""#,
            Some("password_hash: malformed"),
        ),
        (
            r#","password_hash":"$argon2id$v=19$m=4294967296,t=1,p=1$x$y""#,
            Some("password_hash: out_of_bounds"),
        ),
        (r#","password_hash":{}"#, Some("password_hash: malformed")),
        (r#","roles":["Admin!"]"#, Some("roles: unknown")),
        (many.as_str(), Some("roles: too_many")),
        (r#","import_id":"""#, Some("import_id: invalid")),
        (r#","import_id":"a\u0000""#, Some("import_id: invalid")),
        (long.as_str(), Some("import_id: invalid")),
        (r#","other":1"#, Some("line: invalid")),
        (r#","email_verified":true"#, Some("line: invalid")),
        (",", Some("line: malformed")),
    ] {
        assert_eq!(with(more).as_deref(), expected, "{more}");
    }
    for (json, expected) in [
        ("", "line: malformed"),
        ("[]", "line: invalid"),
        (r#"{"email":"a@example.org","name":"Ada"}"#, "line: invalid"),
        (
            r#"{"email":"a","name":"Ada","email_verified":true}"#,
            "email: invalid_email",
        ),
        (
            r#"{"email":"a@example.org","name":"","email_verified":true}"#,
            "name: required",
        ),
        (
            r#"{"email":"a@example.org","name":"Ada","email_verified":"yes"}"#,
            "line: invalid",
        ),
    ] {
        assert_eq!(refused(json).as_deref(), Some(expected), "{json}");
    }
    let not_text = entry_of(b"{\"email\":\"\xff\"}");
    assert_eq!(not_text, Some(Refusal::new("line", "malformed")));
    let roles =
        br#"{"email":"a@example.org","name":"Ada","email_verified":true,"roles":["admin"]}"#;
    let refused = Entry::parse(roles, false, change().at).err();
    assert_eq!(refused, Some(Refusal::new("roles", "not_allowed")));
}

fn entry_of(bytes: &[u8]) -> Option<Refusal> {
    Entry::parse(bytes, true, change().at).err()
}
