//! Secrets in anything that a busy service writes: passwords must not occur anywhere, and addresses only in their
//! tables.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use throwaway_servers::redis;

use crate::harness::collector::{Collector, Protocol, hex};
use crate::harness::{Backend, Service};
use Backend::{Postgres, Sqlite};

/// The only tables that may contain addresses.
const WITH_ADDRESSES: [&str; 4] = ["users", "users_read", "user_events", "idempotency_records"];

/// A password for each kind of request, so that a leaked one reveals its origin.
fn password(kind: &str) -> String {
    format!("xylophone-{kind}-zugzwang")
}

fn address(kind: &str) -> String {
    format!("{kind}.zephyr@example.org")
}

/// Keys that may occur only in the header of requests.
const KEYS: [&str; 2] = ["quokka-numbat", "bilby-potoroo"];

/// A name that may occur only in the tables with addresses.
const NAME: &str = "Wolpertinger";

fn body(kind: &str) -> Value {
    json!({ "name": NAME, "email": address(kind), "password": password(kind) })
}

/// Sends a signup; adds the response to `seen`.
async fn send(service: &Service, seen: &mut String, key: Option<&str>, body: String) -> u16 {
    let request = service.client.post(service.url("/signup")).body(body);
    let mut request = request.header("Content-Type", "application/json");
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    for (name, value) in response.headers() {
        seen.extend([
            name.as_str(),
            ": ",
            value.to_str().unwrap_or_default(),
            "\n",
        ]);
    }
    *seen += &response.text().await.expect("text");
    status
}

/// Sends all kinds of requests, benign and malicious. Returns the kinds of passwords and addresses used,
/// and the responses.
async fn exercise(service: &Service, backend: Backend) -> (Vec<&'static str>, String) {
    let (mut kinds, mut seen) = (Vec::new(), String::new());
    let mut next = |kind| {
        kinds.push(kind);
        kind
    };
    assert_eq!(
        send(service, &mut seen, None, body(next("plain")).to_string()).await,
        201
    );
    assert_eq!(
        send(service, &mut seen, None, body("plain").to_string()).await,
        409
    );
    let keyed = body(next("keyed")).to_string();
    assert_eq!(
        send(service, &mut seen, Some(KEYS[0]), keyed.clone()).await,
        201
    );
    assert_eq!(send(service, &mut seen, Some(KEYS[0]), keyed).await, 201);
    let other = body(next("other")).to_string();
    assert_eq!(send(service, &mut seen, Some(KEYS[0]), other).await, 422);
    let twice = body("plain").to_string();
    assert_eq!(send(service, &mut seen, Some(KEYS[1]), twice).await, 409);
    // A password in the wrong place: in a field's name, in a key, in invalid JSON.
    let cut = body(next("cut")).to_string();
    assert_eq!(
        send(service, &mut seen, None, cut[..cut.len() - 1].to_owned()).await,
        400
    );
    let unknown = json!({ password(next("unknown")): "x", "email": address("unknown") });
    assert_eq!(
        send(service, &mut seen, None, unknown.to_string()).await,
        400
    );
    let name = json!({ "name": "\u{0}", "email": address(next("short")), "password": "short" });
    assert_eq!(send(service, &mut seen, None, name.to_string()).await, 422);
    let mut too_long = body(next("long"));
    too_long["name"] = json!("x".repeat(20_000));
    assert_eq!(
        send(service, &mut seen, None, too_long.to_string()).await,
        413
    );
    let quoted = format!("\"{}", password(next("quoted")));
    assert_eq!(
        send(
            service,
            &mut seen,
            Some(&quoted),
            body("quoted").to_string()
        )
        .await,
        400
    );
    // An address where addresses are expected, and where they are not.
    for path in [
        format!("/users?email={}", address("plain")),
        format!("/users?email={}", address(next("nobody"))),
        format!("/users/{}", address("plain")),
        format!("/{}?{}", address(next("path")), password("path")),
    ] {
        seen += &service.get(&path).await.text().await.expect("text");
    }
    // A database whose errors contain values.
    if backend == Postgres {
        let kind = next("refused");
        let refuse = format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION '% %', NEW.email, NEW.name USING ERRCODE = '53100'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW \
             WHEN (NEW.email = '{}') EXECUTE FUNCTION refuse()",
            address(kind)
        );
        service.database.execute(&refuse).await.expect("set");
        assert_eq!(
            send(service, &mut seen, None, body(kind).to_string()).await,
            503
        );
    }
    let mut connection = service.connect();
    let kind = next("wire");
    connection.send(format!("{} {}\r\n\r\n", password(kind), address(kind)));
    seen += &connection.response().expect("a response").body;
    (kinds, seen)
}

