//! A signing key: its private half, its public half as a JWK, and its id.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::TokenAlgorithm;

/// Characters of a [`SigningKey::kid`]: SHA-256 in base64url.
pub const KID: usize = 43;

/// A key cannot be made or used. The text is one line for the terminal, without any of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The PEM text has no private key in it.
    #[error("it has no private key in PEM")]
    NoKey,
    /// The private key is encrypted with a password.
    #[error("the private key is encrypted; decrypt it, and restrict who may read its file")]
    Encrypted,
    /// The private key is neither P-256 nor RSA, or too short.
    #[error("the private key is neither P-256 nor RSA of 2048 to 8192 bits")]
    Unsupported,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Failed,
}

/// A private key of either algorithm, with what is needed to use and publish it.
pub struct SigningKey {
    kid: String,
    algorithm: TokenAlgorithm,
    jwk: Value,
    pkcs8: Zeroizing<Vec<u8>>,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a new key: P-256, or RSA of 2048 bits, which takes a core some tenths of a second.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate(algorithm: TokenAlgorithm) -> Result<Self, KeyError> {
        match algorithm {
            TokenAlgorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map_err(|_| KeyError::Failed)
                .and_then(|pair| Self::of_p256(&pair)),
            TokenAlgorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .map_err(|_| KeyError::Failed)
                .and_then(|pair| Self::of_rsa(&pair)),
        }
    }

    /// Reads a private key in PKCS#8 (RFC 5958).
    ///
    /// # Errors
    /// When it is not a valid key of this algorithm.
    pub fn from_pkcs8(algorithm: TokenAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            TokenAlgorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                    .map_err(|_| KeyError::Unsupported)
                    .and_then(|pair| Self::of_p256(&pair))
            }
            TokenAlgorithm::Rs256 => RsaKeyPair::from_pkcs8(pkcs8)
                .map_err(|_| KeyError::Unsupported)
                .and_then(|pair| Self::of_rsa(&pair)),
        }
    }

    /// Reads the first private key of a PEM text (RFC 7468): PKCS#8, SEC 1 or PKCS#1. The algorithm follows
    /// from the key.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_pem(pem: &SecretString) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(pem.expose_secret()).map_err(|_| KeyError::NoKey)?;
        // The parameters of a curve may be a block before the key.
        let block = blocks
            .into_iter()
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or(KeyError::NoKey)?;
        let tag = block.tag().to_owned();
        let der = Zeroizing::new(block.into_contents());
        match tag.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(TokenAlgorithm::Es256, &der)
                .or_else(|_| Self::from_pkcs8(TokenAlgorithm::Rs256, &der)),
            "EC PRIVATE KEY" => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
                    .map_err(|_| KeyError::Unsupported)
                    .and_then(|pair| Self::of_p256(&pair))
            }
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der)
                .map_err(|_| KeyError::Unsupported)
                .and_then(|pair| Self::of_rsa(&pair)),
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            _ => Err(KeyError::Unsupported),
        }
    }

    fn of_p256(pair: &EcdsaKeyPair) -> Result<Self, KeyError> {
        // An uncompressed point (SEC 1, section 2.3.3): 4, x, y.
        let point = pair.public_key().as_ref();
        let (x, y) = match point.split_first() {
            Some((4, rest)) if rest.len() == 64 => rest.split_at(32),
            _ => return Err(KeyError::Failed),
        };
        let public = PublicKey::P256 {
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        };
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::Failed)?;
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        let signing = EncodingKey::from_ec_der(&pkcs8);
        Ok(Self::new(
            &public,
            pkcs8,
            signing,
            DecodingKey::from_ec_der(point),
        ))
    }

    fn of_rsa(pair: &RsaKeyPair) -> Result<Self, KeyError> {
        let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::from(pair.public_key());
        let public = PublicKey::Rsa {
            n: URL_SAFE_NO_PAD.encode(&n),
            e: URL_SAFE_NO_PAD.encode(&e),
        };
        let document = pair.as_der().map_err(|_| KeyError::Failed)?;
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        // The library takes PKCS#8 of RSA in PEM only.
        let block = pem::Pem::new("PRIVATE KEY", pkcs8.to_vec());
        let text = Zeroizing::new(pem::encode(&block));
        let signing = EncodingKey::from_rsa_pem(text.as_bytes()).map_err(|_| KeyError::Failed)?;
        let verifying = DecodingKey::from_rsa_raw_components(&n, &e);
        Ok(Self::new(&public, pkcs8, signing, verifying))
    }

    fn new(
        public: &PublicKey,
        pkcs8: Zeroizing<Vec<u8>>,
        signing: EncodingKey,
        verifying: DecodingKey,
    ) -> Self {
        // Without a provider, the library panics at first use. Another call may have installed the same one.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let kid = public.thumbprint();
        Self {
            jwk: public.jwk(&kid),
            kid,
            algorithm: public.algorithm(),
            pkcs8,
            signing,
            verifying,
        }
    }

    /// The id: the thumbprint of the public key (RFC 7638), so that no two keys share one, whatever is
    /// restored from a backup.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> TokenAlgorithm {
        self.algorithm
    }

    /// The public key as a JWK (RFC 7517) for signatures.
    #[must_use]
    pub const fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// The private key in PKCS#8.
    pub(in crate::tokens) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The private half.
    pub(in crate::tokens) const fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    /// The public half.
    pub(in crate::tokens) const fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }
}

