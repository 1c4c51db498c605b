//! Tests of [`Keyring`] on each database.

use chrono::{SubsecRound, TimeDelta};
use futures_util::future::join_all;
use rstest::rstest;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::config::{Settings, Sources};
use crate::domain::{SessionId, TokenEpoch, UserId};
use crate::platform::clock::SettableClock;
use crate::platform::database::testing::TestDatabase;
use crate::tokens::access_token::{AccessTokens, Claims, Parties, Refused};
use crate::tokens::signing_keys::schedule::{KEPT_FOR, PUBLISHED_FOR};

/// An instance of the service, as far as keys go.
struct Instance {
    keyring: Arc<Keyring>,
    tokens: AccessTokens,
    clock: Arc<SettableClock>,
}

fn auth(env: &[(&str, &str)]) -> AuthSettings {
    let sources = Sources::given(env, "").expect("no file");
    Settings::from_sources(sources, false).expect("valid").auth
}

fn secrets(current: &str, previous: Option<&str>) -> Arc<TokenSecrets> {
    let previous = previous.map(SecretString::from);
    Arc::new(TokenSecrets::new(
        &SecretString::from(current),
        previous.as_ref(),
    ))
}

async fn try_start(
    test: &TestDatabase,
    clock: &Arc<SettableClock>,
    secrets: Arc<TokenSecrets>,
    env: &[(&str, &str)],
) -> Result<Instance, KeyringError> {
    let shared = Arc::clone(clock) as Arc<dyn Clock>;
    let database = test.database.clone();
    let keyring = Keyring::open(database, secrets, &auth(env), Arc::clone(&shared)).await?;
    let keyring = Arc::new(keyring);
    let parties = Parties {
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
    };
    Ok(Instance {
        tokens: AccessTokens::new(Arc::clone(&keyring), parties, shared),
        keyring,
        clock: Arc::clone(clock),
    })
}

async fn start(test: &TestDatabase, clock: &Arc<SettableClock>) -> Instance {
    try_start(test, clock, secrets("secret", None), &[])
        .await
        .expect("opens")
}

impl Instance {
    fn token(&self) -> String {
        let now = self.clock.now().trunc_subsecs(0);
        let claims = Claims {
            sub: UserId::new(Uuid::from_u128(1)),
            exp: now + TimeDelta::minutes(30),
            iat: now,
            jti: Uuid::from_u128(2),
            client_id: "c".to_owned(),
            sid: SessionId::new(Uuid::from_u128(3)),
            auth_time: now,
            amr: Vec::new(),
            roles: Vec::new(),
            epoch: TokenEpoch::new(0),
        };
        let token = self.tokens.sign(&claims).expect("signed");
        token.expose_secret().to_owned()
    }

    async fn verify(&self, token: &str) -> Result<(), Refused> {
        self.tokens.verify(token).await.map(drop)
    }

    fn kid(&self) -> String {
        self.keyring.active().expect("one signs").kid().to_owned()
    }

    /// The ids of the published keys.
    fn published(&self) -> Vec<String> {
        let jwks = self.keyring.jwks();
        let keys = jwks["keys"].as_array().expect("a list");
        let kids = keys.iter().map(|key| key["kid"].as_str().expect("text"));
        kids.map(str::to_owned).collect()
    }
}

#[rstest]
#[tokio::test]
async fn instances_that_start_together_have_the_same_key(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let instances = join_all((0..5).map(|_| start(&test, &clock))).await;
    let kids: Vec<String> = instances.iter().map(Instance::kid).collect();
    assert!(kids.iter().all(|kid| *kid == kids[0]), "{kids:?}");
    let token = instances[0].token();
    for instance in &instances {
        assert_eq!(instance.verify(&token).await, Ok(()));
        assert_eq!(instance.published(), kids[..1]);
    }
    assert_eq!(start(&test, &clock).await.kid(), kids[0], "it is kept");
}

