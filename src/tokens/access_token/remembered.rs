//! Signs tokens, and verifies them: each signature once, as a check of one takes as long as a whole read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::verification::{EXPIRY_LEEWAY, Refused, Unverified, check_times};
use super::{Claims, MAX_TOKEN, Parties, SignError};
use crate::platform::clock::Clock;
use crate::tokens::signing_keys::Keyring;

/// The maximum number of verified tokens that are remembered.
pub const MAX_REMEMBERED: usize = 100_000;

/// A verified token.
struct Verified {
    kid: String,
    claims: Arc<Claims>,
    /// How long it was still valid when it was verified.
    life: Duration,
}

/// Signs and verifies access tokens.
pub struct AccessTokens {
    keyring: Arc<Keyring>,
    parties: Parties,
    clock: Arc<dyn Clock>,
    /// By the SHA-256 of the token: memory has no token that could be used.
    verified: Cache<[u8; 32], Arc<Verified>>,
}

impl AccessTokens {
    /// Issues tokens between these parties, signed with the keys of this keyring.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>, parties: Parties, clock: Arc<dyn Clock>) -> Self {
        let verified = Cache::builder()
            .max_capacity(MAX_REMEMBERED as u64)
            .expire_after(UntilExpiry)
            .build();
        Self {
            keyring,
            parties,
            clock,
            verified,
        }
    }

    /// By whom tokens are issued, and for whom.
    #[must_use]
    pub const fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Signs a token with the active key.
    ///
    /// # Errors
    /// When there is no active key, the token would be too long, or the cryptographic library fails.
    pub fn sign(&self, claims: &Claims) -> Result<SecretString, SignError> {
        let key = self.keyring.active().ok_or(SignError::NoKey)?;
        super::sign(claims, &key, &self.parties)
    }

    /// Verifies a token; one that was verified before, only by its times and its key. Whether its session
    /// lives and its epoch is current remains to be asked.
    ///
    /// An unknown key is looked up in the database, at a bounded rate: another instance may have made it.
    ///
    /// # Errors
    /// Why it is not valid.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, Refused> {
        // Before it is hashed.
        if token.len() > MAX_TOKEN {
            return Err(Refused::Invalid);
        }
        let now = self.clock.now();
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.verified.get(&digest) {
            // A key that was removed takes its tokens with it, also the remembered ones.
            let checked = match self.keyring.find(&known.kid) {
                Some(_) => check_times(&known.claims, now),
                None => Err(Refused::Invalid),
            };
            if let Err(refused) = checked {
                self.verified.invalidate(&digest);
                return Err(refused);
            }
            return Ok(Arc::clone(&known.claims));
        }
        let unverified = Unverified::parse(token)?;
        let kid = unverified.kid();
        let key = match self.keyring.find(kid) {
            Some(key) => key,
            None => self.keyring.look_up(kid).await.ok_or(Refused::Invalid)?,
        };
        let claims = Arc::new(unverified.verify(&key, &self.parties, now)?);
        let left = claims.exp.signed_duration_since(now) + EXPIRY_LEEWAY;
        let verified = Verified {
            kid: key.kid().to_owned(),
            claims: Arc::clone(&claims),
            life: left.to_std().unwrap_or_default(),
        };
        self.verified.insert(digest, Arc::new(verified));
        Ok(claims)
    }

    /// The number of remembered tokens, roughly.
    #[must_use]
    pub fn remembered(&self) -> u64 {
        self.verified.entry_count()
    }
}

/// Forgets a token once it has expired. It only frees memory: the cache has a clock of its own.
struct UntilExpiry;

impl Expiry<[u8; 32], Arc<Verified>> for UntilExpiry {
    fn expire_after_create(
        &self,
        _: &[u8; 32],
        verified: &Arc<Verified>,
        _: Instant,
    ) -> Option<Duration> {
        Some(verified.life)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{SubsecRound, TimeDelta};
    use secrecy::ExposeSecret;
    use uuid::Uuid;

    use super::*;
    use crate::config::TokenAlgorithm;
    use crate::domain::{SessionId, TokenEpoch, UserId};
    use crate::platform::clock::SettableClock;
    use crate::tokens::signing_keys::SigningKey;

    fn tokens(clock: &Arc<SettableClock>) -> AccessTokens {
        let key = SigningKey::generate(TokenAlgorithm::Es256).expect("generated");
        let keyring = Arc::new(Keyring::fixed(key, Arc::clone(clock) as Arc<dyn Clock>));
        let parties = Parties {
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
        };
        AccessTokens::new(keyring, parties, Arc::clone(clock) as Arc<dyn Clock>)
    }

    fn claims(clock: &SettableClock) -> Claims {
        let now = clock.now().trunc_subsecs(0);
        Claims {
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
        }
    }

    #[tokio::test]
    async fn a_verified_token_is_remembered_until_it_expires() {
        let clock = Arc::new(SettableClock::default());
        let tokens = tokens(&clock);
        let claims = claims(&clock);
        let token = tokens.sign(&claims).expect("signed");
        let verify = || tokens.verify(token.expose_secret());
        let first = verify().await.expect("valid");
        assert_eq!(*first, claims);
        assert!(
            Arc::ptr_eq(&first, &verify().await.expect("valid")),
            "remembered"
        );
        clock.advance(Duration::from_secs(30 * 60 + 28));
        assert!(Arc::ptr_eq(&first, &verify().await.expect("valid")));
        clock.advance(Duration::from_secs(2));
        assert_eq!(verify().await, Err(Refused::Expired));
        assert_eq!(verify().await, Err(Refused::Expired), "forgotten");
    }

    #[tokio::test]
    async fn an_invalid_token_is_not_remembered() {
        let clock = Arc::new(SettableClock::default());
        let tokens = tokens(&clock);
        let token = tokens.sign(&claims(&clock)).expect("signed");
        let token = token.expose_secret();
        for other in ["", "a.b.c", &token[1..], &"a".repeat(MAX_TOKEN + 1)] {
            assert_eq!(tokens.verify(other).await, Err(Refused::Invalid));
        }
        tokens.verified.run_pending_tasks();
        assert_eq!(tokens.remembered(), 0);
    }

    #[tokio::test]
    async fn a_token_of_another_key_is_invalid() {
        let clock = Arc::new(SettableClock::default());
        let token = tokens(&clock).sign(&claims(&clock)).expect("signed");
        let verified = tokens(&clock).verify(token.expose_secret()).await;
        assert_eq!(verified, Err(Refused::Invalid));
    }
}
