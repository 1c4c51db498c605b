//! The command line.

use crate::harness::{Backend::Sqlite, Service, run};

#[test]
fn help_names_every_command_and_shows_examples() {
    let help = run(&["--help"], &[]);
    assert!(help.status.success());
    for part in [
        "serve",
        "migrate",
        "healthcheck",
        "openapi",
        "settings",
        "--config",
        "--host",
        "--port",
        "Examples:",
        "Exit status:",
    ] {
        assert!(help.stdout.contains(part), "{part} in:\n{}", help.stdout);
    }
    for command in ["serve", "migrate", "healthcheck", "openapi", "settings"] {
        let help = run(&[command, "--help"], &[]);
        assert!(
            help.status.success() && help.stdout.contains("Usage:"),
            "{help:?}"
        );
    }
    let version = run(&["--version"], &[]);
    assert_eq!(
        version.stdout.trim(),
        concat!("signup-service ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    let output = run(&["sevre"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        output.stderr.contains("serve"),
        "it suggests the right command: {output:?}"
    );
}

#[tokio::test]
async fn healthcheck_queries_the_running_service() {
    let mut service = Service::start(Sqlite).await;
    let port = service.address.port().to_string();
    let healthy = run(&["healthcheck"], &[("PORT", &port)]);
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    let everywhere = run(&["healthcheck"], &[("PORT", &port), ("HOST", "0.0.0.0")]);
    assert_eq!(everywhere.status.code(), Some(0), "{everywhere:?}");
    // Options take precedence over the environment.
    let wrong = [("PORT", "1"), ("HOST", "192.0.2.1")];
    let options = run(
        &["healthcheck", "--port", &port, "--host", "localhost"],
        &wrong,
    );
    assert_eq!(options.status.code(), Some(0), "{options:?}");
    let before = run(
        &["--port", &port, "--host=::ffff:127.0.0.1", "healthcheck"],
        &wrong,
    );
    assert_eq!(before.status.code(), Some(0), "{before:?}");

    // Stopped, it accepts connections and never responds.
    service.signal("STOP");
    let unresponsive = run(&["healthcheck"], &[("PORT", &port)]);
    assert_eq!(unresponsive.status.code(), Some(1), "{unresponsive:?}");
    service.signal("CONT");
    service.signal("KILL");
    service.wait().await;
    let gone = run(&["healthcheck"], &[("PORT", &port)]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert_eq!(gone.stderr.lines().count(), 1, "{gone:?}");
}

#[test]
fn healthcheck_does_not_wait_for_another_server() {
    use std::io::Write;
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("a client");
        // A byte at a time, and never the end of a line.
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let begun = std::time::Instant::now();
    let output = run(&["healthcheck"], &[("PORT", &port)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    let invalid = run(&["healthcheck"], &[("PORT", "x")]);
    assert_eq!(invalid.status.code(), Some(1), "{invalid:?}");
}

#[test]
fn sqlite_files_are_accessible_only_to_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/data/signup.db", folder.path().display());
    let migrated = run(&["migrate"], &[("DATABASE_URL", &url)]);
    assert!(migrated.status.success(), "{migrated:?}");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path)
            .expect("it exists")
            .permissions()
            .mode()
            & 0o777
    };
    let data = folder.path().join("data");
    assert_eq!(mode(&data), 0o700);
    for file in std::fs::read_dir(&data).expect("a folder") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn options_are_validated_like_settings() {
    let output = run(
        &["--port", "70000", "--host", "nowhere"],
        &[("BCRYPT_COST", "99")],
    );
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for part in [
        "3 settings are invalid",
        "--port is \"70000\"",
        "--host is \"nowhere\"",
        "BCRYPT_COST is \"99\"",
    ] {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
}

#[test]
fn migration_status_sets_the_exit_code_on_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/signup.db", folder.path().display());
    let code = |arguments: &[&str]| run(arguments, &[("DATABASE_URL", &url)]).status.code();
    assert_eq!(code(&["migrate", "status"]), Some(0));
    assert_eq!(code(&["migrate", "status", "--exit-code"]), Some(3));
    assert_eq!(code(&["migrate"]), Some(0));
    assert_eq!(code(&["migrate", "status", "--exit-code"]), Some(0));
    assert_eq!(code(&["migrate", "down", "--yes"]), Some(0));
    assert_eq!(code(&["migrate", "status", "--exit-code"]), Some(3));
}

#[test]
fn an_error_in_the_settings_file_has_its_position() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("signup.toml");
    std::fs::write(&file, "[http]\nport = \n").expect("written");
    let path = file.display().to_string();
    let output = run(&["--config", &path], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let place = format!("{path}, line 2, column ");
    assert!(output.stderr.contains(&place), "{output:?}");
    std::fs::write(&file, "[http]\nprot = 1\n").expect("written");
    let output = run(&["--config", &path], &[]);
    assert!(
        output.stderr.contains("did you mean http.port?"),
        "{output:?}"
    );
}

#[test]
fn a_missing_settings_file_is_reported() {
    let output = run(&["--config", "/nowhere/signup.toml"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stderr.contains("/nowhere/signup.toml"), "{output:?}");
}

#[test]
fn settings_come_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("signup.toml");
    std::fs::write(&file, "[http]\nport = 70000\n").expect("written");
    let path = file.display().to_string();
    for output in [
        run(&["--config", &path], &[]),
        run(&[], &[("SIGNUP_CONFIG", &path)]),
    ] {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            output.stderr.contains("http.port is \"70000\""),
            "{output:?}"
        );
    }
}
