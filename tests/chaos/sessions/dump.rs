//! Everything that is at rest, and what of it opens an account.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::check::Row;
use crate::instances::Place;

/// The bytes of a secret that are looked for: any that is kept is found by as many.
const WINDOW: usize = 16;

/// The prefixes that all tokens of a kind have in common.
const PREFIXES: [&str; 3] = ["srt_", "sdt_", "eyJ"];

/// The expression for the hexadecimal digits of a column.
fn digits(place: &Place, column: &str) -> String {
    match place {
        Place::Sqlite(_) => format!("coalesce(lower(hex({column})), '')"),
        Place::Postgres { .. } => {
            format!("coalesce(replace(replace({column}::text, '-', ''), '\\x', ''), '')")
        }
    }
}

/// The rows of sessions.
pub async fn sessions(place: &Place) -> Vec<Row> {
    let (id, user) = (digits(place, "id"), digits(place, "user_id"));
    let text = format!(
        "SELECT {id}, {user}, CAST(generation AS text), coalesce(end_reason, ''), \
         CAST((SELECT count(*) FROM revocations r WHERE r.subject = sessions.id) AS text) \
         FROM sessions"
    );
    let rows = place.rows(&text).await;
    let rows = rows.into_iter().map(|row| {
        let [id, user, generation, end_reason, revocations] = row.try_into().expect("five columns");
        Row {
            id,
            user,
            generation: generation.parse().expect("a number"),
            end_reason,
            is_revoked: revocations != "0",
        }
    });
    rows.collect()
}

/// Tokens that are made of what is in the rows: a party that reads the database could present them.
pub async fn forged(place: &Place) -> Vec<String> {
    let columns = ["id", "nonce", "rotation_key", "login_key"];
    let columns = columns.map(|column| digits(place, column)).join(", ");
    let text = format!("SELECT {columns}, CAST(generation AS text) FROM sessions LIMIT 20");
    let mut tokens = Vec::new();
    for row in place.rows(&text).await {
        let generation: u32 = row[4].parse().expect("a number");
        let nonce_twice = row[1].repeat(2);
        for mac in [&nonce_twice, &row[2], &row[3]] {
            let mut bytes = vec![1];
            bytes.extend(hex::decode(&row[0]).expect("digits"));
            bytes.extend(generation.to_be_bytes());
            bytes.extend(hex::decode(mac).expect("digits"));
            let checksum = crc32fast::hash(&bytes);
            bytes.extend(checksum.to_be_bytes());
            tokens.push(format!("srt_{}", URL_SAFE_NO_PAD.encode(bytes)));
        }
    }
    tokens
}

/// Every table, and on SQLite every byte of its files; what Redis holds; and what was logged.
pub async fn everything(place: &Place, log: &str) -> Vec<u8> {
    let mut all = log.as_bytes().to_vec();
    match place {
        Place::Sqlite(folder) => {
            let files = std::fs::read_dir(folder.path()).expect("a folder");
            for file in files {
                let file = file.expect("an entry").path();
                if file.is_file() {
                    all.extend(std::fs::read(file).expect("a file"));
                }
            }
        }
        Place::Postgres { .. } => {
            let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
            for table in place.rows(tables).await {
                let text = format!("SELECT t::text FROM {} t", table[0]);
                for row in place.rows(&text).await {
                    all.extend(row[0].as_bytes());
                    all.push(b'\n');
                }
            }
        }
    }
    if let Some(redis) = place.redis() {
        for key in redis.server.command(&["KEYS", "*"]).lines() {
            all.extend(key.as_bytes());
            all.extend(redis.server.command(&["GET", key]).as_bytes());
        }
    }
    all
}

/// The secrets that are in there: as they are, or their bytes, or the hexadecimal digits of these.
pub fn found_in<'s>(everything: &[u8], secrets: &'s [String]) -> Vec<&'s str> {
    let mut wanted: HashMap<[u8; WINDOW], &str> = HashMap::new();
    for secret in secrets {
        let prefix = PREFIXES.iter().find(|prefix| secret.starts_with(**prefix));
        let own = &secret[prefix.map_or(0, |prefix| prefix.len())..];
        // The beginning names a session, or an algorithm, and is no secret; a mac is behind it.
        let decoded = URL_SAFE_NO_PAD.decode(own).unwrap_or_default();
        let mac = decoded.len().checked_sub(4 + WINDOW);
        let mac = mac.map(|begin| decoded[begin..begin + WINDOW].to_vec());
        let digits = mac.as_ref().map(|mac| hex::encode(mac).into_bytes());
        let text = own.as_bytes().to_vec();
        for form in [Some(text), mac, digits].into_iter().flatten() {
            if let Some(end) = form.last_chunk::<WINDOW>() {
                wanted.insert(*end, secret);
            }
        }
    }
    let windows = everything.windows(WINDOW);
    let hits = windows.filter_map(|window| wanted.get(window).copied());
    hits.collect()
}

#[test]
fn a_secret_at_rest_is_found_in_any_form() {
    let mac = [7_u8; 32];
    let bytes = [[1; 21].as_slice(), &mac, &[9; 4]].concat();
    let token = format!("srt_{}", URL_SAFE_NO_PAD.encode(&bytes));
    let secrets = [token.clone(), "a password of some length".to_owned()];
    let found = |at_rest: &[u8]| {
        let everything = [b"before ", at_rest, b" after"].concat();
        found_in(&everything, &secrets).len()
    };
    assert_eq!(found(token.as_bytes()), 1);
    assert_eq!(found(&mac), 17, "at each place that has as many bytes");
    assert!(found(hex::encode(mac).as_bytes()) > 0);
    assert_eq!(found(secrets[1].as_bytes()), 1);
    assert_eq!(
        found(&bytes[..21]),
        0,
        "what names the session is no secret"
    );
}
