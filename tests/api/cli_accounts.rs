//! Users and keys on the command line, without a running service and beside one.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Output, Service, login_body, problem,
    run, run_with_input,
};

const PASSWORD: &str = "correct horse battery staple";

/// A migrated database, and its commands.
struct Commands {
    database: Arc<Database>,
}

impl Commands {
    fn new(backend: Backend) -> Self {
        let commands = Self {
            database: Arc::new(Database::new(backend)),
        };
        assert!(commands.run(&["migrate"]).status.success());
        commands
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[], "")
    }

    fn run_with(&self, arguments: &[&str], settings: &[(&str, &str)], input: &str) -> Output {
        let url = self.database.url();
        let mut all = vec![("DATABASE_URL", url.as_str()), ("BCRYPT_COST", "4")];
        all.extend(settings);
        run_with_input(arguments, &all, input)
    }

    /// The JSON that a command prints.
    fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(arguments, "")
    }

    fn json_with(&self, arguments: &[&str], input: &str) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = self.run_with(&arguments, &[], input);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
        serde_json::from_str(&output.stdout).expect("JSON")
    }

    fn create(&self, email: &str, roles: &[&str]) -> Value {
        let mut arguments = vec!["users", "create", "--email", email, "--name", "Ada"];
        for role in roles {
            arguments.extend(["--role", role]);
        }
        arguments.push("--password-stdin");
        self.json_with(&arguments, PASSWORD)
    }

    /// The only line of a failed command.
    fn failure(&self, arguments: &[&str], input: &str, code: i32) -> String {
        let output = self.run_with(arguments, &[], input);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(output.stdout, "", "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
        output.stderr
    }

    async fn rows(&self, query: &str) -> Vec<String> {
        self.database.rows(query).await
    }
}

#[rstest]
#[tokio::test]
async fn the_first_administrator_is_created_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let commands = Commands::new(backend);
    let created = commands.create("ada@example.org", &["admin", "support"]);
    let id = created["id"].as_str().expect("an id").to_owned();
    let expected = json!({ "id": id, "created": true, "granted": ["admin", "support"] });
    assert_eq!(created, expected);
    for email in ["ada@example.org", "Ada@EXAMPLE.org"] {
        let again = commands.create(email, &["admin"]);
        assert_eq!(again, json!({ "id": id, "created": false, "granted": [] }));
    }
    assert_eq!(commands.rows("SELECT count(*) FROM users").await, ["1"]);
    let history = "SELECT type FROM user_events ORDER BY occurred_at";
    let expected = ["user.signed_up", "user.role_granted", "user.role_granted"];
    assert_eq!(commands.rows(history).await, expected);
    let actors = "SELECT count(*) FROM user_events WHERE CAST(payload AS TEXT) LIKE '%cli%'";
    assert_eq!(commands.rows(actors).await, ["3"]);
    let verified = "SELECT count(*) FROM users u JOIN users_read r ON r.id = u.id \
                    WHERE u.email_verified_at IS NOT NULL AND r.email_verified";
    assert_eq!(commands.rows(verified).await, ["1"]);

    // The password is that of standard input, and the role is in the token.
    let settings = [("READS", "protected")];
    let service = Service::start_on(Arc::clone(&commands.database), &settings).await;
    let response = service
        .post("/auth/login", &login_body("ada@example.org"))
        .send();
    let response = response.await.expect("a response");
    assert_eq!(response.status(), 200);
    let session: Value = response.json().await.expect("JSON");
    let url = format!("http://{}/admin/users/{id}", service.administration());
    let token = session["access_token"].as_str().expect("a token");
    let response = service.client.get(url).bearer_auth(token).send().await;
    assert_eq!(response.expect("a response").status(), 200);
}

#[rstest]
#[tokio::test]
async fn a_user_that_cannot_be_created_leaves_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let commands = Commands::new(backend);
    let base = [
        "users",
        "create",
        "--name",
        "Ada",
        "--email",
        "ada@example.org",
    ];
    let with = |more: &[&'static str]| [&base, more].concat();
    let line = commands.failure(&base, PASSWORD, 1);
    assert!(line.contains("use --password-stdin"), "{line}");
    for (input, reason) in [
        ("", "at least 8 characters"),
        ("short", "at least 8 characters"),
        ("password1", "commonly used"),
        ("ada@example.org", "own name or address"),
        ("a\0bcdefghijkl", "NUL"),
    ] {
        let line = commands.failure(&with(&["--password-stdin"]), input, 1);
        assert!(
            line.contains("the password: ") && line.contains(reason),
            "{line}"
        );
        assert!(input.len() < 6 || !line.contains(input), "{line}");
    }
    let role = with(&["--password-stdin", "--role", "auditor"]);
    let line = commands.failure(&role, PASSWORD, 1);
    assert!(line.contains("there is no role auditor"), "{line}");
    let role = with(&["--password-stdin", "--role", "Admin"]);
    assert!(commands.failure(&role, PASSWORD, 2).contains("the role: "));
    let base = [
        "users",
        "create",
        "--name",
        "Ada",
        "--email",
        "ada",
        "--password-stdin",
    ];
    assert!(
        commands
            .failure(&base, PASSWORD, 2)
            .contains("the address: ")
    );
    let base = [
        "users",
        "create",
        "--name",
        " ",
        "--email",
        "a@b.org",
        "--password-stdin",
    ];
    assert!(commands.failure(&base, PASSWORD, 2).contains("--name: "));
    // A password is no argument.
    let argument = with(&["--password", PASSWORD]);
    let output = commands.run(&argument);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for table in ["users", "users_read", "user_events", "user_roles"] {
        let query = format!("SELECT count(*) FROM {table}");
        assert_eq!(commands.rows(&query).await, ["0"], "{table}");
    }
}

