//! Tokens that an attacker, or another issuer, could present.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proptest::prelude::*;
use rstest::rstest;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Claims, MAX_TOKEN, Parties, Refused, SignError, Unverified, sign};
use crate::config::TokenAlgorithm;
use crate::domain::{SessionId, TokenEpoch, UserId};
use crate::tokens::signing_keys::SigningKey;

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(TokenAlgorithm::Es256).expect("generated"));

static RSA: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(TokenAlgorithm::Rs256).expect("generated"));

fn parties() -> Parties {
    Parties {
        issuer: "https://signup.example".to_owned(),
        audience: "https://api.example".to_owned(),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_800_000_000)
}

fn claims() -> Claims {
    Claims {
        sub: UserId::new(Uuid::from_u128(1)),
        exp: now() + TimeDelta::minutes(30),
        iat: now(),
        jti: Uuid::from_u128(2),
        client_id: "first-party".to_owned(),
        sid: SessionId::new(Uuid::from_u128(3)),
        auth_time: now(),
        amr: vec!["pwd".to_owned()],
        roles: vec!["user".to_owned(), "support".to_owned()],
        epoch: TokenEpoch::new(7),
    }
}

fn token() -> String {
    let token = sign(&claims(), &KEY, &parties()).expect("signed");
    token.expose_secret().to_owned()
}

/// Verifies a token as a service with both keys does.
fn verify(token: &str) -> Result<Claims, Refused> {
    let unverified = Unverified::parse(token)?;
    let key = [&*KEY, &*RSA]
        .into_iter()
        .find(|key| key.kid() == unverified.kid())
        .ok_or(Refused::Invalid)?;
    unverified.verify(key, &parties(), now())
}

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": KEY.kid(), "typ": "at+jwt"})
}

/// The members of a valid token.
fn members() -> Value {
    let token = token();
    let payload = token.split('.').nth(1).expect("three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64");
    serde_json::from_slice(&payload).expect("JSON")
}

/// A token of these texts, with a genuine signature.
fn genuine(header: &str, members: &str) -> String {
    let message = [encode(header), encode(members)].join(".");
    let signature = crypto::sign(message.as_bytes(), KEY.signing(), Algorithm::ES256);
    [message, signature.expect("signed")].join(".")
}

fn genuine_with_header(change: impl FnOnce(&mut Value)) -> String {
    let mut header = header();
    change(&mut header);
    genuine(&header.to_string(), &members().to_string())
}

fn genuine_with(change: impl FnOnce(&mut Value)) -> String {
    let mut members = members();
    change(&mut members);
    genuine(&header().to_string(), &members.to_string())
}

#[rstest]
fn a_genuine_token_is_valid(
    #[values(TokenAlgorithm::Es256, TokenAlgorithm::Rs256)] algorithm: TokenAlgorithm,
) {
    let key = if algorithm == TokenAlgorithm::Es256 {
        &KEY
    } else {
        &RSA
    };
    let token = sign(&claims(), key, &parties()).expect("signed");
    assert_eq!(verify(token.expose_secret()), Ok(claims()));
    assert_eq!(
        verify(&genuine_with(|_| {})),
        Ok(claims()),
        "as the helper makes it"
    );
}

/// The form that other services read.
#[test]
fn a_token_has_the_claims_of_the_contract() {
    let token = token();
    let header = token.split('.').next().expect("three parts");
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64")).expect("JSON");
    assert_eq!(header, self::header());
    let expected = json!({
        "iss": "https://signup.example",
        "aud": "https://api.example",
        "type": "access",
        "sub": "00000000-0000-0000-0000-000000000001",
        "exp": 1_800_001_800,
        "iat": 1_800_000_000,
        "jti": "00000000-0000-0000-0000-000000000002",
        "client_id": "first-party",
        "sid": "00000000-0000-0000-0000-000000000003",
        "auth_time": 1_800_000_000,
        "amr": ["pwd"],
        "roles": ["user", "support"],
        "epoch": 7,
    });
    assert_eq!(members(), expected);
}

#[test]
fn claims_of_a_later_release_are_ignored() {
    let token = genuine_with(|members| members["cnf"] = json!({"jkt": "x"}));
    assert_eq!(verify(&token), Ok(claims()));
}

#[rstest]
fn a_token_without_a_signature(#[values("none", "None", "NONE", "nOnE", "")] alg: &str) {
    let header = json!({"alg": alg, "kid": KEY.kid(), "typ": "at+jwt"}).to_string();
    let message = [encode(&header), encode(members().to_string())].join(".");
    let signed = token();
    let signature = signed.rsplit('.').next().expect("three parts");
    for token in [
        message.clone(),
        format!("{message}."),
        format!("{message}.."),
        format!("{message}.{signature}"),
        genuine(&header, &members().to_string()),
    ] {
        assert_eq!(verify(&token), Err(Refused::Invalid), "{token}");
    }
    let (unsigned, _) = signed.rsplit_once('.').expect("three parts");
    assert_eq!(verify(&format!("{unsigned}.")), Err(Refused::Invalid));
    assert_eq!(verify(unsigned), Err(Refused::Invalid));
}