#[rstest]
#[tokio::test]
async fn a_new_key_is_published_before_it_signs(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let (a, b) = (start(&test, &clock).await, start(&test, &clock).await);
    let first = a.kid();
    let old = a.token();
    a.keyring.rotate().await.expect("rotated");
    assert_eq!(a.kid(), first);
    assert_eq!(a.published().len(), 2);
    let again = a.keyring.rotate().await;
    assert!(matches!(again, Err(KeyringError::Pending)), "{again:?}");

    clock.advance(RELOAD_EVERY);
    b.keyring.maintain().await.expect("reloaded");
    assert_eq!(b.published(), a.published());
    clock.advance(PUBLISHED_FOR);
    assert_ne!(a.kid(), first);
    assert_eq!(a.kid(), b.kid());
    assert_eq!(b.verify(&a.token()).await, Ok(()));
    assert_eq!(b.verify(&old).await, Ok(()), "its key is still valid");

    clock.advance(KEPT_FOR);
    assert_eq!(a.published(), [a.kid()]);
    assert!(a.keyring.find(&first).is_none());
    let listed = a.keyring.list().await.expect("listed");
    let states: Vec<State> = listed.iter().map(|key| key.state).collect();
    assert_eq!(states, [State::Removed, State::Active]);
}

#[rstest]
#[tokio::test]
async fn a_key_of_another_instance_is_looked_up(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let (a, b) = (start(&test, &clock).await, start(&test, &clock).await);
    // The replacement signs at once, before the other instance has read it.
    a.keyring.revoke(&a.kid()).await.expect("revoked");
    let token = a.token();
    let both = tokio::join!(b.verify(&token), b.verify(&token));
    assert_eq!(both, (Ok(()), Ok(())));
}

#[rstest]
#[tokio::test]
async fn unknown_keys_are_looked_up_at_a_bounded_rate(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let (a, b) = (start(&test, &clock).await, start(&test, &clock).await);
    let unknown = "u".repeat(43);
    assert!(b.keyring.look_up(&unknown).await.is_none());
    a.keyring.revoke(&a.kid()).await.expect("revoked");
    let token = a.token();
    assert_eq!(
        b.verify(&token).await,
        Err(Refused::Invalid),
        "no second query"
    );
    clock.advance(UNKNOWN_EVERY);
    assert_eq!(b.verify(&token).await, Ok(()));
}

#[rstest]
#[tokio::test]
async fn a_revoked_key_takes_its_tokens_with_it(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let (a, b) = (start(&test, &clock).await, start(&test, &clock).await);
    let (token, kid) = (a.token(), a.kid());
    for instance in [&a, &b] {
        assert_eq!(
            instance.verify(&token).await,
            Ok(()),
            "remembered from now on"
        );
    }
    a.keyring.revoke(&kid).await.expect("revoked");
    assert_eq!(a.verify(&token).await, Err(Refused::Invalid), "at once");
    assert_eq!(b.verify(&token).await, Ok(()), "not read again yet");
    b.keyring.maintain().await.expect("reloaded");
    assert_eq!(b.verify(&token).await, Err(Refused::Invalid));
    assert_eq!(b.verify(&a.token()).await, Ok(()), "of the replacement");
    let again = a.keyring.revoke(&kid).await;
    assert!(matches!(again, Err(KeyringError::Unknown)), "{again:?}");
}

#[rstest]
#[tokio::test]
async fn a_key_is_replaced_after_ninety_days_by_one_instance(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let (a, b) = (start(&test, &clock).await, start(&test, &clock).await);
    clock.advance(Duration::from_hours(90 * 24 - 1));
    a.keyring.maintain().await.expect("maintained");
    assert_eq!(a.published().len(), 1);
    clock.advance(Duration::from_hours(1));
    let (one, other) = tokio::join!(a.keyring.maintain(), b.keyring.maintain());
    one.and(other).expect("maintained");
    a.keyring.maintain().await.expect("maintained");
    b.keyring.maintain().await.expect("maintained");
    assert_eq!(a.published().len(), 2);
    assert_eq!(a.published(), b.published());
    assert!(a.keyring.age() >= Some(ROTATE_AFTER));
}

#[rstest]
#[tokio::test]
async fn keys_survive_a_rotation_of_the_secret(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let old = secrets("old", None);
    let before = try_start(&test, &clock, old, &[]).await.expect("opens");
    let kid = before.kid();

    let rotating = secrets("new", Some("old"));
    let during = try_start(&test, &clock, rotating, &[])
        .await
        .expect("opens");
    assert_eq!(during.kid(), kid);
    let after = try_start(&test, &clock, secrets("new", None), &[]).await;
    assert_eq!(after.expect("it was sealed again").kid(), kid);

    let lost = try_start(&test, &clock, secrets("other", None), &[]).await;
    let Err(lost) = lost else {
        panic!("another secret opens the key");
    };
    assert!(lost.to_string().contains("AUTH_SECRET_PREVIOUS"), "{lost}");
}

