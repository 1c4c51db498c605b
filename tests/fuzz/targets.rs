//! The parsers of client input, each with its worst known inputs.
//!
//! To add one, add a row to [`targets`]: the parser, the properties of its result, tokens of its
//! grammar, and slow inputs. The benchmark `hostile` times the same inputs.

use std::net::SocketAddr;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use signup_service::config::{MailUrl, Settings, SmtpTls, Sources};
use signup_service::domain::{Candidate, Email, Name};
use signup_service::hashing::{PROFILE_CHARS, Profile, StoredHash};
use signup_service::http::json::parse_object;
use signup_service::http::middleware::client::TrustedProxies;
use signup_service::http::middleware::head::is_host;
use signup_service::idempotency::IdempotencyKey;
use signup_service::platform::telemetry::Sampling;
use signup_service::slices::accounts::import::{Entry, MAX_LINE};
use signup_service::slices::accounts::list_users::{Parameters, cursor};
use signup_service::slices::accounts::signup::SignUpRequest;
use signup_service::tokens::access_token::{MAX_TOKEN, Unverified};
use signup_service::tokens::one_time;
use signup_service::tokens::refresh::RefreshToken;
use signup_service::tokens::service_key;

/// The largest body, and the largest head, in bytes.
const BODY: usize = 16 * 1024;
const HEAD: usize = 128 * 1024;
/// The longest target of a request.
const TARGET: usize = 8 * 1024;

/// A token of a mail that has the form of one.
const MAIL_TOKEN: &str = "AZrZ0R12cAC4dXwQ4KLnSREmn0LsM4X7ML0jtgwuhj1Xr_4JTpLCAAAAAAAAAAA-";

/// The outcome of parsing: a word and a size. An input with a new outcome is interesting.
pub type Outcome = (&'static str, usize);

/// A parser.
pub struct Target {
    pub name: &'static str,
    /// Parses an input, with the same work as for a request.
    pub parse: fn(&[u8]) -> Outcome,
    /// Panics if a property of the parser does not hold.
    pub check: fn(&[u8]),
    /// Tokens of its grammar.
    pub words: &'static [&'static str],
    /// Inputs known to be slow.
    pub worst: fn() -> Vec<Vec<u8>>,
    /// The longest input that can reach it, in bytes.
    pub longest: usize,
}

