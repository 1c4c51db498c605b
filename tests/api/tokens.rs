//! Access tokens that an attacker could make, that other instances and deployments issue, and that outlive their
//! key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use reqwest::Response;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use signup_service::platform::clock::{Clock, SystemClock};
use signup_service::tokens::signing_keys::SigningKey;

use crate::harness::{
    Backend, Database, InProcess, Service, Setup, Setup::Sqlite, Setup::TwoInstances, login_body,
    problem, run, signup_body,
};

/// The longest time after which a key that was revoked is of no use on any instance.
const REMOVED_WITHIN: Duration = Duration::from_secs(35);

/// A signing key of which a test has the private half.
pub struct Forger {
    pair: EcdsaKeyPair,
    pem: String,
    signing: EncodingKey,
    key: SigningKey,
}

impl Forger {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("generated");
        let document = pair.to_pkcs8v1().expect("written");
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref()));
        let key = SigningKey::from_pem(&SecretString::from(pem.clone())).expect("read");
        Self {
            signing: EncodingKey::from_ec_der(document.as_ref()),
            pair,
            pem,
            key,
        }
    }

    /// The settings of a service that signs with it.
    pub fn settings(&self) -> [(&str, &str); 3] {
        [
            ("READS", "protected"),
            ("BCRYPT_COST", "4"),
            ("TOKEN_KEY", &self.pem),
        ]
    }

    /// A token of these texts with a genuine signature.
    fn sign(&self, header: &str, claims: &str) -> String {
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = message.join(".");
        let signature = crypto::sign(message.as_bytes(), &self.signing, Algorithm::ES256);
        format!("{message}.{}", signature.expect("signed"))
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": self.key.kid(), "typ": "at+jwt" });
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// The header and the claims of a token.
pub fn decoded(token: &str) -> [Value; 2] {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64");
        serde_json::from_slice(&bytes).unwrap_or_default()
    });
    [(); 2].map(|()| parts.next().expect("three parts"))
}

fn kid(token: &Value) -> Value {
    decoded(token.as_str().expect("a text"))[0]["kid"].clone()
}

/// Reads the own account with a token.
async fn read(service: &Service, token: &str) -> Response {
    let request = service.client.get(service.url("/users/me"));
    request.bearer_auth(token).send().await.expect("a response")
}

async fn refused(response: Response, reason: &str, what: &str) {
    let challenge = response.headers().get("www-authenticate").cloned();
    let body = problem(response, 401, "access-token-invalid").await;
    assert_eq!(
        challenge.expect("present"),
        "Bearer error=\"invalid_token\""
    );
    assert_eq!(body["reason"], reason, "{what}");
}

/// Their signature alone does not let them in, nor does one that the header asks for.
///
/// Guarantee X3.
#[rstest]
#[tokio::test]
async fn tokens_without_the_signature_of_the_key_are_refused(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let forger = Forger::new();
    let instances = setup.start(&forger.settings()).await;
    let session = instances.first().logged_in("ada@example.org").await;
    let genuine = session["access_token"].as_str().expect("a text");
    let [_, claims] = decoded(genuine);
    let kid = forger.key.kid();
    let message = |alg: &str| {
        let header = json!({ "alg": alg, "kid": kid, "typ": "at+jwt" });
        [header, claims.clone()]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".")
    };
    let (unsigned, signature) = genuine.rsplit_once('.').expect("three parts");
    let mut forged = vec![format!("{unsigned}."), unsigned.to_owned()];
    for alg in ["none", "None", "NONE", ""] {
        let message = message(alg);
        forged.extend([format!("{message}."), format!("{message}.{signature}")]);
    }

    // A validator that takes the algorithm from the header would use the public key as a secret.
    let published = instances.last().get("/.well-known/jwks.json").await;
    let published = published.text().await.expect("text");
    let jwks: Value = serde_json::from_str(&published).expect("JSON");
    let jwk = jwks["keys"][0].to_string();
    let der = forger.pair.public_key().as_der().expect("written");
    let der: &[u8] = der.as_ref();
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", der));
    let secrets: [&[u8]; 7] = [
        public.as_bytes(),
        public.trim_end().as_bytes(),
        der,
        forger.pair.public_key().as_ref(),
        jwk.as_bytes(),
        published.as_bytes(),
        b"",
    ];
    for secret in secrets {
        let message = message("HS256");
        let secret = EncodingKey::from_secret(secret);
        let mac = crypto::sign(message.as_bytes(), &secret, Algorithm::HS256);
        forged.push(format!("{message}.{}", mac.expect("signed")));
    }
    for token in &forged {
        refused(read(instances.last(), token).await, "invalid", token).await;
    }
    assert_eq!(read(instances.last(), genuine).await.status(), 200);
}

