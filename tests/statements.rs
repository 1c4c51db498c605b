//! Every SQL statement of the service is a constant, and its backends can prepare it on a migrated
//! database. A wrong column or table name then fails here and not in production.
//!
//! New statements need no changes here: they are read from the source.

mod source;

use std::collections::BTreeMap;

use rstest::rstest;
use signup_service::config::{Backend, DatabaseUrl};
use signup_service::platform::database::{Texts, migrate};
use source::Source;
use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr};

/// Words that begin a statement that can be prepared.
const PREPARABLE: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];

/// Words that begin any other statement.
const OTHER: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "CREATE",
    "DROP",
    "LISTEN",
    "LOCK",
    "NOTIFY",
    "PRAGMA",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "TRUNCATE",
    "VACUUM",
];

/// The statements that are not prepared, each with its reason.
const NOT_PREPARED: &[(&str, &str)] = &[
    ("BEGIN", "transaction control, without names"),
    ("BEGIN IMMEDIATE", "transaction control, without names"),
    ("COMMIT", "transaction control, without names"),
    ("ROLLBACK", "transaction control, without names"),
    ("SAVEPOINT", "the name of its span"),
    ("SAVEPOINT keyed_work", "transaction control, without names"),
    ("ROLLBACK TO SAVEPOINT", "the name of its span"),
    (
        "ROLLBACK TO SAVEPOINT keyed_work",
        "transaction control, without names",
    ),
    ("SET", "a command of Redis"),
    ("PRAGMA", "the name of its span"),
    ("PRAGMA user_version = 1", "without names"),
    ("PRAGMA application_id", "without names"),
    (
        "SET lock_timeout = '300s'",
        "PostgreSQL does not check it before it runs, and every migration runs it",
    ),
];

/// A statement, and its location.
#[derive(Debug)]
struct Statement {
    place: String,
    backend: Backend,
    text: String,
}

/// The prefixes that macros add to their text: `users_read!("WHERE id = $1")` is a statement.
type Prefixes = BTreeMap<String, String>;

/// The macros for statements, whose texts begin with a literal in `Statement::new(concat!(`.
fn prefixes(sources: &[Source]) -> Prefixes {
    let literals = sources.iter().flat_map(|source| &source.literals);
    literals
        .filter(|literal| is_prefix(literal))
        .filter_map(|literal| {
            // Such a macro is named after its table.
            let table = literal.text.trim_end().rsplit(' ').next()?;
            Some((format!("Statement = {table}!("), literal.text.clone()))
        })
        .collect()
}

/// Whether a literal is the prefix of a macro, and not the value of a static.
fn is_prefix(literal: &source::Literal) -> bool {
    literal.before.ends_with("Statement::new(concat!(") && !literal.before.contains("static ")
}

