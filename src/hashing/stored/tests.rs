//! Every format with vectors made by its own library; hostile texts.

use proptest::prelude::*;
use secrecy::SecretString;
use serde::Deserialize;

use super::*;
use crate::domain::PresentedPassword;

/// See `tests/vectors/foreign.py`.
#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    source: String,
    password: String,
    hash: String,
    /// Other passwords that match.
    also: Vec<String>,
    wrong: String,
    stored: String,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("vectors.json");
    let vectors: Vectors = serde_json::from_str(text).expect("the file of the script");
    vectors.vectors
}

fn presented(text: &str) -> PresentedPassword {
    PresentedPassword::parse(SecretString::from(text)).expect("accepted")
}

/// The verdict; of a lane and of the crate `bcrypt` alike.
fn verify(stored: &StoredHash, password: &str) -> bool {
    let password = presented(password);
    match &stored.0 {
        Kind::Alone(hash) => hash.verify(password.expose_bytes()).expect("done"),
        Kind::Lane(hash) => {
            let mut lane = hash.begin(&password);
            bcrypt_lanes::advance([&mut lane], u32::MAX);
            let verdict = hash.finish(lane).expect("it is done");
            assert_eq!(hash.verify(&password), verdict);
            verdict
        }
    }
}

/// Guarantee S9.
#[test]
fn every_vector_is_verified_before_and_after_its_import() {
    let vectors = vectors();
    assert!(vectors.len() > 80, "{}", vectors.len());
    for vector in vectors {
        let source = &vector.source;
        let imported = StoredHash::import(&vector.hash).expect(source);
        assert_eq!(imported.as_str(), vector.stored, "{source}");
        let again = StoredHash::import(imported.as_str()).expect(source);
        assert_eq!(again, imported, "{source}: an export can be imported");
        for text in [&vector.hash, &vector.stored] {
            let stored = StoredHash::parse(text).expect(source);
            assert!(verify(&stored, &vector.password), "{source}");
            for also in &vector.also {
                assert!(verify(&stored, also), "{source}");
            }
            assert!(!verify(&stored, &vector.wrong), "{source}");
            assert!(
                !verify(&stored, &format!(" {}", vector.password)),
                "{source}"
            );
        }
        // What its profile is counted by, without its last characters.
        let profile = StoredHash::parse(&vector.stored).expect(source).profile();
        let beginning: String = vector.stored.chars().take(48).collect();
        assert_eq!(Profile::of(&beginning), Some(profile), "{source}");
        let dummy = StoredHash::dummy(profile, [7; 16]);
        assert_eq!(dummy.profile(), profile);
        assert!(!verify(&dummy, &vector.password), "{source}");
    }
}

#[test]
fn only_the_format_of_new_hashes_is_current() {
    for vector in vectors() {
        let stored = StoredHash::parse(&vector.stored).expect("valid");
        let is_own = vector.stored.starts_with("$bcrypt-sha256$v=2,");
        assert_eq!(stored.is_current(5), is_own, "{}", vector.source);
        assert!(!stored.is_current(6), "{}", vector.source);
    }
}

/// 16 bytes, and 32.
const SALT: &str = "AAECAwQFBgcICQoLDA0ODw";
const DIGEST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const BCRYPT: &str = "C/CQCvOTDfaWEPmZF/ycFu2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG";

fn refused(text: &str) -> Option<Refused> {
    StoredHash::import(text).err()
}