/// The encodings in which a secret would still be exposed.
fn forms(secret: &str) -> Vec<String> {
    let hash: [u8; 32] = Sha256::digest(secret).into();
    vec![
        secret.to_owned(),
        secret.replace('@', "%40"),
        hex(secret.as_bytes()),
        STANDARD.encode(secret),
        hex(&hash),
        STANDARD.encode(hash),
    ]
}

/// Every row of every table, as text.
pub async fn tables(service: &Service, backend: Backend) -> Vec<(String, String)> {
    let names = match backend {
        Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        Postgres => {
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'"
        }
    };
    let mut found = Vec::new();
    for name in service.database.rows(names).await {
        let rows = match backend {
            Postgres => format!("SELECT t::text FROM \"{name}\" t"),
            Sqlite => {
                let columns = format!("SELECT name FROM pragma_table_info('{name}')");
                let columns = service.database.rows(&columns).await;
                let columns: Vec<String> = columns
                    .iter()
                    .map(|column| format!("quote(\"{column}\")"))
                    .collect();
                format!("SELECT {} FROM \"{name}\"", columns.join(" || '|' || "))
            }
        };
        let rows = service.database.rows(&rows).await;
        found.push((name, rows.join("\n")));
    }
    found
}

/// Guarantee P1, P2.
#[rstest]
#[tokio::test]
async fn passwords_are_nowhere_and_addresses_only_in_their_tables(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let collector = Collector::start(Protocol::Http);
    let redis = redis::server().database();
    let settings = [
        ("RUST_LOG", "trace"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url()),
        ("REDIS_URL", &*redis.url()),
    ];
    let mut service = Service::start_with(backend, &settings).await;
    let breaker = "circuit_breaker_open{dependency=\"redis\"} 0";
    service.wait_for_metric(breaker).await;
    let (kinds, responses) = exercise(&service, backend).await;
    let metrics = service.get("/metrics").await.text().await.expect("text");
    let keys = redis.command(&["KEYS", "*"]);
    let mut shared = keys.clone();
    for key in keys.lines() {
        shared += &redis.command(&["GET", key]);
    }
    let tables = tables(&service, backend).await;
    let hashes = "SELECT password_hash FROM users";
    let hashes = service.database.rows(hashes).await;
    assert!(hashes.len() >= 2, "{hashes:?}");
    // Buffered output is flushed.
    service.signal("TERM");
    assert!(service.wait().await.success());
    let log = service.log_text();

    // The searched texts are not empty.
    assert!(log.contains("account created") && shared.len() > 100);
    assert!(collector.everything().contains("POST /signup"));
    let users = tables.iter().find(|(name, _)| name == "users");
    assert!(users.expect("users").1.contains(&address("plain")));

    // A response has the address that was signed up, and nothing else of this.
    for secret in kinds.iter().flat_map(|kind| forms(&password(kind))) {
        assert!(!responses.contains(&secret), "{secret} is in a response");
    }
    assert!(KEYS.iter().all(|key| !responses.contains(key)));
    assert!(hashes.iter().all(|hash| !responses.contains(hash)));
    assert!(responses.contains(&address("plain")));

    let mut places = vec![
        ("the log".to_owned(), log),
        ("the traces".to_owned(), collector.everything()),
        ("the metrics".to_owned(), metrics),
        ("Redis".to_owned(), shared),
    ];
    let without_tables = places.len();
    places.extend(tables);
    for (number, (place, text)) in places.iter().enumerate() {
        let text = text.to_lowercase();
        let has = |needle: &str| text.contains(&needle.to_lowercase());
        let holds_hashes = number >= without_tables && place == "users";
        let in_hashes = |hash: &String| text.contains(&hash.to_lowercase());
        assert!(holds_hashes || !hashes.iter().any(in_hashes), "{place}");
        let is_for_addresses = number >= without_tables && WITH_ADDRESSES.contains(&place.as_str());
        for kind in &kinds {
            for form in forms(&password(kind)) {
                assert!(!has(&form), "the password {kind} is in {place}: {form}");
            }
            assert!(KEYS.iter().all(|key| !has(key)), "a key is in {place}");
            assert!(is_for_addresses || !has(NAME), "a name is in {place}");
            if !is_for_addresses {
                for form in forms(&address(kind)) {
                    assert!(!has(&form), "the address {kind} is in {place}: {form}");
                }
            }
        }
    }
}