/// The statements of a file, or their mistakes.
fn statements(source: &Source, prefixes: &Prefixes) -> Result<Vec<Statement>, Vec<String>> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    if source.code.contains("AssertSqlSafe") {
        wrong.push(format!(
            "{}: SQL made at run time can't be prepared here; make it a constant",
            source.path
        ));
    }
    for literal in &source.literals {
        let place = format!("{}:{}", source.path, literal.line);
        // The prefix of a macro is not a statement itself.
        if is_prefix(literal) {
            continue;
        }
        let by_key = of_a_point_read(&literal.before);
        let is_by_key = by_key.is_some();
        let before = by_key.unwrap_or_else(|| literal.before.clone());
        let of_a_macro = prefixes
            .iter()
            .find(|(macro_call, _)| before.ends_with(*macro_call));
        let (text, before) = match of_a_macro {
            None => (literal.text.clone(), before),
            Some((macro_call, prefix)) => {
                let static_name = before.strip_suffix(macro_call.as_str());
                let before = static_name.unwrap_or_default().to_owned();
                let text = format!("{prefix}{}", literal.text);
                (text, format!("{before}Statement = Statement::new("))
            }
        };
        let text = &text;
        let first = text.split_whitespace().next().unwrap_or_default();
        let is_more_than_a_word = text.trim() != first;
        if OTHER.contains(&first) && NOT_PREPARED.iter().all(|(known, _)| known != text) {
            wrong.push(format!(
                "{place}: {text:?} is not in NOT_PREPARED, with a reason"
            ));
        }
        if !PREPARABLE.contains(&first) || !is_more_than_a_word {
            continue;
        }
        let Some((name, is_for_both)) = constant(&before) else {
            wrong.push(format!(
                "{place}: {text:?} is not a `const NAME: &str`, nor a \
                 `static NAME: Statement = Statement::new(…)`"
            ));
            continue;
        };
        let backends = match backend(&source.path, name) {
            Some(backend) => vec![backend],
            None if is_for_both => vec![Backend::Sqlite, Backend::Postgres],
            None => {
                wrong.push(format!(
                    "{place}: {name} is for no backend: neither is the file postgres.rs or \
                     sqlite.rs, nor does the name end in _POSTGRES or _SQLITE"
                ));
                continue;
            }
        };
        for backend in backends {
            let texts = if is_by_key {
                texts_by_key(backend, text)
            } else {
                vec![text.clone()]
            };
            found.extend(texts.into_iter().map(|text| Statement {
                place: format!("{place} {name}"),
                backend,
                text,
            }));
        }
    }
    if wrong.is_empty() {
        Ok(found)
    } else {
        Err(wrong)
    }
}

/// What comes before the text of a query by key, as if it were a plain statement.
fn of_a_point_read(before: &str) -> Option<String> {
    let (declared, made) = before.split_once(" = PointRead::new(")?;
    let (name, _) = declared.split_once(": PointRead<")?;
    Some(format!("{name}: Statement = {made}"))
}

/// A query by one key, and its texts for many.
fn texts_by_key(backend: Backend, one: &str) -> Vec<String> {
    let many = Texts::of(one);
    let mut texts = vec![one.to_owned()];
    match backend {
        Backend::Postgres => texts.push(many.postgres),
        Backend::Sqlite => texts.extend(many.sqlite),
    }
    texts
}

/// The name of the constant defined by this code, and whether it belongs to the layer shared by both
/// databases.
fn constant(before: &str) -> Option<(&str, bool)> {
    if let Some((_, rest)) = before.split_once("static ") {
        let (name, kind) = rest.split_once(": ")?;
        return (kind == "Statement = Statement::new(").then_some((name, true));
    }
    let (name, kind) = before.split("const ").nth(1)?.split_once(": ")?;
    ["&str =", "&'static str ="]
        .contains(&kind)
        .then_some((name, false))
}

fn backend(path: &str, name: &str) -> Option<Backend> {
    if path.ends_with("/postgres.rs") || name.ends_with("_POSTGRES") {
        Some(Backend::Postgres)
    } else if path.ends_with("/sqlite.rs") || name.ends_with("_SQLITE") {
        Some(Backend::Sqlite)
    } else {
        None
    }
}

/// The statements of the service.
fn all() -> Vec<Statement> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    let sources = source::all();
    let prefixes = prefixes(&sources);
    assert!(!prefixes.is_empty(), "users_read! is one");
    for source in &sources {
        match statements(source, &prefixes) {
            Ok(more) => found.extend(more),
            Err(more) => wrong.extend(more),
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    found
}

/// Prepares statements on a new, migrated database; returns those that fail, with the reason.
async fn refused(backend: Backend, statements: &[Statement]) -> Vec<String> {
    match backend {
        Backend::Sqlite => {
            let folder = tempfile::tempdir().expect("a folder");
            let url = format!("sqlite://{}", folder.path().join("test.db").display());
            refused_at::<sqlx::Sqlite>(&url, statements).await
        }
        Backend::Postgres => {
            let database = throwaway_servers::postgres::server().database();
            refused_at::<sqlx::Postgres>(&database.url(), statements).await
        }
    }
}

async fn refused_at<DB: sqlx::Database>(url: &str, statements: &[Statement]) -> Vec<String>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let parsed = DatabaseUrl::parse(url).expect("a URL");
    migrate::up(&parsed, &mut |_| {}).await.expect("migrates");
    let mut connection = DB::Connection::connect(url).await.expect("connects");
    let mut refused = Vec::new();
    for statement in statements {
        let text = AssertSqlSafe(statement.text.clone()).into_sql_str();
        if let Err(error) = (&mut connection).prepare(text).await {
            refused.push(format!("{}: {}: {error}", statement.place, statement.text));
        }
    }
    refused
}

