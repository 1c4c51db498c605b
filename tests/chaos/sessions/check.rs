//! Checks the promises about sessions against what clients saw and the tables.
//!
//! By letter: `a` no session is lost that its owner still holds; `b` a token has one successor, and
//! the generations of a session are one chain; `c` no reuse is missed, and nothing of an ended session
//! works; `d` a login with one key begins one session; `e` nothing at rest opens an account; `f` the
//! rows are what the clients saw; `g` every request gets a final response that the contract has.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What the clients saw.
#[derive(Debug, Default)]
pub struct History {
    /// Each response to a login that began a session, or repeated one.
    pub logins: Vec<Login>,
    /// Each response that exchanged a token, also those that a client then lost.
    pub exchanges: Vec<Exchange>,
    /// Each session, once its client is done with it.
    pub sessions: Vec<Session>,
    /// The promises that a client saw broken.
    pub broken: Vec<String>,
    /// What must not be found at rest.
    pub secrets: Vec<String>,
}

/// A response to a login.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The key of the login.
    pub key: String,
    /// The session.
    pub session: String,
    /// Its first refresh token.
    pub token: String,
}

/// A response to a refresh.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The token that was presented.
    pub presented: String,
    /// The token that it was exchanged for.
    pub returned: String,
    /// Whether the response says that it repeats an earlier one.
    pub is_repeated: bool,
}

/// How a run left a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its owner holds it.
    Live,
    /// Its owner logged out.
    LoggedOut,
    /// Two held it.
    Reused,
    /// Its owner lost the newest token, and retried too late.
    Late,
}

impl Fate {
    /// The reason in its row.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::LoggedOut => "logged_out",
            Self::Reused | Self::Late => "reused",
        }
    }
}

/// A session, as its holders know it.
#[derive(Debug, Clone)]
pub struct Session {
    /// The user.
    pub user: String,
    /// Its id.
    pub id: String,
    /// Its refresh tokens, from the first to the newest.
    pub tokens: Vec<String>,
    /// Its newest access token.
    pub access: String,
    /// How the run left it.
    pub fate: Fate,
}

/// A row of a session; ids are lower-case hexadecimal digits.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Its user.
    pub user: String,
    /// Its generation.
    pub generation: usize,
    /// Why it ended; empty if it has not.
    pub end_reason: String,
    /// Whether its access tokens are revoked.
    pub is_revoked: bool,
}

/// The session and the generation that a refresh token names.
pub fn named(token: &str) -> Option<(String, usize)> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("srt_")?).ok()?;
    let (session, rest) = bytes.get(1..)?.split_first_chunk::<16>()?;
    let generation = u32::from_be_bytes(*rest.first_chunk::<4>()?);
    let session = hex::encode(session);
    Some((session, usize::try_from(generation).ok()?))
}

/// Every broken promise, by its letter.
pub fn violations(history: &History, rows: &[Row]) -> Vec<String> {
    let mut found = history.broken.clone();
    found.extend(successors(&history.exchanges));
    found.extend(history.sessions.iter().filter_map(chain));
    found.extend(logins(&history.logins));
    found.extend(against_rows(history, rows));
    found
}

/// Promise b, of each token.
fn successors(exchanges: &[Exchange]) -> Vec<String> {
    let mut found = Vec::new();
    let mut by_token: BTreeMap<&str, Vec<&Exchange>> = BTreeMap::new();
    for exchange in exchanges {
        let of_it = by_token.entry(&exchange.presented).or_default();
        of_it.push(exchange);
    }
    for (presented, exchanges) in by_token {
        let named = named(presented);
        let returned: BTreeSet<&str> = exchanges.iter().map(|one| &*one.returned).collect();
        if returned.len() > 1 {
            found.push(format!("b: {named:?} was exchanged for {returned:?}"));
        }
        // The first response to an exchange is the only one that does not say that it is repeated.
        let first = exchanges.iter().filter(|one| !one.is_repeated).count();
        if first > 1 {
            found.push(format!("b: {named:?} was exchanged {first} times"));
        }
        for token in returned {
            let next = named
                .clone()
                .map(|(session, generation)| (session, generation + 1));
            if self::named(token) != next {
                found.push(format!(
                    "b: {named:?} was exchanged for {:?}",
                    self::named(token)
                ));
            }
        }
    }
    found
}

/// Promise b, of a session.
fn chain(session: &Session) -> Option<String> {
    let numbers: Vec<_> = session.tokens.iter().map(|token| named(token)).collect();
    let id = session.id.replace('-', "");
    let is_chain = (0..)
        .zip(&numbers)
        .all(|(number, named)| *named == Some((id.clone(), number)));
    (!is_chain).then(|| format!("b: the tokens of {id} are {numbers:?}"))
}

/// Promise d, as clients saw it.
fn logins(logins: &[Login]) -> Vec<String> {
    let mut by_key: BTreeMap<(&str, &str), BTreeSet<(&str, &str)>> = BTreeMap::new();
    for login in logins {
        let began = by_key.entry((&login.user, &login.key)).or_default();
        began.insert((&login.session, &login.token));
    }
    let several = by_key.into_iter().filter(|(_, began)| began.len() > 1);
    several
        .map(|((_, key), began)| format!("d: the logins with {key} began {began:?}"))
        .collect()
}