/// Guarantee S10.
#[test]
fn parameters_are_bounded() {
    let argon2 = |costs: &str| format!("$argon2id$v=19${costs}${SALT}${DIGEST}");
    let scrypt = |costs: &str| format!("$scrypt${costs}${SALT}${DIGEST}");
    let firebase = |costs: &str| format!("$fbscrypt$v=1,{costs},ss=Bw,sk={DIGEST}${SALT}${DIGEST}");
    let pbkdf2 = |rounds: &str| format!("$pbkdf2-sha512${rounds}${SALT}${DIGEST}");
    for within in [
        argon2("m=262144,t=10,p=8"),
        argon2("m=8,t=1,p=1"),
        scrypt("ln=20,r=1,p=1"),
        scrypt("ln=1,r=1,p=524288"),
        scrypt("ln=16,r=8,p=2"),
        firebase("n=17,r=8,p=1"),
        pbkdf2("5000000"),
        pbkdf2("1"),
        format!("scrypt$65536$salt$8$2${DIGEST}"),
        format!("$2b$15${BCRYPT}"),
        format!("$2y$04${BCRYPT}"),
    ] {
        assert_eq!(refused(&within), None, "{within}");
    }
    for beyond in [
        argon2("m=262145,t=1,p=1"),
        argon2("m=4294967296,t=1,p=1"),
        argon2("m=99999999999999999999999,t=1,p=1"),
        argon2("m=64,t=11,p=1"),
        argon2("m=64,t=0,p=1"),
        argon2("m=64,t=1,p=0"),
        argon2("m=128,t=1,p=9"),
        argon2("m=15,t=1,p=2"),
        scrypt("ln=21,r=1,p=1"),
        scrypt("ln=0,r=8,p=1"),
        scrypt("ln=64,r=1,p=1"),
        scrypt("ln=4294967295,r=4294967295,p=4294967295"),
        scrypt("ln=16,r=8,p=3"),
        scrypt("ln=16,r=0,p=1"),
        scrypt("ln=16,r=1,p=0"),
        scrypt("ln=1,r=1,p=524289"),
        firebase("n=18,r=8,p=1"),
        firebase("n=14,r=8,p=4294967296"),
        pbkdf2("5000001"),
        pbkdf2("0"),
        format!("scrypt$65535$salt$8$1${DIGEST}"),
        format!("scrypt$0$salt$8$1${DIGEST}"),
        format!("pbkdf2_sha256$5000001$salt${DIGEST}"),
        format!("$pbkdf2-sha256$i=5000001,l=32${SALT}${DIGEST}"),
        format!("$2b$16${BCRYPT}"),
        format!("$2b$31${BCRYPT}"),
        format!("$2b$03${BCRYPT}"),
        format!("bcrypt_sha256$$2b$31${BCRYPT}"),
        "$bcrypt-sha256$v=2,t=2b,r=16$C/CQCvOTDfaWEPmZF/ycFu$2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG"
            .to_owned(),
        // Salts and digests.
        format!("$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBg${DIGEST}"),
        format!("$argon2id$v=19$m=64,t=1,p=1${SALT}$AAECAwQFBgcICQoLDA0O"),
        format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${}", "A".repeat(87)),
        format!("$scrypt$ln=4,r=8,p=1$${DIGEST}"),
        format!("$scrypt$ln=4,r=8,p=1${}${DIGEST}", "A".repeat(172)),
        format!("$pbkdf2-sha256$1${SALT}$"),
        "x".repeat(MAX_TEXT + 1),
    ] {
        assert_eq!(refused(&beyond), Some(Refused::OutOfBounds), "{beyond}");
        assert!(
            StoredHash::parse(&beyond).is_none_or(|hash| hash.is_current(16)),
            "{beyond}"
        );
    }
}