#[rstest]
#[tokio::test]
async fn every_statement_can_be_prepared(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let statements: Vec<Statement> = all()
        .into_iter()
        .filter(|statement| statement.backend == backend)
        .collect();
    // Three of a signup, one by id, three of the list.
    assert!(statements.len() >= 7, "only {statements:?}");

    let refused = refused(backend, &statements).await;
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
}

/// Plans statements as the role of deploy/postgres/grants.sql, which checks its privileges; returns
/// those that fail, with the reason.
async fn denied(statements: &[Statement]) -> Vec<String> {
    let database = throwaway_servers::postgres::server().database();
    let url = DatabaseUrl::parse(&database.url()).expect("a URL");
    migrate::up(&url, &mut |_| {}).await.expect("migrates");
    let grants = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/postgres/grants.sql");
    let grants = std::fs::read_to_string(grants).expect("the grants");
    let _ = database.sql(&grants.replace("\\getenv password SIGNUP_PASSWORD", "\\set password x"));

    let url = database.url().replace("//postgres@", "//signup@");
    let mut connection = sqlx::PgConnection::connect(&url).await.expect("connects");
    let mut denied = Vec::new();
    for statement in statements {
        let parameters = (1..).take_while(|number| statement.text.contains(&format!("${number}")));
        let parameters = vec!["NULL"; parameters.count()].join(", ");
        let arguments = match parameters.as_str() {
            "" => String::new(),
            parameters => format!("({parameters})"),
        };
        let plan = format!(
            "PREPARE planned AS {}; EXPLAIN EXECUTE planned{arguments}; DEALLOCATE planned",
            statement.text
        );
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(plan))
            .execute(&mut connection)
            .await
        {
            denied.push(format!("{}: {}: {error}", statement.place, statement.text));
            let _ = connection.execute("DEALLOCATE ALL").await;
        }
    }
    denied
}

/// What an operation may do on PostgreSQL is granted in deploy/postgres/grants.sql, by column.
#[tokio::test]
async fn the_granted_role_may_run_every_statement() {
    let of_postgres = |statement: &Statement| statement.backend == Backend::Postgres;
    // The owner of the tables migrates.
    let is_of_service = |statement: &Statement| !statement.place.contains("database/migrate.rs");
    let statements: Vec<Statement> = all()
        .into_iter()
        .filter(|statement| of_postgres(statement) && is_of_service(statement))
        .collect();
    assert!(statements.len() >= 7, "only {statements:?}");
    let denied = denied(&statements).await;
    assert!(denied.is_empty(), "\n{}\n", denied.join("\n"));
}

/// A statement that is not in the source.
fn planted_statement(backend: Backend, text: &str) -> Statement {
    Statement {
        place: "planted".to_owned(),
        backend,
        text: text.to_owned(),
    }
}

#[tokio::test]
async fn a_missing_privilege_is_detected() {
    let planted = [
        "SELECT name FROM users WHERE id = $1",
        "UPDATE users SET created_at = $2 WHERE id = $1",
        "DELETE FROM user_events",
    ];
    let statements = planted.map(|text| planted_statement(Backend::Postgres, text));
    assert_eq!(denied(&statements).await.len(), planted.len());
}

#[rstest]
#[tokio::test]
async fn a_wrong_name_is_detected(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let planted = [
        "SELECT id, surname FROM users_read",
        "INSERT INTO user_evens (event_id) VALUES (NULL)",
        "UPDATE users SET nam = name",
    ];
    let statements = planted.map(|text| planted_statement(backend, text));

    assert_eq!(refused(backend, &statements).await.len(), planted.len());
}