/// A validator that takes the algorithm from the header would use the public key as a secret.
#[test]
fn a_mac_under_the_public_key() {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, KEY.pkcs8());
    let pair = pair.expect("read");
    let der: PublicKeyX509Der = pair.public_key().as_der().expect("written");
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der.as_ref()));
    let jwk = KEY.jwk().to_string();
    let numbers = [KEY.jwk()["x"].as_str(), KEY.jwk()["y"].as_str()];
    let numbers = numbers.map(|number| number.expect("text")).concat();
    let secrets: [&[u8]; 8] = [
        pem.as_bytes(),
        pem.trim_end().as_bytes(),
        der.as_ref(),
        pair.public_key().as_ref(),
        jwk.as_bytes(),
        numbers.as_bytes(),
        KEY.kid().as_bytes(),
        b"",
    ];
    for secret in secrets {
        let secret = EncodingKey::from_secret(secret);
        for (alg, used) in [
            ("HS256", Algorithm::HS256),
            ("HS384", Algorithm::HS384),
            ("HS512", Algorithm::HS512),
            ("ES256", Algorithm::HS256),
        ] {
            let header = json!({"alg": alg, "kid": KEY.kid(), "typ": "at+jwt"});
            let message = [encode(header.to_string()), encode(members().to_string())].join(".");
            let mac = crypto::sign(message.as_bytes(), &secret, used).expect("signed");
            assert_eq!(
                verify(&format!("{message}.{mac}")),
                Err(Refused::Invalid),
                "{alg}"
            );
        }
    }
}

#[test]
fn an_algorithm_that_is_not_the_keys() {
    for alg in [
        "RS256", "ES384", "PS256", "EdDSA", "HS256", "es256", "ES256 ",
    ] {
        let token = genuine_with_header(|header| header["alg"] = json!(alg));
        assert_eq!(verify(&token), Err(Refused::Invalid), "{alg}");
    }
    let token = genuine_with_header(|header| header["kid"] = json!(RSA.kid()));
    assert_eq!(verify(&token), Err(Refused::Invalid), "the other key's id");
    let token = genuine_with_header(|header| {
        *header = json!({"alg": "RS256", "kid": RSA.kid(), "typ": "at+jwt"});
    });
    assert_eq!(
        verify(&token),
        Err(Refused::Invalid),
        "the other key's id and algorithm"
    );
}

#[test]
fn a_key_id_that_is_none() {
    let long = "a".repeat(10 * 1024);
    let unknown = "a".repeat(KEY.kid().len());
    for kid in [
        "",
        "../../etc/passwd",
        "../../../../../../../../../../../etc/passwd",
        "' OR 1=1",
        "' OR 1=1; DROP TABLE signing_keys; -- aaaaa",
        "https://attacker.example/key.pem/aaaaaaaaaa",
        "\u{0}",
        &long,
        &unknown,
        &KEY.kid()[1..],
        &format!("{} ", KEY.kid()),
    ] {
        let token = genuine_with_header(|header| header["kid"] = json!(kid));
        assert_eq!(verify(&token), Err(Refused::Invalid), "{kid}");
    }
    for kid in [
        json!(null),
        json!(1),
        json!([KEY.kid()]),
        json!({"a": KEY.kid()}),
    ] {
        let token = genuine_with_header(|header| header["kid"] = kid.clone());
        assert_eq!(verify(&token), Err(Refused::Invalid), "{kid}");
    }
    let token = genuine_with_header(|header| {
        header.as_object_mut().expect("an object").remove("kid");
    });
    assert_eq!(verify(&token), Err(Refused::Invalid), "no id");
}

/// Only an id that could be one is looked up.
#[test]
fn a_hostile_key_id_is_refused_before_the_look_up() {
    for kid in [
        "' OR 1=1; DROP TABLE signing_keys; -- aaaaa",
        "../../etc/passwd",
        "",
    ] {
        let token = genuine_with_header(|header| header["kid"] = json!(kid));
        assert!(Unverified::parse(&token).is_err(), "{kid}");
    }
    let token = genuine_with_header(|header| header["kid"] = json!("a".repeat(43)));
    assert!(Unverified::parse(&token).is_ok());
}