/// The numbers of a public key, in base64url.
enum PublicKey {
    P256 { x: String, y: String },
    Rsa { n: String, e: String },
}

impl PublicKey {
    const fn algorithm(&self) -> TokenAlgorithm {
        match self {
            Self::P256 { .. } => TokenAlgorithm::Es256,
            Self::Rsa { .. } => TokenAlgorithm::Rs256,
        }
    }

    /// The hash of the required members in alphabetical order, without white space (RFC 7638, section 3.2).
    fn thumbprint(&self) -> String {
        let members = match self {
            Self::P256 { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(members))
    }

    fn jwk(&self, kid: &str) -> Value {
        let alg = self.algorithm().name();
        match self {
            Self::P256 { x, y } => json!({
                "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": alg, "use": "sig",
            }),
            Self::Rsa { n, e } => json!({
                "kty": "RSA", "n": n, "e": e, "kid": kid, "alg": alg, "use": "sig",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::EcPrivateKeyRfc5915Der;
    use rstest::rstest;

    use super::*;

    /// The example of RFC 7638, section 3.1.
    #[test]
    fn the_thumbprint_of_the_rfc() {
        let public = PublicKey::Rsa {
            n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw".to_owned(),
            e: "AQAB".to_owned(),
        };
        assert_eq!(
            public.thumbprint(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    /// The EC key of RFC 7517, appendix A.1; its thumbprint computed with Python's `hashlib`.
    #[test]
    fn the_thumbprint_of_an_ec_key() {
        let public = PublicKey::P256 {
            x: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4".to_owned(),
            y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM".to_owned(),
        };
        assert_eq!(
            public.thumbprint(),
            "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
        );
    }

    #[rstest]
    #[case(TokenAlgorithm::Es256, &["alg", "crv", "kid", "kty", "use", "x", "y"])]
    #[case(TokenAlgorithm::Rs256, &["alg", "e", "kid", "kty", "n", "use"])]
    fn a_key_is_published_without_its_private_half(
        #[case] algorithm: TokenAlgorithm,
        #[case] expected: &[&str],
    ) {
        let key = SigningKey::generate(algorithm).expect("generated");
        let mut members: Vec<&String> = key.jwk().as_object().expect("an object").keys().collect();
        members.sort();
        assert_eq!(members, expected);
        assert_eq!(key.jwk()["kid"], key.kid());
        assert_eq!(key.kid().len(), KID);
        assert_eq!(key.jwk()["alg"], algorithm.name());
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey {{ kid: {:?}, .. }}", key.kid())
        );
    }

    #[rstest]
    fn a_key_is_read_back(
        #[values(TokenAlgorithm::Es256, TokenAlgorithm::Rs256)] algorithm: TokenAlgorithm,
    ) {
        let key = SigningKey::generate(algorithm).expect("generated");
        let again = SigningKey::from_pkcs8(algorithm, key.pkcs8()).expect("read");
        assert_eq!((again.kid(), again.jwk()), (key.kid(), key.jwk()));
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", key.pkcs8()));
        let from_pem = SigningKey::from_pem(&SecretString::from(pem)).expect("read");
        assert_eq!(from_pem.kid(), key.kid());
        assert_eq!(from_pem.algorithm(), algorithm);
    }

    /// As `openssl` prints them: SEC 1 with the parameters before the key, and PKCS#1.
    #[test]
    fn a_key_in_an_older_form_is_read() {
        let key = SigningKey::generate(TokenAlgorithm::Es256).expect("generated");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.pkcs8());
        let pair = pair.expect("read");
        let sec_1: EcPrivateKeyRfc5915Der = pair.private_key().as_der().expect("written");
        let blocks = [
            pem::Pem::new("EC PARAMETERS", [6, 0]),
            pem::Pem::new("EC PRIVATE KEY", sec_1.as_ref()),
        ];
        let text = SecretString::from(pem::encode_many(&blocks));
        let read = SigningKey::from_pem(&text).expect("read");
        assert_eq!(read.kid(), key.kid());

        let key = SigningKey::generate(TokenAlgorithm::Rs256).expect("generated");
        let block = pem::Pem::new("RSA PRIVATE KEY", key.signing().as_bytes());
        let text = SecretString::from(pem::encode(&block));
        let read = SigningKey::from_pem(&text).expect("read");
        assert_eq!(read.kid(), key.kid());
    }

    #[test]
    fn other_texts_are_refused() {
        let of = |text: &str| SigningKey::from_pem(&SecretString::from(text)).map(|_| ());
        assert_eq!(of(""), Err(KeyError::NoKey));
        assert_eq!(of("-----BEGIN PRIVATE KEY-----\n"), Err(KeyError::NoKey));
        for (tag, error) in [
            ("PUBLIC KEY", KeyError::NoKey),
            ("PRIVATE KEY", KeyError::Unsupported),
            ("EC PRIVATE KEY", KeyError::Unsupported),
            ("RSA PRIVATE KEY", KeyError::Unsupported),
            ("OPENSSH PRIVATE KEY", KeyError::Unsupported),
            ("ENCRYPTED PRIVATE KEY", KeyError::Encrypted),
        ] {
            let text = format!("-----BEGIN {tag}-----\nAAAA\n-----END {tag}-----\n");
            assert_eq!(of(&text), Err(error), "{tag}");
        }
    }
}