/// A party that can write to the table must not be able to sign tokens.
#[rstest]
#[tokio::test]
async fn a_key_that_no_instance_made_is_ignored(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let a = start(&test, &clock).await;
    let forged = SigningKey::generate(TokenAlgorithm::Es256).expect("generated");
    let mine = Keyring::fixed(forged, Arc::clone(&clock) as Arc<dyn Clock>);
    let kid = mine.active().expect("fixed").kid().to_owned();
    let table = "INSERT INTO signing_keys \
                 (kid, alg, public_jwk, private_sealed, created_at, active_from, retired_at, remove_at)";
    let far = match backend {
        Sqlite => "4102444800000000",
        Postgres => "to_timestamp(4102444800)",
    };
    // Plain, and as a copy of the sealed half of the genuine key under another id.
    test.sql(&format!(
        "{table} SELECT '{kid}', alg, public_jwk, private_sealed, created_at, active_from, {far}, {far} \
         FROM signing_keys"
    ))
    .await;
    a.keyring.maintain().await.expect("reloaded");
    assert!(a.keyring.find(&kid).is_none());
    assert_eq!(a.published(), [a.kid()]);
    assert_eq!(
        a.keyring.list().await.expect("listed").len(),
        2,
        "operators see it"
    );
}

#[rstest]
#[tokio::test]
async fn no_private_key_is_in_the_table(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values("ES256", "RS256")] algorithm: &str,
) {
    let test = TestDatabase::new(backend).await;
    let clock = Arc::new(SettableClock::default());
    let env = [("TOKEN_ALGORITHM", algorithm)];
    let a = try_start(&test, &clock, secrets("s", None), &env)
        .await
        .expect("opens");
    let key = a.keyring.active().expect("one signs");
    assert_eq!(key.algorithm().name(), algorithm);
    assert_eq!(a.verify(&a.token()).await, Ok(()));
    let rows = test
        .sql(match backend {
            Sqlite => {
                "SELECT hex(private_sealed) || hex(CAST(public_jwk AS BLOB)) FROM signing_keys"
            }
            Postgres => {
                "SELECT upper(encode(private_sealed, 'hex')) || \
                 upper(encode(convert_to(public_jwk::text, 'UTF8'), 'hex')) FROM signing_keys"
            }
        })
        .await;
    for part in key.pkcs8().chunks_exact(16) {
        assert!(!rows[0].contains(&hex::encode_upper(part)));
    }
}

#[tokio::test]
async fn a_key_of_the_settings_is_the_only_one() {
    let test = TestDatabase::new(Sqlite).await;
    let clock = Arc::new(SettableClock::default());
    let key = SigningKey::generate(TokenAlgorithm::Es256).expect("generated");
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", key.pkcs8()));
    let env = [("TOKEN_KEY", pem.as_str())];
    let a = try_start(&test, &clock, secrets("s", None), &env)
        .await
        .expect("opens");
    assert_eq!(a.kid(), key.kid());
    assert_eq!(a.published(), [key.kid()]);
    assert_eq!(a.verify(&a.token()).await, Ok(()));
    a.keyring.maintain().await.expect("nothing to do");
    let refused = [a.keyring.rotate().await, a.keyring.revoke(key.kid()).await];
    for refused in refused {
        assert!(matches!(refused, Err(KeyringError::Fixed)), "{refused:?}");
    }
    assert!(a.keyring.look_up("unknown").await.is_none());
    let listed = a.keyring.list().await.expect("listed");
    assert_eq!(listed[0].state, State::Active);
    let rows = test
        .sql("SELECT CAST(count(*) AS TEXT) FROM signing_keys")
        .await;
    assert_eq!(rows, ["0"]);

    let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    let env = [("TOKEN_KEY", broken)];
    let Err(error) = try_start(&test, &clock, secrets("s", None), &env).await else {
        panic!("it is no key");
    };
    assert!(
        error.to_string().starts_with("TOKEN_KEY cannot be used"),
        "{error}"
    );
}