#[rstest]
#[tokio::test]
async fn users_are_granted_roles_and_suspended(#[values(Sqlite, Postgres)] backend: Backend) {
    let commands = Commands::new(backend);
    let email = "ada@example.org";
    let id = commands.create(email, &["admin"])["id"].clone();
    let outcome = |role, granted, changed| json!({ "id": id, "role": role, "granted": granted, "changed": changed });
    for changed in [true, false] {
        let granted = commands.json(&["users", "grant", email, "support"]);
        assert_eq!(granted, outcome("support", true, changed));
    }
    for changed in [true, false] {
        let revoked = commands.json(&["users", "revoke", email, "support"]);
        assert_eq!(revoked, outcome("support", false, changed));
    }
    for arguments in [
        &["users", "suspend", email][..],
        &["users", "revoke", email, "admin"],
    ] {
        let line = commands.failure(arguments, "", 1);
        assert!(line.contains("last active administrator"), "{line}");
    }
    commands.create("eve@example.org", &["admin"]);
    for (action, status) in [("suspend", "suspended"), ("activate", "active")] {
        for changed in [true, false] {
            let found = commands.json(&["users", action, email]);
            assert_eq!(
                found,
                json!({ "id": id, "status": status, "changed": changed })
            );
        }
    }
    for arguments in [
        &["users", "suspend", "nobody@example.org"][..],
        &["users", "activate", "nobody@example.org"],
        &["users", "grant", "nobody@example.org", "admin"],
        &["users", "revoke", "nobody@example.org", "admin"],
    ] {
        let line = commands.failure(arguments, "", 1);
        assert!(line.contains("no user with this address"), "{line}");
        assert!(!line.contains("nobody@example.org"), "{line}");
    }
    let line = commands.failure(&["users", "grant", email, "auditor"], "", 1);
    assert!(line.contains("no role auditor"), "{line}");
    let line = commands.failure(&["users", "grant", email, "user"], "", 1);
    assert!(line.contains("every user has"), "{line}");
    let history = "SELECT count(*) FROM user_events WHERE type = 'user.status_changed'";
    assert_eq!(commands.rows(history).await, ["2"]);
}