/// All parsers.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "name",
            parse: |bytes| match Name::parse(&text(bytes)) {
                Ok(name) => ("ok", name.as_str().len() / 64),
                Err(rule) => (rule.code, 0),
            },
            check: |bytes| {
                if let Ok(name) = Name::parse(&text(bytes)) {
                    let again = Name::parse(name.as_str()).expect("it was valid");
                    assert_eq!(again.as_str(), name.as_str());
                    assert!((1..=255).contains(&name.as_str().chars().count()));
                }
            },
            words: &[
                "\u{200d}",
                "\u{200c}",
                "\u{fe0f}",
                "\u{e0100}",
                "\u{e0067}",
                "\u{e007f}",
                "🏴",
                "👨",
                "🏽",
                "क",
                "\u{94d}",
                "ی",
                "\u{301}",
                "\u{202e}",
                "\u{2028}",
                "\u{3164}",
                "\u{2800}",
                " ",
                "\u{1f1eb}",
            ],
            worst: || {
                let mut worst = many(
                    BODY,
                    &[
                        "a", " ", "\u{3000}", "\u{202f}", "\u{200b}", "\0", "🚀", "a\u{301}",
                    ],
                );
                for unit in [
                    "a",
                    "é",
                    "क",
                    "葛\u{e0100}",
                    "👨\u{200d}",
                    "क\u{94d}\u{200d}",
                    "ی\u{200c}",
                    "a\u{301}",
                    "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
                    "\u{378}",
                ] {
                    worst.push(
                        unit.chars()
                            .cycle()
                            .take(255)
                            .collect::<String>()
                            .into_bytes(),
                    );
                }
                let joined = format!("ی{}\u{200c}", "\u{301}".repeat(252));
                worst.push(format!("{joined}ر").into_bytes());
                worst
            },
            longest: BODY,
        },
        Target {
            name: "email",
            parse: |bytes| match Email::parse(&text(bytes)) {
                Ok(email) => ("ok", email.canonical().len() / 32),
                Err(rule) => (rule.code, 0),
            },
            check: |bytes| {
                if let Ok(email) = Email::parse(&text(bytes)) {
                    let canonical = email.canonical();
                    assert!(canonical.is_ascii() && canonical.len() <= 254);
                    let again = Email::parse(canonical).expect("it was valid");
                    assert_eq!(again.canonical(), canonical);
                    assert_eq!(email.as_typed(), text(bytes));
                }
            },
            words: &[
                "@",
                ".",
                "a@",
                "xn--",
                "xn--bcher-kva",
                "ä",
                "。",
                "ﷺ",
                "ß",
                "\u{200d}",
                "\u{ad}",
                "א",
                "١",
                "\u{301}",
                "ශ\u{dca}",
                "㋿",
                "-",
                "[",
                "\u{130}",
            ],
            worst: || {
                let domain = |unit: &str| format!("a@{}", filled(unit, 252)).into_bytes();
                let mut worst: Vec<_> = [
                    "a",
                    "a.",
                    ".",
                    "ä",
                    "ä.",
                    "ﷺ",
                    "ﷺ.",
                    "א",
                    "\u{301}",
                    "a\u{301}\u{323}",
                    "가",
                    "\u{1100}",
                    "\u{ac00}\u{11a8}",
                    "\u{1d15e}",
                    "㍿",
                    "\u{fb2c}",
                    "xn--",
                    "xn--a-",
                    "xn--4gbrim.",
                    "ශ\u{dca}\u{200d}",
                    "。",
                    "ß",
                ]
                .into_iter()
                .map(domain)
                .collect();
                // All characters differ, in the order that is most expensive for Punycode.
                let all: String = ('\u{4e00}'..'\u{4e54}').rev().collect();
                worst.push(domain(&all));
                worst.push(format!("a@xn--{}", filled("9z8y7x6w5v4u3t2s1r", 245)).into_bytes());
                worst.push(format!("{}@a.org", "a".repeat(64)).into_bytes());
                worst.push(filled("ﷺ", BODY).into_bytes());
                worst
            },
            longest: BODY,
        },
        Target {
            // Without the guess estimate, which runs in separate lanes.
            name: "password",
            parse: |bytes| {
                let (password, known) = halves(bytes);
                match Candidate::parse(password.into(), &[&known]) {
                    Ok(_) => ("ok", 0),
                    Err(rule) => (rule.code, 0),
                }
            },
            check: |bytes| {
                let (password, known) = halves(bytes);
                if let Ok(parsed) = Candidate::parse(password.clone().into(), &[&known]) {
                    assert_eq!(parsed.expose_bytes(), password.as_bytes());
                    assert!((8..=1024).contains(&password.len()) && !password.contains('\0'));
                    assert_ne!(password, known);
                }
            },
            words: &[
                "\n",
                "a",
                "4",
                "@",
                "İ",
                "ß",
                "\0",
                " ",
                "\u{3000}",
                "correct horse",
            ],
            worst: || {
                let line =
                    |password: &str, known: &str| format!("{password}\n{known}").into_bytes();
                vec![
                    line(&"a".repeat(1024), &"a".repeat(15_000)),
                    line(&"a".repeat(1024), &" ".repeat(15_000)),
                    line(&"4@İ".repeat(200), &"aai̇".repeat(200)),
                    line(&" ".repeat(1024), &" ".repeat(15_000)),
                    line(&"\u{3000}".repeat(341), &"\u{3000}".repeat(5_000)),
                    line(&"a".repeat(15_000), "a"),
                ]
            },
            longest: BODY,
        },
        Target {
            name: "json",
            parse: |bytes| match parse_object::<SignUpRequest>(bytes) {
                Ok(_) => ("ok", 0),
                Err(problem) => ("refused", problem.to_string().len()),
            },
            check: |bytes| {
                if parse_object::<SignUpRequest>(bytes).is_ok() {
                    // Accepted input is valid JSON.
                    assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
                } else if let Err(problem) = parse_object::<SignUpRequest>(bytes) {
                    assert!(!problem.to_string().contains("hunter2"));
                }
            },
            words: &[
                "{",
                "}",
                "[",
                "\"name\":",
                "\"email\":",
                "\"password\":",
                "\"display_name\":",
                "\"locale\":\"de-AT\"",
                "\"",
                "\\u0041",
                "\\ud83d\\ude00",
                "\\",
                "null",
                "1e999",
                ",",
                ":",
                "hunter2",
                "\u{feff}",
            ],
            worst: || {
                let wrapped = |before: &str, unit: &str, behind: &str| {
                    let room = BODY - before.len() - behind.len();
                    format!("{before}{}{behind}", filled(unit, room)).into_bytes()
                };
                vec![
                    wrapped("{\"name\":", "[", ""),
                    wrapped("{", "{\"a\":", ""),
                    wrapped("{\"name\":\"", "\\ud83d\\ude00", "\"}"),
                    wrapped("{\"name\":\"", "\\u0041", "\"}"),
                    wrapped("{\"name\":\"", "é", "\"}"),
                    wrapped("{\"name\":\"", "a", "\"}"),
                    wrapped("{\"password\":\"", "\\n", "\"}"),
                    wrapped("{\"name\":", "1", "}"),
                    wrapped("{\"name\":1e", "9", "}"),
                    wrapped("{\"name\":0.", "9", "}"),
                    wrapped("", " ", "{}"),
                    wrapped("{}", " ", ""),
                    wrapped("", "\n", "x"),
                    wrapped("{\"", "a", "\":1}"),
                    wrapped("", "a", "\u{e9}"),
                ]
            },
            longest: BODY,
        },
        Target {
            name: "query",
            parse: |bytes| match Parameters::parse(&text(bytes)) {
                Ok(Parameters::ByEmail(_)) => ("email", 0),
                Ok(Parameters::Page { limit, after }) => {
                    ("page", usize::from(after.is_some()) * 100 + limit as usize)
                }
                Err(problem) => ("refused", problem.to_string().len()),
            },
            check: |bytes| {
                if let Ok(Parameters::Page { limit, .. }) = Parameters::parse(&text(bytes)) {
                    assert!((1..=100).contains(&limit));
                }
            },
            words: &[
                "limit=",
                "cursor=",
                "email=",
                "&",
                "=",
                "%",
                "+",
                "%40",
                "%zz",
                "20",
                "a@b.org",
                "%ff",
                "AQAGYMOPz9ivAaH80NkMd8CBwttJLul3yTI-PHnsEX9_",
            ],
            worst: || {
                let mut worst = many(
                    TARGET,
                    &["&", "a=1&", "%41", "+", "=", "%", "%ff", "a", "é"],
                );
                for begun in ["limit=0", "cursor=A", "email=a@", "limit=1&cursor=%41"] {
                    let room = TARGET - begun.len();
                    for unit in ["0", "A", "%41", "%C3%A4", "+"] {
                        worst.push(format!("{begun}{}", filled(unit, room)).into_bytes());
                    }
                }
                let sixteen = format!("{}=%EF%B7%BA", filled("%41", TARGET / 16 - 12));
                worst.push(vec![sixteen; 16].join("&").into_bytes());
                worst.push(format!("email=a@{}", filled("%EF%B7%BA", 750)).into_bytes());
                worst
            },
            longest: TARGET,
        },
        Target {
            name: "cursor",
            parse: |bytes| match cursor::read(&text(bytes)) {
                Some(_) => ("ok", 0),
                None => ("refused", 0),
            },
            check: |bytes| {
                if let Some(position) = cursor::read(&text(bytes)) {
                    assert_eq!(cursor::write(&position), text(bytes));
                }
            },
            words: &[
                "AQAGYMOPz9ivAaH80NkMd8CBwttJLul3yTI-PHnsEX9_",
                "=",
                "-",
                "_",
                "AQ",
            ],
            worst: || {
                many(
                    TARGET,
                    &[
                        "A",
                        "=",
                        "-",
                        "é",
                        "AQAGYMOPz9ivAaH80NkMd8CBwttJLul3yTI-PHnsEX9_",
                    ],
                )
            },
            longest: TARGET,
        },
        Target {
            name: "key",
            parse: |bytes| match IdempotencyKey::read(lines(bytes)) {
                Ok(None) => ("none", 0),
                Ok(Some(key)) => ("ok", key.expose().len() / 32),
                Err(error) => ("refused", error as usize),
            },
            check: |bytes| {
                let Ok(Some(key)) = IdempotencyKey::read(lines(bytes)) else {
                    return;
                };
                let key = key.expose();
                assert!(
                    (1..=255).contains(&key.len()) && key.bytes().all(|b| matches!(b, b' '..=b'~'))
                );
                // Its quoted form is the same key.
                let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
                let again = IdempotencyKey::read([quoted.as_bytes()].into_iter());
                assert_eq!(again.expect("a key").expect("one").expose(), key);
            },
            words: &[
                "\"", "\\\"", "\\\\", ";", "; ", "=", "a=1", "?1", ":YQ==:", "@1", "%\"", "1.5",
                "-", ",", "\n", "(", ")", "*",
            ],
            worst: || {
                let mut worst = many(HEAD, &["k", "\"", "a,", "\\", " ", "\n", "é"]);
                for unit in [
                    ";a",
                    ";a=1",
                    ";a=\"\\\\\"",
                    ";a=:YQ==:",
                    ";a=1.5",
                    ";a=%\"%c3%a4\"",
                    ", \"k\"",
                    ",(a b)",
                ] {
                    worst.push(format!("\"k\"{}", filled(unit, 1_021)).into_bytes());
                    worst.push(format!("\"k\"{}", filled(unit, HEAD - 3)).into_bytes());
                }
                worst.push(format!("\"{}\"", "\\\"".repeat(511)).into_bytes());
                worst
            },
            longest: HEAD,
        },
        Target {
            name: "token",
            parse: |bytes| {
                let text = text(bytes);
                if let Ok(token) = Unverified::parse(&text) {
                    ("access", token.kid().len())
                } else if RefreshToken::parse(&text).is_some() {
                    ("refresh", 0)
                } else if service_key::Presented::parse(&text).is_some() {
                    ("service key", 0)
                } else {
                    ("refused", 0)
                }
            },
            check: |bytes| {
                let text = text(bytes);
                if let Ok(token) = Unverified::parse(&text) {
                    // Only such an id is looked up.
                    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
                    assert!(token.kid().len() == 43 && token.kid().bytes().all(is_plain));
                    assert!(text.len() <= MAX_TOKEN);
                }
            },
            words: &[
                "srt_",
                "ssk_0h2k4n6q8s_00z0R12GKAHXwQ4KLnSREmn0LsM4X7ML0jtgwuhj1Xr_4JTpLC",
                ".",
                "_",
                "-",
                "=",
                "eyJ",
                "fQ",
                "W10",
            ],
            worst: || {
                let mut worst = many(HEAD, &["a", ".", "a.", "srt_", "_", "é"]);
                for unit in ["[", "{\"a\":", "\"a\":1,", "\\u0061", " ", "1"] {
                    for (before, after) in [("", ""), ("{", "}"), ("{\"alg\":\"", "\"}")] {
                        let header = [before, &filled(unit, 3_000), after].concat();
                        let header = URL_SAFE_NO_PAD.encode(header);
                        worst.push(format!("{header}.e30.AA").into_bytes());
                    }
                }
                let kid = "k".repeat(43);
                let header = format!("{{\"alg\":\"ES256\",\"kid\":\"{kid}\",\"typ\":\"at+jwt\"}}");
                let header = URL_SAFE_NO_PAD.encode(header);
                worst.push(format!("{header}.{}.AA", "a".repeat(3_900)).into_bytes());
                worst
            },
            longest: HEAD,
        },
        Target {
            name: "trace",
            parse: |bytes| {
                let (headers, sampling) = (trace_headers(bytes), sampling());
                let trace = sampling.begin(&headers, true);
                (
                    "ok",
                    usize::from(trace.parent.is_some()) * 2 + usize::from(trace.is_sampled),
                )
            },
            check: |bytes| {
                let (headers, sampling) = (trace_headers(bytes), sampling());
                let place = sampling.begin(&headers, false).as_header();
                assert!(
                    place.len() == 55 && !place.contains(&"0".repeat(32)),
                    "{place}"
                );
            },
            words: &[
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "\n",
                "-",
                "00",
                "ff",
                "a=1",
                ",",
                "=",
                "+",
            ],
            worst: || {
                let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n";
                let mut worst = many(HEAD, &["-", "0", "\n", "a=,"]);
                for unit in ["a=,", "a=1,", "=", ",", "a", "a=1\n", "\n"] {
                    worst.push(format!("{parent}{}", filled(unit, 512)).into_bytes());
                    worst.push(format!("{parent}{}", filled(unit, HEAD - 56)).into_bytes());
                }
                worst
            },
            longest: HEAD,
        },
        Target {
            name: "forwarded",
            parse: |bytes| {
                let client = proxies().client(peer(), &forwarded_headers(bytes));
                ("ok", usize::from(client.address == peer().ip()))
            },
            check: |bytes| {
                let client = proxies().client(peer(), &forwarded_headers(bytes));
                assert!(client.through_trusted_proxy);
                // The logged value is a network, and less than the address.
                let logged = client.in_log().to_string();
                assert!(
                    logged.ends_with("/24") || logged.ends_with("/48"),
                    "{logged}"
                );
            },
            words: &[
                "127.0.0.1",
                "198.51.100.9",
                "[::1]:80",
                "2001:db8::1",
                "64:ff9b::1.2.3.4",
                ",",
                ", ",
                ":80",
                "\n",
                " ",
            ],
            worst: || {
                many(
                    HEAD,
                    &[
                        "127.0.0.1,",
                        "127.0.0.1",
                        ",",
                        " ",
                        "a",
                        "::1,",
                        "127.0.0.1\n",
                        "[::1]:80 ,",
                        ":",
                        "\n",
                    ],
                )
            },
            longest: HEAD,
        },
        Target {
            name: "host",
            parse: |bytes| (if is_host(bytes) { "ok" } else { "refused" }, 0),
            check: |bytes| {
                if is_host(bytes) {
                    assert!(bytes.is_ascii() && !bytes.is_empty());
                }
            },
            words: &["localhost", "[::1]", ":", "80", "65536", ".", "-", "@", "/"],
            worst: || many(HEAD, &["a", ".", ":", "[", "a:0", "[::1]:0", "0", "é"]),
            longest: HEAD,
        },
        Target {
            // Of a link in a mail.
            name: "mail_token",
            parse: |bytes| match one_time::Presented::parse(&text(bytes)) {
                Some(_) => ("ok", 0),
                None => ("refused", 0),
            },
            check: |bytes| {
                let text = text(bytes);
                if let Some(token) = one_time::Presented::parse(&text) {
                    // A token has one text, which names the row that is looked up.
                    let bytes = URL_SAFE_NO_PAD.decode(&text).expect("it was valid");
                    assert_eq!(URL_SAFE_NO_PAD.encode(&bytes), text);
                    assert_eq!(token.id.as_bytes()[..], bytes[..16]);
                    assert_eq!(bytes.len(), 48);
                }
            },
            words: &[MAIL_TOKEN, "=", "-", "_", "+", "/", "AA"],
            worst: || {
                let mut worst = many(BODY, &["A", "=", "_", "é", MAIL_TOKEN]);
                worst.extend(many(64, &["A", "_", "-", "=", "é"]));
                worst.push(MAIL_TOKEN.as_bytes().to_vec());
                worst
            },
            longest: BODY,
        },
        Target {
            // Of a line of an import.
            name: "password_hash",
            parse: |bytes| match StoredHash::import(&text(bytes)) {
                Ok(hash) => ("ok", hash.as_str().len() / 16),
                Err(refused) => (refused.code(), 0),
            },
            check: |bytes| {
                let text = text(bytes);
                let Ok(hash) = StoredHash::import(&text) else {
                    return;
                };
                // What is stored is verified later, with the same work, and its work is seen at its beginning.
                let stored = hash.as_str();
                let profile = StoredHash::read(stored).expect("it is stored").profile();
                assert_eq!(
                    StoredHash::read(&text).expect("it was read").profile(),
                    profile
                );
                let again = StoredHash::import(stored).expect("it is stored");
                assert_eq!(again.as_str(), stored);
                let most = usize::try_from(PROFILE_CHARS).expect("some");
                let beginning: String = stored.chars().take(most).collect();
                assert_eq!(Profile::of(&beginning), Some(profile));
            },
            words: &[
                "$",
                ",",
                "=",
                ":",
                "$2b$12$",
                "$2y$05$",
                "$bcrypt-sha256$v=2,t=2b,r=12$",
                "bcrypt_sha256$",
                "bcrypt$",
                "$argon2id$v=19$m=65536,t=3,p=4$",
                "$argon2i$",
                "argon2$argon2id$",
                "$scrypt$ln=16,r=8,p=1$",
                "scrypt$16384$",
                "$pbkdf2-sha256$29000$",
                "$pbkdf2-sha512$i=25000,l=32$",
                "pbkdf2_sha256$870000$",
                "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=",
                "{\"secretData\":",
                "\"credentialData\":",
                "\"hashIterations\":",
                "\"algorithm\":\"argon2\"",
                "additionalParameters",
                "c29tZXNhbHQ",
                "4294967295",
                "$1$",
                "md5$",
            ],
            worst: || {
                let mut worst = hashes_of_vectors();
                worst.extend(many(4096, &["a", "$", "f", "é", "{", "\\u0041"]));
                for begun in [
                    "$2b$12$",
                    "$argon2id$v=19$m=65536,t=3,p=4$",
                    "$scrypt$ln=14,r=8,p=1$",
                    "$pbkdf2-sha256$29000$",
                    "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=",
                    "pbkdf2_sha256$870000$",
                    "{\"secretData\":\"",
                    "{\"secretData\":",
                ] {
                    for unit in ["A", "$", "/", "9", "{\"a\":", "[", "\\u0041"] {
                        worst.push(format!("{begun}{}", filled(unit, 4_000)).into_bytes());
                    }
                }
                worst.push(filled("$", MAX_LINE).into_bytes());
                worst
            },
            longest: MAX_LINE,
        },
        Target {
            name: "import",
            parse: |bytes| match Entry::parse(bytes, true, now()) {
                Ok(_) => ("ok", 0),
                Err(refusal) => ("refused", refusal.field.len() * 32 + refusal.code.len()),
            },
            check: |bytes| {
                let without_roles = Entry::parse(bytes, false, now());
                match Entry::parse(bytes, true, now()) {
                    Ok(_) => {
                        // Accepted input is valid JSON.
                        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
                        let code = without_roles.err().map(|refusal| refusal.code);
                        assert!(matches!(code.as_deref(), None | Some("not_allowed")));
                    }
                    Err(refusal) => {
                        assert!(without_roles.is_err());
                        // Reports have no part of a line.
                        let is_plain =
                            |text: &str| text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
                        assert!(is_plain(&refusal.field) && is_plain(&refusal.code));
                        assert!(!refusal.code.contains("hunter"));
                    }
                }
            },
            words: &[
                "{",
                "}",
                ",",
                ":",
                "\"",
                "null",
                "true",
                "[",
                "]",
                "\"email\":\"a@b.org\"",
                "\"name\":\"A\"",
                "\"display_name\":\"A\"",
                "\"locale\":\"de-AT\"",
                "\"email_verified\":true",
                "\"status\":\"suspended\"",
                "\"created_at\":\"2020-02-29T23:59:60Z\"",
                "+14:00",
                "\"password_hash\":\"$2b$12$\"",
                "\"password_hash\":{\"secretData\":",
                "\"roles\":[\"admin\"]",
                "\"import_id\":\"1\"",
                "hunter",
                "\\u0041",
                "\\ud83d",
            ],
            worst: || {
                let begun = "{\"email\":\"a@b.org\",\"name\":\"A\",\"email_verified\":true";
                let wrapped = |before: &str, unit: &str, behind: &str| {
                    let room = MAX_LINE - begun.len() - before.len() - behind.len();
                    format!("{begun}{before}{}{behind}", filled(unit, room)).into_bytes()
                };
                let mut worst = vec![
                    format!("{begun}}}").into_bytes(),
                    wrapped(",\"display_name\":\"", "a", "\"}"),
                    wrapped(",\"display_name\":\"", "\\u0041", "\"}"),
                    wrapped(",\"locale\":\"", "de-", "\"}"),
                    wrapped(",\"roles\":[", "\"a\",", "\"a\"]}"),
                    wrapped(",\"password_hash\":\"", "$", "\"}"),
                    wrapped(",\"password_hash\":\"", "\\u0041", "\"}"),
                    wrapped(",\"password_hash\":", "[", ""),
                    wrapped(",\"password_hash\":", "{\"a\":", ""),
                    wrapped(",\"created_at\":\"2020-01-01T00:00:00.", "1", "Z\"}"),
                    wrapped(",\"import_id\":\"", "é", "\"}"),
                    wrapped("", " ", "}"),
                ];
                for hash in hashes_of_vectors() {
                    let hash = text(&hash);
                    let hash = if hash.starts_with('{') {
                        hash
                    } else {
                        format!("\"{hash}\"")
                    };
                    worst.push(format!("{begun},\"password_hash\":{hash}}}").into_bytes());
                }
                worst
            },
            longest: MAX_LINE,
        },
        Target {
            name: "mail_url",
            parse: |bytes| match MailUrl::parse(&text(bytes)) {
                Ok(MailUrl::Smtp(url)) => ("smtp", url.tls as usize),
                Ok(MailUrl::File(_)) => ("file", 0),
                Ok(MailUrl::Console | MailUrl::Off) => ("word", 0),
                Err(reason) => ("refused", reason.len()),
            },
            check: |bytes| match MailUrl::parse(&text(bytes)) {
                Ok(MailUrl::Smtp(url)) => {
                    assert!(!url.host.is_empty());
                    assert!(url.tls != SmtpTls::None || url.credentials.is_none());
                }
                Ok(_) => {}
                // It may have a password.
                Err(reason) => assert!(!reason.contains("hunter2")),
            },
            words: &[
                "smtp://",
                "smtps://",
                "file:",
                "console",
                "off",
                "user:hunter2@",
                "hunter2",
                "127.0.0.1",
                "[::1]",
                "localhost",
                ":587",
                "?tls=none",
                "&",
                "#",
                "/",
                "@",
                ":",
                "%41",
                "%ff",
                "%",
                "ä",
                "。",
            ],
            worst: || {
                let mut worst = many(TARGET, &["a", ":", "/", "@", "%41", "é"]);
                for begun in ["smtp://", "smtp://a?", "smtp://a:", "smtp://a@", "file:"] {
                    for unit in ["a", "a.", "@", "%41", "%ff", "a=b&", "ä", "1", "["] {
                        let room = TARGET - begun.len();
                        worst.push(format!("{begun}{}", filled(unit, room)).into_bytes());
                    }
                }
                worst
            },
            longest: TARGET,
        },
    ]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The text, repeated to at most this many bytes.