/// Promises c, d and f, as the tables show it.
fn against_rows(history: &History, rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeMap::new();
    for session in &history.sessions {
        seen.insert(session.id.replace('-', ""), session);
    }
    let stored: BTreeSet<&str> = rows.iter().map(|row| &*row.id).collect();
    for id in seen.keys().filter(|id| !stored.contains(id.as_str())) {
        found.push(format!("f: {id} began and has no row"));
    }
    for row in rows {
        let Some(session) = seen.get(&row.id) else {
            found.push(format!("d: {row:?} began by a login that no client knows"));
            continue;
        };
        // The exchange whose response was lost for good.
        let lost = usize::from(session.fate == Fate::Late);
        let exchanged = session.tokens.len() - 1 + lost;
        if (row.generation, &*row.user) != (exchanged, &*session.user.replace('-', "")) {
            found.push(format!("f: {row:?} was exchanged {exchanged} times"));
        }
        if row.end_reason != session.fate.reason() {
            found.push(format!("f: {row:?} was left {:?}", session.fate));
        }
        if row.is_revoked == row.end_reason.is_empty() {
            found.push(format!("c: {row:?} is revoked or has ended, and not both"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000-0000-0000-0000-0000000000aa";

    fn token(generation: u32, mac: u8) -> String {
        let mut bytes = vec![1; 17];
        bytes[1..16].fill(0);
        bytes[16] = 0xaa;
        bytes.extend(generation.to_be_bytes());
        bytes.extend([mac; 32]);
        format!("srt_{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn exchange(from: u32, to: u32, is_repeated: bool) -> Exchange {
        Exchange {
            presented: token(from, 0),
            returned: token(to, 0),
            is_repeated,
        }
    }

    fn login() -> Login {
        Login {
            user: ID.to_owned(),
            key: "k".to_owned(),
            session: ID.to_owned(),
            token: token(0, 0),
        }
    }

    /// A session that was exchanged twice, and one of these responses was repeated.
    fn good() -> (History, Vec<Row>) {
        let session = Session {
            user: ID.to_owned(),
            id: ID.to_owned(),
            tokens: (0..3).map(|number| token(number, 0)).collect(),
            access: String::new(),
            fate: Fate::Live,
        };
        let history = History {
            logins: vec![login(), login()],
            exchanges: vec![
                exchange(0, 1, false),
                exchange(1, 2, true),
                exchange(1, 2, false),
            ],
            sessions: vec![session],
            ..History::default()
        };
        let row = Row {
            id: ID.replace('-', ""),
            user: ID.replace('-', ""),
            generation: 2,
            end_reason: String::new(),
            is_revoked: false,
        };
        (history, vec![row])
    }

    /// The letters of the promises that are broken after a change.
    fn broken(change: impl Fn(&mut History, &mut Vec<Row>)) -> Vec<String> {
        let (mut history, mut rows) = good();
        change(&mut history, &mut rows);
        let found = violations(&history, &rows);
        found.iter().map(|text| text[..1].to_owned()).collect()
    }

    #[test]
    fn the_check_can_fail() {
        assert_eq!(named(&token(7, 0)), Some((ID.replace('-', ""), 7)));
        assert!(broken(|_, _| ()).is_empty());
        let twice = |history: &mut History, _: &mut Vec<Row>| {
            history.exchanges.push(exchange(0, 1, false));
        };
        assert_eq!(broken(twice), ["b"]);
        let fork = |history: &mut History, _: &mut Vec<Row>| {
            history.exchanges[1].returned = token(2, 9);
        };
        assert_eq!(broken(fork), ["b"]);
        let leap = |history: &mut History, _: &mut Vec<Row>| {
            history.exchanges[0] = exchange(0, 2, false);
        };
        assert_eq!(broken(leap), ["b"]);
        let gap = |history: &mut History, rows: &mut Vec<Row>| {
            history.sessions[0].tokens.remove(1);
            rows[0].generation = 1;
        };
        assert_eq!(broken(gap), ["b"]);
        let second = |history: &mut History, _: &mut Vec<Row>| {
            history.logins[1].session.clear();
        };
        assert_eq!(broken(second), ["d"]);
        let unknown = |_: &mut History, rows: &mut Vec<Row>| {
            let mut row = rows[0].clone();
            row.id = "bb".to_owned();
            rows.push(row);
        };
        assert_eq!(broken(unknown), ["d"]);
        assert_eq!(broken(|_, rows| rows.clear()), ["f"]);
        assert_eq!(broken(|_, rows| rows[0].generation = 1), ["f"]);
        let ended = |_: &mut History, rows: &mut Vec<Row>| {
            rows[0].end_reason = "reused".to_owned();
        };
        assert_eq!(broken(ended), ["f", "c"]);
        let late = |history: &mut History, rows: &mut Vec<Row>| {
            history.sessions[0].fate = Fate::Late;
            rows[0].generation = 3;
            rows[0].end_reason = "reused".to_owned();
            rows[0].is_revoked = true;
        };
        assert!(broken(late).is_empty());
    }
}
