//! What a thief of the tables and of Redis has: no token, no password, and nothing that could be made into one.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use throwaway_servers::redis;

use crate::harness::{
    Backend, Database, Mailing, Service, Setup, Setup::Sqlite, Setup::TwoInstances, login_body,
    problem, run,
};
use crate::leaks::tables;

const PASSWORD: &str = "correct horse battery staple";

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

async fn json_of(response: Response) -> Value {
    assert!(response.status().is_success(), "{}", response.status());
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.json().await.expect("JSON")
}

/// What clients hold, and what they sent.
#[derive(Default)]
struct Seen {
    secrets: Vec<String>,
    session: Value,
    service_key: String,
}

impl Seen {
    fn note(&mut self, response: &Value) {
        let names = ["access_token", "refresh_token", "device_token", "key"];
        let found = names.iter().filter_map(|name| response[name].as_str());
        self.secrets.extend(found.map(str::to_owned));
    }
}

/// Makes a token of each kind, by each operation that returns one. No response with one is stored by a cache.
async fn exercise(first: &Service, second: &Service) -> Seen {
    let mut seen = Seen::default();
    let keys = ["quokka-numbat-1", "bilby-potoroo-2", "dunnart-quoll-3"];
    seen.secrets.extend(keys.map(str::to_owned));
    seen.secrets.push(PASSWORD.to_owned());
    let signup = crate::harness::signup_body("ada@example.org");
    let signup = first.signup(&signup).header("Idempotency-Key", keys[0]);
    assert_eq!(signup.send().await.expect("a response").status(), 201);
    let mut body = login_body("ada@example.org");
    for service in [first, second] {
        let login = service.post("/auth/login", &body);
        let login = login.header("Idempotency-Key", keys[1]).send().await;
        seen.session = json_of(login.expect("a response")).await;
        seen.note(&seen.session.clone());
        body["device_token"] = seen.session["device_token"].clone();
    }
    let old = seen.session["refresh_token"].clone();
    for service in [first, second] {
        let refreshed = json_of(service.refresh(&old, Some(keys[2])).await).await;
        seen.note(&refreshed);
        seen.session["refresh_token"] = refreshed["refresh_token"].clone();
        seen.session["access_token"] = refreshed["access_token"].clone();
    }
    let token = text(&seen.session, "access_token").to_owned();
    let request = second.post("/auth/reauthenticate", &json!({ "password": PASSWORD }));
    let fresh = request.bearer_auth(&token).send().await;
    seen.note(&json_of(fresh.expect("a response")).await);

    let created = [
        "service-keys",
        "create",
        "--name",
        "n",
        "--permission",
        "keys:write",
        "--permission",
        "users:read",
        "--expires-in-days",
        "1",
        "--json",
    ];
    let url = first.database.url();
    let created = run(&created, &[("DATABASE_URL", &url)]);
    let root: Value = serde_json::from_str(&created.stdout).expect("JSON");
    seen.note(&root);
    let administer = async |path: &str, body: Option<Value>| {
        let url = format!("http://{}{path}", second.administration());
        let request = second.client.post(url).bearer_auth(text(&root, "key"));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        json_of(request.send().await.expect("a response")).await
    };
    let body = json!({ "name": "n", "permissions": ["users:read"], "expires_in_days": 1 });
    let key = administer("/admin/keys", Some(body)).await;
    seen.note(&key);
    seen.service_key = text(&key, "key").to_owned();
    let path = format!("/admin/keys/{}/rotate", text(&key, "id"));
    seen.note(&administer(&path, None).await);
    seen
}

/// The forms in which a secret would still be of use, in lower case.
fn forms(secret: &str) -> Vec<String> {
    let mut secret_parts = vec![secret.as_bytes().to_vec()];
    match secret.split_once('_') {
        // The secret of a service key is between its id and its checksum.
        Some(("ssk", rest)) => {
            let part = rest.split('_').nth(1).expect("a secret");
            secret_parts.push(part.as_bytes().to_vec());
        }
        // The mac of a token is before its checksum.
        Some(("srt" | "sdt", encoded)) => {
            let bytes = URL_SAFE_NO_PAD.decode(encoded).expect("base64");
            let end = bytes.len() - 4;
            secret_parts.push(bytes[end - 32..end].to_vec());
        }
        _ => {
            // The signature of an access token.
            if let Some((_, signature)) = secret.rsplit_once('.') {
                secret_parts.push(signature.as_bytes().to_vec());
                secret_parts.push(URL_SAFE_NO_PAD.decode(signature).expect("base64"));
            }
        }
    }
    encodings(secret_parts)
}