#[rstest]
#[tokio::test]
async fn a_service_key_is_printed_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let commands = Commands::new(backend);
    let create = [
        "service-keys",
        "create",
        "--name",
        "dash board",
        "--permission",
        "users:read",
        "--permission",
        "tokens:check",
        "--expires-in-days",
        "90",
    ];
    let output = commands.run(&create);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let key = output.stdout.trim_end().to_owned();
    assert!(
        key.starts_with("ssk_") && !key.contains(char::is_whitespace),
        "{output:?}"
    );
    assert!(output.stderr.contains("not shown again"), "{output:?}");
    assert!(!output.stderr.contains(&key), "{output:?}");
    let id = key.split('_').nth(1).expect("an id").to_owned();

    let listed = commands.json(&["service-keys", "list"]);
    assert!(!listed.to_string().contains("ssk_"), "{listed}");
    let listed = &listed["keys"][0];
    assert_eq!(
        (&listed["id"], &listed["state"]),
        (&json!(id), &json!("valid"))
    );
    assert_eq!(listed["permissions"], json!(["users:read", "tokens:check"]));
    assert_eq!(
        (&listed["name"], &listed["created_by"]),
        (&json!("dash board"), &json!("cli"))
    );
    let table = commands.run(&["service-keys", "list"]).stdout;
    assert!(table.starts_with("id ") && table.contains(&id), "{table}");

    let service =
        Service::start_on(Arc::clone(&commands.database), &[("READS", "protected")]).await;
    let reads = async |key: &str| {
        let request = service.client.get(service.url("/users")).bearer_auth(key);
        request.send().await.expect("a response").status().as_u16()
    };
    let becomes = async |key: &str, status: u16| {
        let begun = std::time::Instant::now();
        while reads(key).await != status {
            assert!(begun.elapsed().as_secs() < 2, "not {status} in time");
        }
    };
    assert_eq!(reads(&key).await, 200);
    let rotated = commands.json(&["service-keys", "rotate", &id]);
    let next = rotated["key"].as_str().expect("a key").to_owned();
    becomes(&next, 200).await;
    assert_eq!(reads(&key).await, 200);
    let finished = commands.json(&["service-keys", "rotate", &id, "--finish"]);
    assert_eq!(finished, json!({ "id": id, "rotating": false }));
    becomes(&key, 401).await;
    assert_eq!(reads(&next).await, 200);
    for _ in 0..2 {
        let revoked = commands.json(&["service-keys", "revoke", &id]);
        assert_eq!(revoked, json!({ "id": id, "revoked": true }));
    }
    becomes(&next, 401).await;
    for arguments in [
        &["service-keys", "rotate", &id][..],
        &["service-keys", "revoke", "0000000000"],
        &["service-keys", "rotate", "0000000000", "--finish"],
        &["service-keys", "revoke", "x"],
    ] {
        let line = commands.failure(arguments, "", 1);
        assert!(line.contains("no such service key"), "{line}");
    }
    let log = "SELECT action FROM auth_log WHERE actor = 'cli' ORDER BY at";
    let expected = [
        "service_key.created",
        "service_key.rotated",
        "service_key.rotation_finished",
        "service_key.revoked",
    ];
    assert_eq!(commands.rows(log).await, expected);
}

/// The id of a signing key is base64url.
#[test]
fn an_id_that_begins_with_a_hyphen_is_no_option() {
    let commands = Commands::new(Sqlite);
    for kid in ["-nXn8oEY", "-h-V", "--nXn8oEY"] {
        let line = commands.failure(&["keys", "revoke", kid, "--json"], "", 1);
        assert!(line.contains("no such key"), "{line}");
    }
}

#[test]
fn wrong_arguments_of_a_key_are_usage_errors() {
    for (option, value) in [
        ("--permission", "users:fly"),
        ("--expires-in-days", "0"),
        ("--expires-in-days", "366"),
        ("--expires-in-days", "a year"),
    ] {
        let mut arguments = vec!["service-keys", "create", "--name", "n"];
        if option != "--permission" {
            arguments.extend(["--permission", "users:read"]);
        }
        if option != "--expires-in-days" {
            arguments.extend(["--expires-in-days", "1"]);
        }
        arguments.extend([option, value]);
        let output = run(&arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stderr.contains(option), "{output:?}");
    }
    // No life by default.
    let output = run(
        &[
            "service-keys",
            "create",
            "--name",
            "n",
            "--permission",
            "users:read",
        ],
        &[],
    );
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// Guarantee X6.
#[rstest]
#[tokio::test]
async fn signing_keys_are_rotated_and_revoked(#[values(Sqlite, Postgres)] backend: Backend) {
    let commands = Commands::new(backend);
    let line = commands.failure(&["keys", "rotate"], "", 1);
    assert!(line.contains("no key yet"), "{line}");
    let settings = [("READS", "protected")];
    let service = Service::start_on(Arc::clone(&commands.database), &settings).await;
    let session = service.logged_in("ada@example.org").await;
    let states = |listed: &Value| -> Vec<String> {
        let keys = listed["keys"].as_array().expect("keys").iter();
        keys.map(|key| key["state"].as_str().expect("a state").to_owned())
            .collect()
    };
    let listed = commands.json(&["keys", "list"]);
    assert_eq!(states(&listed), ["active"]);
    let rotated = commands.json(&["keys", "rotate"]);
    assert_eq!(states(&rotated), ["active", "published"]);
    let line = commands.failure(&["keys", "rotate"], "", 1);
    assert!(line.contains("does not sign yet"), "{line}");
    let first = rotated["keys"][0]["kid"]
        .as_str()
        .expect("an id")
        .to_owned();
    let revoked = commands.json(&["keys", "revoke", &first]);
    assert_eq!(states(&revoked), ["active"]);
    assert!(!revoked.to_string().contains(&first));
    let line = commands.failure(&["keys", "revoke", &first], "", 1);
    assert!(line.contains("no such key"), "{line}");
    let log = "SELECT action FROM auth_log WHERE actor = 'cli' AND subject IS NOT NULL ORDER BY at";
    assert_eq!(
        commands.rows(log).await,
        ["signing_key.rotated", "signing_key.revoked"]
    );
    // Refresh tokens do not depend on it.
    let response = service.refresh(&session["refresh_token"], None).await;
    assert_eq!(response.status(), 200);
}

/// The way out of a lost secret.
#[rstest]
#[tokio::test]
async fn a_key_that_cannot_be_decrypted_can_be_revoked(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let commands = Commands::new(backend);
    let mut service = Service::start_on(Arc::clone(&commands.database), &[]).await;
    service.signal("TERM");
    service.wait().await;
    let other = [("AUTH_SECRET", "another secret of thirty-two bytes or more")];
    let url = commands.database.url();
    let secret = ("IDEMPOTENCY_SECRET", crate::harness::SECRET);
    let serve = [("DATABASE_URL", &*url), ("PORT", "0"), secret, other[0]];
    let refused = run(&["serve"], &serve);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("signup-service keys revoke"),
        "{refused:?}"
    );
    let listed = commands.run_with(&["keys", "list", "--json"], &other, "");
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let kid = listed["keys"][0]["kid"].as_str().expect("an id");
    let revoked = commands.run_with(&["keys", "revoke", kid], &other, "");
    assert_eq!(revoked.status.code(), Some(0), "{revoked:?}");
    let service = Service::start_on(Arc::clone(&commands.database), &other).await;
    let session = service.logged_in("ada@example.org").await;
    assert!(session["access_token"].is_string());
}