/// Each has a genuine signature, and one thing is wrong with it.
///
/// Guarantee X3.
#[rstest]
#[tokio::test]
async fn signed_tokens_are_refused_for_their_header_and_their_claims(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let forger = Forger::new();
    let instances = setup.start(&forger.settings()).await;
    let service = instances.last();
    let session = instances.first().logged_in("ada@example.org").await;
    let [header, claims] = decoded(session["access_token"].as_str().expect("a text"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
    assert_eq!(
        read(service, &forger.token(&claims)).await.status(),
        200,
        "as the forger signs"
    );

    let own = claims.to_string();
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header.to_string()
    };
    let mut without = header.clone();
    without.as_object_mut().expect("an object").remove("kid");
    let mut headers = vec![without.to_string()];
    for length in [2_000, 10_240] {
        headers.push(with("kid", json!("k".repeat(length))));
    }
    for wrong in ["../../etc/passwd", "' OR 1=1", ""] {
        headers.push(with("kid", json!(wrong)));
    }
    for (name, value) in [
        ("jwk", forger.key.jwk().clone()),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("crit", json!(["exp"])),
        ("typ", json!("JWT")),
        ("alg", json!("RS256")),
    ] {
        headers.push(with(name, value));
    }
    let twice = |object: &str, more: &str| format!("{{{more},{}", &object[1..]);
    headers.push(twice(&header.to_string(), "\"alg\":\"none\""));
    for header in headers {
        let token = forger.sign(&header, &own);
        refused(read(service, &token).await, "invalid", &header).await;
    }
    for more in [
        "\"sub\":\"x\"",
        "\"exp\":9999999999",
        "\"roles\":[\"admin\"]",
    ] {
        let token = forger.sign(&header.to_string(), &twice(&own, more));
        refused(read(service, &token).await, "invalid", more).await;
    }
    // A key of the attacker, which the token brings along or says where to get.
    let attacker = Forger::new();
    for (name, value) in [("jwk", attacker.key.jwk().clone()), ("jku", json!(url))] {
        for kid in [forger.key.kid(), attacker.key.kid()] {
            let mut header = header.clone();
            header[name] = value.clone();
            header["kid"] = json!(kid);
            let token = attacker.sign(&header.to_string(), &own);
            refused(read(service, &token).await, "invalid", name).await;
        }
    }
    let token = attacker.sign(&header.to_string(), &own);
    refused(read(service, &token).await, "invalid", "another key").await;
    assert!(listener.accept().is_err(), "it was called");
}

/// A stream of tokens with made-up keys costs a read of the table now and then, and no more.
#[rstest]
#[tokio::test]
async fn tokens_of_unknown_keys_hardly_reach_the_database(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let instances = setup.start(&[("READS", "protected")]).await;
    let service = instances.last();
    let session = instances.first().logged_in("ada@example.org").await;
    let [mut header, claims] = decoded(session["access_token"].as_str().expect("a text"));
    let attacker = Forger::new();
    // Each read is logged, as it fails.
    let away = "ALTER TABLE signing_keys RENAME TO away";
    service.database.execute(away).await.expect("renamed");
    let begun = Instant::now();
    for round in 0..10 {
        let tokens: Vec<String> = (0..20)
            .map(|number| {
                header["kid"] = json!(format!("{:043}", round * 20 + number));
                attacker.sign(&header.to_string(), &claims.to_string())
            })
            .collect();
        let reads = tokens.iter().map(|token| read(service, token));
        for response in join_all(reads).await {
            refused(response, "invalid", "an unknown key").await;
        }
    }
    let lines = service.log_lines();
    let failed = lines.iter().filter(|line| {
        ["cannot read signing keys", "cannot maintain signing keys"]
            .iter()
            .any(|message| line["message"] == *message)
    });
    let failed = failed.count();
    // One every five seconds, and one every thirty.
    let most = 2 + begun.elapsed().as_secs() / 4;
    assert!(failed >= 1, "the table was never read");
    assert!(failed as u64 <= most, "read {failed} times");
}

/// The same key does not make two deployments one.
///
/// Guarantee X3.
#[rstest]
#[tokio::test]
async fn a_token_is_for_one_deployment_and_one_audience(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let forger = Forger::new();
    let start = async |url: &str, audience: &str| {
        let own = [("PUBLIC_URL", url), ("TOKEN_AUDIENCE", audience)];
        let settings = [&forger.settings()[..], &own].concat();
        Service::start_with(backend, &settings).await
    };
    let (url, audience) = ("https://signup.example", "https://api.example");
    let issuer = start(url, audience).await;
    let session = issuer.logged_in("ada@example.org").await;
    let token = session["access_token"].as_str().expect("a text");
    assert_eq!(read(&issuer, token).await.status(), 200);
    // A copy of it accepts the token, and has no such user. A command asks for the session, which it lacks as well.
    let same = start(url, audience).await;
    problem(read(&same, token).await, 404, "user-not-found").await;
    let command = same.client.delete(same.url("/users/me/sessions"));
    let command = command.bearer_auth(token).send().await;
    refused(command.expect("a response"), "revoked", "of no session").await;
    for (url, audience) in [
        ("https://other.example", audience),
        (url, "https://other.example"),
        (url, "https://api.example.org"),
    ] {
        let other = start(url, audience).await;
        refused(read(&other, token).await, "invalid", url).await;
    }
}

#[rstest]
#[case::just_expired("exp", -29, "")]
#[case::expired("exp", -31, "expired")]
#[case::ahead("iat", 59, "")]
#[case::too_far_ahead("iat", 61, "invalid")]
#[tokio::test]
async fn the_times_of_a_token_are_checked_to_the_second(
    #[values(Sqlite, TwoInstances)] setup: Setup,
    #[case] name: &str,
    #[case] seconds: i64,
    #[case] reason: &str,
) {
    let forger = Forger::new();
    let instances = setup.start(&forger.settings()).await;
    let session = instances.first().logged_in("ada@example.org").await;
    let [_, mut claims] = decoded(session["access_token"].as_str().expect("a text"));
    for _ in 0..20 {
        let now = SystemClock.now().timestamp();
        claims[name] = json!(now + seconds);
        let response = read(instances.last(), &forger.token(&claims)).await;
        if SystemClock.now().timestamp() != now {
            // The second went by meanwhile.
            continue;
        }
        if reason.is_empty() {
            assert_eq!(response.status(), 200);
        } else {
            refused(response, reason, name).await;
        }
        return;
    }
    panic!("no request was done within a second");
}

/// The access token of a login at an instance whose clock the test moves.
async fn log_in(service: &InProcess) -> String {
    let body = login_body("ada@example.org");
    let request = reqwest::Client::new().post(service.url("/auth/login"));
    let response = request.json(&body).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    let session: Value = response.json().await.expect("JSON");
    session["access_token"].as_str().expect("a text").to_owned()
}

async fn read_in_process(service: &InProcess, token: &str) -> Response {
    let request = reqwest::Client::new().get(service.url("/users/me"));
    request.bearer_auth(token).send().await.expect("a response")
}

async fn sign_up(service: &InProcess) {
    let response = service
        .post("/signup", "k", &signup_body("ada@example.org"))
        .await;
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn instances_whose_clocks_differ_a_little_accept_each_others_tokens() {
    let settings = [("READS", "protected"), ("BCRYPT_COST", "4")];
    let instances = TwoInstances.start_in_process(&settings).await;
    let (ahead, behind) = (instances.first(), instances.last());
    let advance = |seconds| ahead.clock.advance(Duration::from_secs(seconds));
    sign_up(behind).await;
    let early = log_in(behind).await;
    advance(58);
    let token = log_in(ahead).await;
    assert_eq!(read_in_process(behind, &token).await.status(), 200);
    advance(7);
    let response = read_in_process(behind, &log_in(ahead).await).await;
    refused(response, "invalid", "issued in the future").await;
    // It was issued before all this.
    advance(1_800 - 65 + 28);
    assert_eq!(read_in_process(ahead, &early).await.status(), 200);
    advance(4);
    refused(read_in_process(ahead, &early).await, "expired", "early").await;
    assert_eq!(read_in_process(behind, &early).await.status(), 200);
}

fn command(database: &Database, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let output = run(&arguments, &[("DATABASE_URL", &database.url())]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_str(&output.stdout).expect("JSON")
}

/// Ids of the published keys.
async fn published(service: &InProcess) -> Vec<Value> {
    let response = service.get("/.well-known/jwks.json").await;
    let jwks: Value = response.json().await.expect("JSON");
    let keys = jwks["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].clone()).collect()
}

/// The first token of a new key is accepted at once: by validators with the keys of five minutes ago, and by
/// instances that have not read the table since.
///
/// Guarantee X6.
#[tokio::test]
async fn a_rotation_of_keys_is_not_noticed() {
    let settings = [("READS", "protected"), ("BCRYPT_COST", "4")];
    let database = Arc::new(Database::new(Backend::Postgres));
    let waiting = InProcess::start_on(Arc::clone(&database), &settings).await;
    sign_up(&waiting).await;
    let before = log_in(&waiting).await;
    command(&database, &["keys", "rotate"]);
    // It reads the keys when it starts; the other one every 30 seconds of the machine's time.
    let rotating = InProcess::start_on(database, &settings).await;
    let advance = |minutes| {
        for service in [&rotating, &waiting] {
            service.clock.advance(Duration::from_mins(minutes));
        }
    };
    assert_eq!(kid(&json!(log_in(&rotating).await)), kid(&json!(before)));
    // Those who read the keys just before the rotation read them again before one is used.
    advance(5);
    assert_eq!(kid(&json!(log_in(&rotating).await)), kid(&json!(before)));
    let validator = published(&rotating).await;
    advance(5);
    let first = log_in(&rotating).await;
    assert_ne!(kid(&json!(first)), kid(&json!(before)));
    assert!(validator.contains(&kid(&json!(first))), "{validator:?}");
    assert_eq!(read_in_process(&waiting, &first).await.status(), 200);
    assert_eq!(read_in_process(&rotating, &before).await.status(), 200);
    assert!(published(&waiting).await.contains(&kid(&json!(before))));
}

/// Takes up to half a minute, nearly all of it waiting.
///
/// Guarantee X6.
#[rstest]
#[tokio::test]
async fn the_tokens_of_a_revoked_key_are_soon_refused_and_sessions_go_on(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let instances = setup.start(&[("READS", "protected")]).await;
    let session = instances.first().logged_in("ada@example.org").await;
    let token = session["access_token"].as_str().expect("a text");
    // Each of them remembers the token.
    for service in &instances.0 {
        assert_eq!(read(service, token).await.status(), 200);
    }
    let revoked = kid(&session["access_token"]);
    let database = &instances.first().database;
    let revoked = revoked.as_str().expect("a text");
    command(database, &["keys", "revoke", revoked]);
    let begun = Instant::now();
    for service in &instances.0 {
        while read(service, token).await.status() == 200 {
            assert!(begun.elapsed() < REMOVED_WITHIN, "still accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        refused(read(service, token).await, "invalid", "a revoked key").await;
        let jwks = service.get("/.well-known/jwks.json").await;
        let jwks = jwks.text().await.expect("text");
        assert!(!jwks.contains(revoked));
    }
    let refreshed = instances.last().refresh(&session["refresh_token"], None);
    let refreshed: Value = refreshed.await.json().await.expect("JSON");
    let token = refreshed["access_token"].as_str().expect("a text");
    for service in &instances.0 {
        assert_eq!(read(service, token).await.status(), 200);
    }
}