#[test]
fn other_texts_are_refused_with_their_reason() {
    for weak in [
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8",
        "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19",
        "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
        "$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.",
        "md5$salt$67a1e09bb1f83f5007dc119c14d663aa",
        "sha1$salt$59b3e8d637cf97edbe2384cf59cb7453dfe30789",
        "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "$P$B55D6LjfHDkINU5wF.v2BuuzO0/XPk/",
        "$pbkdf2$1000$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhM",
        r#"{"secretData":{"value":"AAECAwQFBgcICQoLDA0ODxAREhM=","salt":"AAEC"},"credentialData":{"hashIterations":20000,"algorithm":"pbkdf2"}}"#,
    ] {
        assert_eq!(refused(weak), Some(Refused::Weak), "{weak}");
    }
    for unknown in [
        "",
        "!",
        "password",
        "$6$salt$digest",
        "$2x$04$C/CQCvOTDfaWEPmZF/ycFu2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG",
        "$argon2d$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw",
        r#"{"type":"otp","secretData":"{}","credentialData":"{}"}"#,
        r#"{"secretData":{"value":"AAECAwQFBgcICQoLDA0ODxAREhM=","salt":"AAEC"},"credentialData":{"hashIterations":20000,"algorithm":"other"}}"#,
    ] {
        assert_eq!(refused(unknown), Some(Refused::Unknown), "{unknown}");
    }
    for malformed in [
        format!("$argon2id$v=18$m=64,t=1,p=1${SALT}${DIGEST}"),
        format!("$argon2id$v=19$m=64,t=1${SALT}${DIGEST}"),
        format!("$argon2id$v=19$m=64,t=1,p=1,data=AA${SALT}${DIGEST}"),
        format!("$argon2id$v=19$t=1,m=64,p=1${SALT}${DIGEST}"),
        format!("$argon2id$v=19$m=064,t=1,p=1${SALT}${DIGEST}"),
        format!("$argon2id$v=19$m=-64,t=1,p=1${SALT}${DIGEST}"),
        format!("$argon2id$v=19$m=64,t=1,p=1${SALT}"),
        format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${DIGEST}$"),
        format!("$argon2id$v=19$m=64,t=1,p=1${SALT}$*{DIGEST}"),
        format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${DIGEST}ž"),
        format!("$scrypt$n=4,r=8,p=1${SALT}${DIGEST}"),
        format!("$scrypt$ln=4,r=8,p=1${SALT} ${DIGEST}"),
        format!("$pbkdf2-sha256$x${SALT}${DIGEST}"),
        format!("$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0OD+${DIGEST}"),
        format!("$pbkdf2-sha256$i=1,l=31${SALT}${DIGEST}"),
        format!("$pbkdf2-sha256$i=1,l=32,x=1${SALT}${DIGEST}"),
        format!("$fbscrypt$v=2,n=14,r=8,p=1,ss=Bw,sk={DIGEST}${SALT}${DIGEST}"),
        format!("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw${SALT}${DIGEST}"),
        format!("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw,sk={SALT}${SALT}${DIGEST}"),
        format!("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw,sk={DIGEST},x=1${SALT}${DIGEST}"),
        format!("$2b$1${BCRYPT}"),
        format!("$2b$010${BCRYPT}"),
        format!("$2b$10${}", &BCRYPT[1..]),
        format!("$2b$10${BCRYPT}."),
        format!("$2b$10$ž{}", &BCRYPT[2..]),
        "{".to_owned(),
        "{}".to_owned(),
        r#"{"secretData":"{","credentialData":"{}"}"#.to_owned(),
        format!(
            r#"{{"secretData":{{"value":"{DIGEST}","salt":"AAEC"}},"credentialData":{{"hashIterations":-1,"algorithm":"pbkdf2-sha256"}}}}"#
        ),
    ] {
        assert_eq!(refused(&malformed), Some(Refused::Malformed), "{malformed}");
    }
}

/// A text of a format with some characters replaced, inserted or left out.
fn mutated() -> impl Strategy<Value = String> {
    let texts: Vec<String> = vectors().into_iter().map(|vector| vector.hash).collect();
    let change = (
        any::<prop::sample::Index>(),
        0..4_u8,
        "[$=,0-9a-zA-Z./+{}\"\\PC]",
    );
    (
        prop::sample::select(texts),
        prop::collection::vec(change, 1..6),
    )
        .prop_map(|(text, changes)| {
            let mut characters: Vec<char> = text.chars().collect();
            for (at, how, new) in changes {
                let at = at.index(characters.len().max(1)).min(characters.len());
                let new = new.chars().next().unwrap_or('9');
                match how {
                    0 if at < characters.len() => characters[at] = new,
                    1 if at < characters.len() => drop(characters.remove(at)),
                    2 => characters.truncate(at),
                    _ => characters.insert(at, new),
                }
            }
            characters.into_iter().collect()
        })
}

/// Whether verifying it takes milliseconds.
fn is_cheap(stored: &StoredHash) -> bool {
    match stored.profile() {
        Profile::Bcrypt { cost } => cost <= 6,
        Profile::Argon2(of) => of.work() <= 10_000,
        Profile::Scrypt(of) => of.work() <= 10_000,
        Profile::Pbkdf2(of) => of.work() <= 10_000,
    }
}

proptest! {
    /// Guarantee S10.
    #[test]
    fn no_text_makes_a_panic(text in prop_oneof![mutated(), "\\PC{0,200}"]) {
        let _ = Profile::of(&text);
        let Ok(imported) = StoredHash::import(&text) else {
            return Ok(());
        };
        let stored = StoredHash::parse(imported.as_str()).expect("what is imported is read");
        if is_cheap(&stored) {
            verify(&stored, "correct horse battery staple");
        }
        prop_assert_eq!(Profile::of(imported.as_str()), Some(stored.profile()));
    }
}