#[tokio::test]
async fn what_is_missing_is_said_in_one_line() {
    let database = Database::new(Postgres);
    let url = database.url();
    let list = ["service-keys", "list"];
    let pending = run(&list, &[("DATABASE_URL", &url)]);
    assert_eq!(pending.status.code(), Some(1), "{pending:?}");
    assert!(
        pending.stderr.contains("signup-service migrate"),
        "{pending:?}"
    );
    assert!(
        run(&["migrate"], &[("DATABASE_URL", &url)])
            .status
            .success()
    );
    let secretless = run(&list, &[("DATABASE_URL", &url), ("AUTH_SECRET", "")]);
    assert_eq!(secretless.status.code(), Some(1), "{secretless:?}");
    assert!(
        secretless.stderr.contains("AUTH_SECRET must be set"),
        "{secretless:?}"
    );
    assert_eq!(secretless.stderr.lines().count(), 1, "{secretless:?}");
}

/// A stranger may have signed up with the address of an administrator to come, and knows its password.
#[rstest]
#[tokio::test]
async fn a_user_who_signed_up_is_granted_a_role_by_name_only(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let commands = Commands::new(backend);
    let service = Service::start_on(Arc::clone(&commands.database), &[]).await;
    let response = service.sign_up("ada@example.org").await;
    let user: Value = response.json().await.expect("JSON");
    let create = [
        "users",
        "create",
        "--email",
        "ada@example.org",
        "--name",
        "Other",
    ];
    let made = commands.json(&create);
    assert_eq!(
        made,
        json!({ "id": user["id"], "created": false, "granted": [] })
    );
    let with_role = [&create[..], &["--role", "admin", "--password-stdin"]].concat();
    let line = commands.failure(&with_role, PASSWORD, 1);
    assert!(line.contains("users grant ada@example.org admin"), "{line}");
    let roles = "SELECT CAST(count(*) AS text) FROM user_roles";
    assert_eq!(commands.rows(roles).await, ["0"]);
    commands.json(&["users", "grant", "ada@example.org", "admin"]);
    assert_eq!(commands.rows(roles).await, ["1"]);
    // Its password is still its own.
    let response = service
        .post("/auth/login", &login_body("ada@example.org"))
        .send();
    assert_eq!(response.await.expect("a response").status(), 200);
    let wrong = json!({ "email": "ada@example.org", "password": "another horse battery staple" });
    let response = service.post("/auth/login", &wrong).send().await;
    problem(response.expect("a response"), 401, "invalid-credentials").await;
}

#[tokio::test]
async fn an_operator_forgets_the_failed_logins_of_an_address() {
    let commands = Commands::new(Sqlite);
    let settings = [("RATE_LIMIT_LOGIN", "off")];
    let service = Service::start_on(Arc::clone(&commands.database), &settings).await;
    service.sign_up("ada@example.org").await;
    let log_in = async |body: &Value| {
        let response = service.post("/auth/login", body).send().await;
        response.expect("a response").status().as_u16()
    };
    let wrong = json!({ "email": "ada@example.org", "password": "wrong" });
    for _ in 0..10 {
        assert_eq!(log_in(&wrong).await, 401);
    }
    let right = login_body("ada@example.org");
    assert_eq!(log_in(&right).await, 429);
    let unlock = |email| commands.json(&["users", "unlock", email]);
    assert_eq!(unlock("eve@example.org"), json!({ "unlocked": false }));
    assert_eq!(unlock("Ada@example.org"), json!({ "unlocked": true }));
    assert_eq!(log_in(&right).await, 200);
}