fn filled(unit: &str, bytes: usize) -> String {
    unit.repeat(bytes / unit.len().max(1))
}

fn many(bytes: usize, units: &[&str]) -> Vec<Vec<u8>> {
    units
        .iter()
        .map(|unit| filled(unit, bytes).into_bytes())
        .collect()
}

fn halves(bytes: &[u8]) -> (String, String) {
    let text = text(bytes);
    let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
    (first.to_owned(), second.to_owned())
}

/// Hashes that the libraries of other services made.
fn hashes_of_vectors() -> Vec<Vec<u8>> {
    let text = include_str!("../../src/hashing/stored/vectors.json");
    let all: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let vectors = all["vectors"].as_array().expect("a list");
    let hash = |vector: &serde_json::Value| vector["hash"].as_str().map(Into::into);
    vectors.iter().filter_map(hash).collect()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("in range")
}

/// The lines of a header; at most 96, the limit of the server.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').take(96)
}

fn put(headers: &mut HeaderMap, name: &'static str, line: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(line) {
        headers.append(HeaderName::from_static(name), value);
    }
}

/// The first line is a `traceparent`, the others are the `tracestate`; an empty one is another
/// `traceparent`.
fn trace_headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (number, line) in lines(bytes).enumerate() {
        let is_parent = number == 0 || line.is_empty();
        put(
            &mut headers,
            if is_parent {
                "traceparent"
            } else {
                "tracestate"
            },
            line,
        );
    }
    headers
}

fn forwarded_headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines(bytes) {
        put(&mut headers, "x-forwarded-for", line);
    }
    headers
}

fn sampling() -> Sampling {
    static SAMPLING: std::sync::LazyLock<Sampling> = std::sync::LazyLock::new(|| {
        let settings_of_sampling = [
            ("IDEMPOTENCY_SECRET", "a secret of thirty-two bytes or more"),
            ("AUTH_SECRET", "a secret of thirty-two bytes or more"),
            ("READS", "open"),
            ("ADMIN_PORT", "0"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ];
        let sources = Sources::given(&settings_of_sampling, "").expect("an empty file");
        let settings = Settings::from_sources(sources, false).expect("valid settings");
        Sampling::new(&settings.traces)
    });
    SAMPLING.clone()
}

fn peer() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

/// Trusted proxies with the maximum number of hops.
fn proxies() -> TrustedProxies {
    let networks = ["127.0.0.0/8", "10.0.0.0/8", "::1/128"];
    TrustedProxies::new(&networks.map(|net| net.parse().expect("a network")), 16)
}