#[test]
fn a_header_with_anything_else_in_it() {
    let jwk = KEY.jwk().clone();
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("http://127.0.0.1:1/jwks.json")),
        ("x5u", json!("http://127.0.0.1:1/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("x")),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
        ("x", json!(1)),
    ] {
        let token = genuine_with_header(|header| header[name] = value);
        assert_eq!(verify(&token), Err(Refused::Invalid), "{name}");
    }
}

#[test]
fn another_type_of_token() {
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!("AT+JWT"),
        json!(""),
        json!(null),
    ] {
        let token = genuine_with_header(|header| header["typ"] = typ.clone());
        assert_eq!(verify(&token), Err(Refused::Invalid), "{typ}");
    }
    for kind in [
        json!("refresh"),
        json!("id"),
        json!(""),
        json!(["access"]),
        json!(null),
    ] {
        let token = genuine_with(|members| members["type"] = kind.clone());
        assert_eq!(verify(&token), Err(Refused::Invalid), "{kind}");
    }
}

#[test]
fn duplicate_members() {
    let (header, members) = (header().to_string(), members().to_string());
    let with = |object: &str, more: &str| format!("{},{more}}}", &object[..object.len() - 1]);
    assert_eq!(verify(&genuine(&header, &members)), Ok(claims()));
    for more in [
        r#""alg":"ES256""#.to_owned(),
        r#""typ":"at+jwt""#.to_owned(),
        r#""\u0061lg":"ES256""#.to_owned(),
        format!(r#""kid":"{}""#, KEY.kid()),
    ] {
        let token = genuine(&with(&header, &more), &members);
        assert_eq!(verify(&token), Err(Refused::Invalid), "{more}");
    }
    for more in [
        r#""sub":"00000000-0000-0000-0000-000000000001""#,
        r#""sub":"00000000-0000-0000-0000-000000000009""#,
        r#""exp":1900000000"#,
        r#""\u0065xp":1900000000"#,
        r#""roles":["admin"]"#,
        r#""later":1,"later":2"#,
        r#""later":{"a":1,"a":2}"#,
    ] {
        let token = genuine(&header, &with(&members, more));
        assert_eq!(verify(&token), Err(Refused::Invalid), "{more}");
    }
}

#[test]
fn a_missing_or_mistyped_claim() {
    let names: Vec<String> = members()
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    for name in &names {
        let token = genuine_with(|members| {
            members.as_object_mut().expect("an object").remove(name);
        });
        assert_eq!(verify(&token), Err(Refused::Invalid), "without {name}");
        for wrong in [json!(null), json!({}), json!(-1.5), json!("")] {
            let token = genuine_with(|members| members[name] = wrong.clone());
            let verified = verify(&token);
            // Any text is a client's name.
            let is_text = name == "client_id" && wrong.is_string();
            assert_eq!(verified.is_ok(), is_text, "{name} is {wrong}");
        }
    }
    for (header, members) in [
        ("[]", members().to_string()),
        (&*header().to_string(), "[]".to_owned()),
        (&*header().to_string(), String::new()),
        (&*header().to_string(), "null".to_owned()),
        (
            &*format!(r#"["ES256","{}","at+jwt"]"#, KEY.kid()),
            members().to_string(),
        ),
    ] {
        assert_eq!(
            verify(&genuine(header, &members)),
            Err(Refused::Invalid),
            "{header}"
        );
    }
}

#[test]
fn a_token_of_another_deployment_or_for_another_service() {
    for name in ["iss", "aud"] {
        let right = members()[name].clone();
        let text = right.as_str().expect("text").to_owned();
        for wrong in [
            json!("https://other.example"),
            json!(format!("{text}/")),
            json!(text.to_uppercase()),
            json!([right]),
            json!([right, "https://other.example"]),
            json!([]),
            json!(""),
        ] {
            let token = genuine_with(|members| members[name] = wrong.clone());
            assert_eq!(verify(&token), Err(Refused::Invalid), "{name} is {wrong}");
        }
    }
}

#[rstest]
#[case::valid("exp", 1, Ok(()))]
#[case::just_expired("exp", -29, Ok(()))]
#[case::expired("exp", -30, Err(Refused::Expired))]
#[case::long_expired("exp", -31, Err(Refused::Expired))]
#[case::ahead("iat", 59, Ok(()))]
#[case::at_the_leeway("iat", 60, Ok(()))]
#[case::too_far_ahead("iat", 61, Err(Refused::Invalid))]
#[case::old("iat", -1_000_000, Ok(()))]
fn times(#[case] name: &str, #[case] seconds: i64, #[case] expected: Result<(), Refused>) {
    let token = genuine_with(|members| members[name] = json!(now().timestamp() + seconds));
    assert_eq!(verify(&token).map(drop), expected);
}

#[test]
fn times_out_of_any_range() {
    for time in [
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!("1"),
    ] {
        for name in ["exp", "iat", "auth_time"] {
            let token = genuine_with(|members| members[name] = time.clone());
            assert_eq!(verify(&token), Err(Refused::Invalid), "{name} is {time}");
        }
    }
    let far = DateTime::<Utc>::MAX_UTC.timestamp();
    assert!(verify(&genuine_with(|members| members["exp"] = json!(far))).is_ok());
    let past = DateTime::<Utc>::MIN_UTC.timestamp();
    let token = genuine_with(|members| members["exp"] = json!(past));
    assert!(verify(&token).is_err());
    assert_eq!(
        verify(&genuine_with(|members| members["exp"] = json!(0))),
        Err(Refused::Expired)
    );
}

/// The expiry of a token that is also invalid is not confirmed.
#[test]
fn only_a_genuine_token_is_reported_as_expired() {
    let expired = genuine_with(|members| members["exp"] = json!(now().timestamp() - 60));
    assert_eq!(verify(&expired), Err(Refused::Expired));
    let (message, _) = expired.rsplit_once('.').expect("three parts");
    let other = SigningKey::generate(TokenAlgorithm::Es256).expect("generated");
    let signature = crypto::sign(message.as_bytes(), other.signing(), Algorithm::ES256);
    let forged = [message, &signature.expect("signed")].join(".");
    assert_eq!(verify(&forged), Err(Refused::Invalid));
}

#[test]
fn a_signature_in_another_form() {
    let token = token();
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    // DER, as X.509 has it, and zeros: "psychic signatures".
    let mut der = vec![0x30, 0x44, 0x02, 0x20];
    der.extend_from_slice(&bytes[..32]);
    der.extend_from_slice(&[0x02, 0x20]);
    der.extend_from_slice(&bytes[32..]);
    for other in [
        der,
        vec![0; 64],
        bytes[..63].to_vec(),
        [&bytes[..], &[0]].concat(),
    ] {
        let token = format!("{message}.{}", encode(other));
        assert_eq!(verify(&token), Err(Refused::Invalid));
    }
}

#[test]
fn other_texts() {
    let token = token();
    let long = "a".repeat(MAX_TOKEN + 1);
    let many = "a.".repeat(1_000);
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        &format!("{token}.x"),
        &format!("{token}="),
        &format!("{token} "),
        &format!(" {token}"),
        &token.replace('.', ".."),
        &long,
        &many,
        "é.é.é",
    ] {
        assert_eq!(verify(text), Err(Refused::Invalid), "{text}");
    }
}

#[test]
fn a_token_is_never_longer_than_what_is_read() {
    let with_roles = |count| {
        let claims = Claims {
            roles: vec!["r".repeat(10); count],
            ..claims()
        };
        sign(&claims, &KEY, &parties())
    };
    let longest = (0..1_000)
        .take_while(|count| with_roles(*count).is_ok())
        .last();
    let longest = longest.expect("some roles fit");
    assert_eq!(with_roles(longest + 1).map(|_| ()), Err(SignError::TooLong));
    let token = with_roles(longest).expect("signed");
    assert!(verify(token.expose_secret()).is_ok());
}

proptest! {
    #[test]
    fn any_changed_byte_is_refused(at in 0_usize..2_000, to in 0_u8..128) {
        let token = token();
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = to;
        let changed = String::from_utf8(changed).expect("ASCII");
        prop_assume!(changed != token);
        prop_assert_eq!(verify(&changed), Err(Refused::Invalid));
    }

    #[test]
    fn any_removed_or_inserted_byte_is_refused(at in 0_usize..2_000, to in 0_u8..128) {
        let token = token();
        let at = at % token.len();
        let (before, after) = token.split_at(at);
        let inserted = [before, &char::from(to).to_string(), after].concat();
        prop_assert_eq!(verify(&inserted), Err(Refused::Invalid));
        let removed = [before, &after[1..]].concat();
        prop_assert_eq!(verify(&removed), Err(Refused::Invalid));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,60}(\\.\\PC{0,60}){0,3}") {
        prop_assert_eq!(verify(&text), Err(Refused::Invalid));
    }

    #[test]
    fn any_claims_are_read_back(epoch: i32, sub: u128, sid: u128, roles in prop::collection::vec("\\PC{0,20}", 0..5)) {
        let claims = Claims {
            sub: UserId::new(Uuid::from_u128(sub)),
            sid: SessionId::new(Uuid::from_u128(sid)),
            epoch: TokenEpoch::new(epoch),
            roles,
            ..claims()
        };
        let token = sign(&claims, &KEY, &parties()).expect("signed");
        prop_assert_eq!(verify(token.expose_secret()), Ok(claims));
    }
}