/// The texts in which these bytes could be kept, in lower case.
fn encodings(parts: Vec<Vec<u8>>) -> Vec<String> {
    let mut forms = Vec::new();
    for part in parts {
        let hash = Sha256::digest(&part).to_vec();
        if let Ok(text) = String::from_utf8(part.clone()) {
            forms.push(text);
        }
        for bytes in [part, hash] {
            forms.extend([
                hex::encode(&bytes),
                STANDARD.encode(&bytes),
                URL_SAFE_NO_PAD.encode(&bytes),
            ]);
        }
    }
    forms.iter().map(|form| form.to_lowercase()).collect()
}

/// The values of a column of bytes.
async fn bytes(database: &Database, column: &str, table: &str) -> Vec<Vec<u8>> {
    let digits = match database {
        Database::Sqlite(_) => format!("hex({column})"),
        Database::Postgres(_) => format!("replace(replace({column}::text, '\\x', ''), '-', '')"),
    };
    let query = format!("SELECT {digits} FROM {table} WHERE {column} IS NOT NULL");
    let rows = database.rows(&query).await;
    let rows = rows.iter().map(|digits| hex::decode(digits).expect("hex"));
    rows.collect()
}

/// An opaque token with a right checksum.
fn opaque(prefix: &str, fields: &[&[u8]]) -> String {
    let mut bytes = vec![1];
    bytes.extend(fields.concat());
    let checksum = crc32fast::hash(&bytes).to_be_bytes();
    bytes.extend(checksum);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// A number in base62, as in service keys.
fn base62(number: &[u8], digits: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = number.to_vec();
    let mut text = Vec::new();
    for _ in 0..digits {
        let mut remainder = 0_u32;
        for byte in &mut rest {
            let dividend = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(dividend / 62).expect("below 256");
            remainder = dividend % 62;
        }
        text.push(DIGITS[remainder as usize]);
    }
    text.reverse();
    String::from_utf8(text).expect("ASCII")
}

fn service_key(id: &str, secret: &[u8]) -> String {
    let body = format!("ssk_{id}_{}", base62(secret, 43));
    let checksum = crc32fast::hash(body.as_bytes()).to_be_bytes();
    format!("{body}_{}", base62(&checksum, 6))
}

async fn read(service: &Service, credential: &str) -> Response {
    let request = service.client.get(service.url("/users"));
    let request = request.bearer_auth(credential).send().await;
    request.expect("a response")
}

/// Guarantee P5.
#[rstest]
#[tokio::test]
async fn nothing_at_rest_is_a_credential_or_makes_one(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let shared = redis::server().database();
    let url = shared.url();
    let settings = [
        ("READS", "protected"),
        ("RATE_LIMIT_LOGIN", "off"),
        ("RATE_LIMIT_REFRESH", "off"),
        ("RUST_LOG", "trace"),
        ("REDIS_URL", &*url),
    ];
    let instances = setup.start(&settings).await;
    let (first, second) = (instances.first(), instances.last());
    let connected = "circuit_breaker_open{dependency=\"redis\"} 0";
    first.wait_for_metric(connected).await;
    let seen = exercise(first, second).await;
    let database = &first.database;

    let backend = match setup {
        Sqlite => Backend::Sqlite,
        TwoInstances => Backend::Postgres,
    };
    let mut places = tables(first, backend).await;
    let names = ["sessions", "service_keys", "signing_keys", "auth_log"];
    for name in names {
        let found = places.iter().find(|(place, _)| place == name);
        assert!(!found.expect(name).1.is_empty(), "{name} is empty");
    }
    let keys = shared.command(&["KEYS", "*"]);
    assert!(!keys.is_empty(), "Redis has nothing");
    for key in keys.lines() {
        let kept = shared.command(&["GET", key]);
        places.push((format!("Redis, {key}"), format!("{key} {kept}")));
    }
    for service in &instances.0 {
        places.push(("the log".to_owned(), service.log_text()));
    }
    for (place, kept) in &places {
        let kept = kept.to_lowercase();
        for secret in &seen.secrets {
            let found = forms(secret).into_iter().find(|form| kept.contains(form));
            assert_eq!(found, None, "of {secret}, in {place}");
        }
    }

    let refused = async |token: String| {
        let response = second.refresh(&json!(token), None).await;
        problem(response, 401, "refresh-token-invalid").await;
    };
    let ids = bytes(database, "id", "sessions").await;
    let nonces = bytes(database, "nonce", "sessions").await;
    let mut macs = bytes(database, "rotation_key", "sessions").await;
    macs.extend(bytes(database, "login_key", "sessions").await);
    macs.extend(bytes(database, "secret_hash", "service_keys").await);
    for nonce in &nonces {
        macs.extend([nonce.repeat(2), Sha256::digest(nonce).to_vec()]);
    }
    assert_eq!((ids.len(), nonces.len(), macs.len()), (1, 1, 6));
    for mac in &macs {
        for generation in 0_u32..3 {
            let fields: [&[u8]; 3] = [&ids[0], &generation.to_be_bytes(), mac];
            refused(opaque("srt_", &fields)).await;
        }
    }

    // The stored hash of a service key, as its secret.
    let id = seen.service_key.split('_').nth(1).expect("an id");
    let genuine = seen.service_key.split('_').nth(2).expect("a secret");
    assert_eq!(read(second, &seen.service_key).await.status(), 200);
    assert_eq!(genuine.len(), 43);
    let mut hashes = bytes(database, "secret_hash", "service_keys").await;
    hashes.extend(bytes(database, "next_hash", "service_keys").await);
    assert_eq!(hashes.len(), 3);
    for hash in &hashes {
        let response = read(second, &service_key(id, hash)).await;
        problem(response, 401, "access-token-invalid").await;
    }

    // What is stored of the signing key, as a secret.
    let access = text(&seen.session, "access_token");
    let (header, claims) = access.split_once('.').expect("parts");
    let header = URL_SAFE_NO_PAD.decode(header).expect("base64");
    let mut header: Value = serde_json::from_slice(&header).expect("JSON");
    header["alg"] = json!("HS256");
    let header = URL_SAFE_NO_PAD.encode(header.to_string());
    let (claims, signature) = claims.rsplit_once('.').expect("parts");
    let mut stored = bytes(database, "private_sealed", "signing_keys").await;
    stored.push(signature.as_bytes().to_vec());
    for secret in stored.iter().chain(&macs) {
        let message = format!("{header}.{claims}");
        let mac = EncodingKey::from_secret(secret);
        let mac = crypto::sign(message.as_bytes(), &mac, Algorithm::HS256).expect("signed");
        let response = read(second, &format!("{message}.{mac}")).await;
        problem(response, 401, "access-token-invalid").await;
    }

    // A stored password, and a device that strangers' guesses do not count for.
    let log_in = async |password: &str, device: Option<String>| {
        let mut body = login_body("ada@example.org");
        body["password"] = json!(password);
        body["device_token"] = json!(device);
        let response = second.post("/auth/login", &body).send().await;
        response.expect("a response")
    };
    let hash = database.rows("SELECT password_hash FROM users").await;
    let hash = hash[0].as_str();
    let last = hash.rsplit('$').next().expect("a part");
    for password in [hash, last] {
        problem(log_in(password, None).await, 401, "invalid-credentials").await;
    }
    while log_in("wrong", None).await.status() == 401 {}
    let subjects = bytes(database, "subject", "login_throttle").await;
    for mac in subjects.iter().chain(&macs) {
        for device in [&ids[0], &nonces[0]] {
            let forged = opaque("sdt_", &[device, mac]);
            let response = log_in(PASSWORD, Some(forged)).await;
            problem(response, 429, "login-throttled").await;
        }
    }

    // What the clients hold still works.
    let device = text(&seen.session, "device_token").to_owned();
    json_of(log_in(PASSWORD, Some(device)).await).await;
    let token = &seen.session["refresh_token"];
    json_of(second.refresh(token, None).await).await;
}

/// The tokens of the links of each use, with the path that takes them.
async fn links(mailing: &Mailing) -> [(&'static str, String); 5] {
    let service = &mailing.service;
    let (_, key) = service.service_key(&["users:write"]);
    let url = format!("http://{}/admin/users", service.administration());
    let request = service.client.post(url).bearer_auth(&key);
    let request = request.json(&json!({ "name": "Cy", "email": "cy@example.org" }));
    let created = request.send().await.expect("a response");
    assert_eq!(created.status(), 201);
    let chosen = mailing.mail("set_password", 1).await.token();
    let own = mailing.signed_up("ada@example.org").await;
    assert_eq!(mailing.verify(&own, PASSWORD).await.status(), 204);
    let verify = mailing.signed_up("eve@example.org").await;
    let session = json_of(mailing.log_in(PASSWORD).await).await;
    let request = service.post(
        "/users/me/email",
        &json!({ "email": "ada@lovelace.example" }),
    );
    let request = request.bearer_auth(text(&session, "access_token"));
    let asked = request.send().await.expect("a response");
    assert_eq!(asked.status(), 202);
    assert_eq!(mailing.forgot("ada@example.org").await.status(), 202);
    let reset = mailing.mail("reset", 1).await.token();
    let change = mailing.mail("confirm_email", 1).await.token();
    let undo = mailing.mail("email_changing", 1).await.token();
    mailing.idle().await;
    [
        ("/auth/verify-email", verify),
        ("/auth/password/reset", chosen),
        ("/auth/email/confirm", change),
        ("/auth/email/undo", undo),
        ("/auth/password/reset", reset),
    ]
}

/// Guarantee M6, P5.
#[rstest]
#[tokio::test]
async fn nothing_at_rest_is_the_link_of_a_mail_or_makes_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let shared = redis::server().database();
    let url = shared.url();
    let settings = [("RUST_LOG", "trace"), ("REDIS_URL", &*url)];
    let mailing = Mailing::start_with(backend, &settings).await;
    let (service, database) = (&mailing.service, &mailing.service.database);
    let connected = "circuit_breaker_open{dependency=\"redis\"} 0";
    service.wait_for_metric(connected).await;
    // An outcome in Redis.
    let keyed = crate::harness::signup_body("bob@example.org");
    let keyed = service.signup(&keyed).header("Idempotency-Key", "numbat");
    assert_eq!(keyed.send().await.expect("a response").status(), 201);
    let keys = shared.command(&["KEYS", "*"]);
    assert!(!keys.is_empty(), "Redis has nothing");
    let links = links(&mailing).await;

    let mut places = tables(service, backend).await;
    for name in ["one_time_tokens", "mail_queue"] {
        let found = places.iter().find(|(place, _)| place == name);
        assert!(!found.expect(name).1.is_empty(), "{name} is empty");
    }
    for key in shared.command(&["KEYS", "*"]).lines() {
        let kept = shared.command(&["GET", key]);
        places.push((format!("Redis, {key}"), format!("{key} {kept}")));
    }
    places.push(("the log".to_owned(), service.log_text()));
    for (path, token) in &links {
        // Of an id and a mac, the id is that of the row.
        let bytes = URL_SAFE_NO_PAD.decode(token).expect("base64");
        let forms = encodings(vec![token.clone().into_bytes(), bytes[16..].to_vec()]);
        for (place, kept) in &places {
            let kept = kept.to_lowercase();
            let found = forms.iter().find(|form| kept.contains(*form));
            assert_eq!(found, None, "of {path}, in {place}");
        }
    }

    let ids = bytes(database, "id", "one_time_tokens").await;
    assert!(ids.len() >= 6, "{ids:?}");
    let mut macs = bytes(database, "key_hash", "idempotency_records").await;
    macs.extend(bytes(database, "fingerprint", "idempotency_records").await);
    for nonce in bytes(database, "nonce", "sessions").await {
        macs.push(nonce.repeat(2));
    }
    macs.extend(links.iter().map(|(_, token)| {
        let other = URL_SAFE_NO_PAD.decode(token).expect("base64");
        other[16..].to_vec()
    }));
    let send = async |path: &str, token: &str| {
        let body = match path {
            "/auth/email/confirm" | "/auth/email/undo" => json!({ "token": token }),
            _ => json!({ "token": token, "password": PASSWORD }),
        };
        mailing.post(path, body).await
    };
    let genuine = |token: &String| links.iter().any(|(_, link)| link == token);
    for id in &ids {
        let own = [id.repeat(2), Sha256::digest(id).to_vec()];
        for mac in macs.iter().chain(&own) {
            let forged = URL_SAFE_NO_PAD.encode([&id[..], mac].concat());
            assert_eq!(forged.len(), 64);
            if genuine(&forged) {
                continue;
            }
            let paths = links.each_ref().map(|(path, _)| *path);
            for path in paths {
                let response = send(path, &forged).await;
                problem(response, 400, "token-invalid").await;
            }
        }
    }

    // What is in the mails still works; but a change of address voids the reset that was asked for before.
    let statuses = [204, 204, 204, 204, 410];
    for ((path, token), expected) in links.iter().zip(statuses) {
        assert_eq!(send(path, token).await.status(), expected, "{path}");
    }
}