#[rstest]
#[case::inline("sqlx::query(\"SELECT id FROM users\")", "is not a `const")]
#[case::on_the_next_line(
    "sqlx::query(\n    \"DELETE \\\n     FROM users\",\n)",
    "is not a `const"
)]
#[case::in_a_method("connection.execute(\"UPDATE users SET id = id\")", "is not a `const")]
#[case::raw("query_as(r#\"WITH a AS (SELECT 1) TABLE a\"#)", "is not a `const")]
#[case::made("query(AssertSqlSafe(format!(\"{verb} users\")))", "at run time")]
#[case::session("connection.execute(\"PRAGMA synchronous = OFF\")", "NOT_PREPARED")]
#[case::of_parts(
    "static X: Statement = Statement::new(concat!(\"SELECT id \", \"FROM users\"));",
    "is not a `const"
)]
#[case::of_no_backend("const COUNT: &str = \"SELECT count(*) FROM users\";", "no backend")]
fn an_undetectable_statement_is_refused(#[case] text: &str, #[case] because: &str) {
    let wrong =
        statements(&source::read("src/planted.rs", text), &Prefixes::new()).expect_err(text);
    assert!(wrong.len() == 1 && wrong[0].contains(because), "{wrong:?}");
}

#[test]
fn a_shared_statement_is_for_both_databases() {
    let text =
        "static BY_ID: Statement =\n    Statement::new(\"SELECT id FROM users WHERE id = $1\");";
    let found =
        statements(&source::read("src/planted.rs", text), &Prefixes::new()).expect("nothing wrong");
    let backends: Vec<Backend> = found.iter().map(|statement| statement.backend).collect();
    assert_eq!(backends, [Backend::Sqlite, Backend::Postgres]);
    let text = text.replace("BY_ID", "BY_ID_SQLITE");
    let found = statements(&source::read("src/planted.rs", &text), &Prefixes::new())
        .expect("nothing wrong");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_statement_of_a_macro_is_read_completely() {
    let declared = source::read(
        "src/user.rs",
        "macro_rules! users_read {\n ($rest:literal) => { crate::Statement::new(concat!(\n\
         \"SELECT id FROM users_read \", $rest)) };\n}",
    );
    let prefixes = prefixes(&[declared]);
    let text = "static BY_ID: Statement = users_read!(\"WHERE id = $1\");";
    let found = statements(&source::read("src/store.rs", text), &prefixes).expect("nothing wrong");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].text, "SELECT id FROM users_read WHERE id = $1");
}

#[test]
fn a_query_by_key_is_prepared_for_many_keys_too() {
    let text = "static BY_ID: PointRead<Uuid, User> =\n    \
                PointRead::new(Statement::new(\"SELECT name FROM users WHERE id = $1\"));";
    let found =
        statements(&source::read("src/planted.rs", text), &Prefixes::new()).expect("nothing wrong");
    let of = |backend| {
        let of_it = found.iter().filter(move |found| found.backend == backend);
        of_it.map(|found| found.text.as_str()).collect::<Vec<_>>()
    };
    let many = "SELECT name, id AS point_key FROM users WHERE id";
    assert_eq!(
        of(Backend::Postgres),
        [
            "SELECT name FROM users WHERE id = $1",
            &format!("{many} = ANY($1)")
        ]
    );
    assert_eq!(of(Backend::Sqlite).len(), 7);
    assert_eq!(
        of(Backend::Sqlite)[2],
        format!("{many} IN ($1, $2, $3, $4)")
    );
}

#[test]
fn a_constant_is_read_completely() {
    let text =
        "pub(crate) const OLD_EVENTS: &str = \"DELETE FROM user_events \\\n     WHERE id = $1\";";
    let found = statements(&source::read("src/x/postgres.rs", text), &Prefixes::new())
        .expect("nothing wrong");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].backend, Backend::Postgres);
    assert_eq!(found[0].text, "DELETE FROM user_events WHERE id = $1");
}
