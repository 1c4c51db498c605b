//! Mails: what is sent to a user commits with its cause, and leaves the service afterwards.
//!
//! A write adds a mail to the [`queue`] in its own transaction. A [`Delivery`] in each instance leases
//! what is due, derives the token of its link ([`links`]), renders it ([`message`]) and hands it to the
//! [`transport`]. Nothing in the queue is a secret: addresses of requests are sealed, and tokens are
//! derived from ids.
//!
//! To add a kind of mail, add it to [`Kind`] and to the templates, and what it takes to
//! [`delivery`](mod@delivery).

pub mod counts;
pub mod delivery;
pub mod links;
pub mod message;
pub mod queue;
pub mod templates;
pub mod transport;

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use prometheus::{IntCounterVec, IntGauge, Result as Registered};
use uuid::Uuid;

use crate::config::{MailUrl, Settings};
use crate::domain::{Locale, TokenEpoch, UserId};
use crate::platform::clock::{Clock, Randomness};
use crate::platform::database::{Database, Error, FromRow, Micros, Row};
use crate::platform::metrics::Metrics;
use crate::platform::secret_file;
use crate::tokens::secrets::TokenSecrets;
use delivery::Delivery;
use message::Renderer;
use queue::{Kind, Queue};
use transport::Transport;

/// A user, as mails need it.
#[derive(Debug, Clone)]
pub struct Addressee {
    /// The id.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The language.
    pub locale: Option<Locale>,
    /// The address, as typed.
    pub email: String,
    /// The canonical address.
    pub address: String,
    /// Whether the user is not suspended.
    pub is_active: bool,
    /// Whether the address has been verified.
    pub is_verified: bool,
    /// The epoch, which voids the tokens of links.
    pub epoch: TokenEpoch,
}

impl Addressee {
    /// An address without an account.
    fn stranger(email: String, locale: Option<Locale>) -> Self {
        Self {
            id: UserId::new(Uuid::nil()),
            name: String::new(),
            locale,
            address: String::new(),
            email,
            is_active: false,
            is_verified: false,
            epoch: TokenEpoch::default(),
        }
    }
}

impl FromRow for Addressee {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let status: String = row.get("status")?;
        let verified: Option<Micros> = row.get("email_verified_at")?;
        Ok(Self {
            id: UserId::new(row.get("id")?),
            name: row.get("name")?,
            locale: locale(row)?,
            email: row.get("email")?,
            address: row.get("email_canonical")?,
            is_active: status == "active",
            is_verified: verified.is_some(),
            epoch: TokenEpoch::new(row.get("token_epoch")?),
        })
    }
}

/// The column `locale` of a row.
fn locale(row: Row<'_>) -> Result<Option<Locale>, Error> {
    let tag: Option<String> = row.get("locale")?;
    Ok(Locale::of_row(tag))
}

/// Where mails go: on an embedded database without a setting, to files beside it.
#[must_use]
pub fn destination(settings: &Settings) -> MailUrl {
    let database = &settings.database.url;
    match (&settings.mail.url, database.backend) {
        (Some(url), _) => url.clone(),
        (None, crate::config::Backend::Postgres) => MailUrl::Off,
        (None, crate::config::Backend::Sqlite) => {
            let mut folder = secret_file::beside(database, "");
            folder.set_file_name("mail");
            MailUrl::File(folder)
        }
    }
}

/// What a delivery is made of.
pub struct Parts<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The database.
    pub database: &'a Database,
    /// The keys of tokens.
    pub secrets: &'a Arc<TokenSecrets>,
    /// The clock.
    pub clock: &'a Arc<dyn Clock>,
    /// The source of ids.
    pub randomness: &'a Arc<dyn Randomness>,
    /// The metrics.
    pub metrics: &'a Metrics,
}

/// The delivery of this instance; `None` if mails go nowhere.
///
/// # Errors
/// One line that says which setting is wrong.
pub fn delivery(parts: &Parts<'_>) -> Result<Option<Delivery>, String> {
    let settings = parts.settings;
    let renderer = Renderer::new(
        &settings.auth.public_url,
        settings.mail.link_url.as_deref(),
        settings.mail.from.as_deref(),
        settings.mail.templates.as_deref(),
        settings.auth.verify_with_password,
    )?;
    let Some(transport) = Transport::new(&destination(settings))? else {
        return Ok(None);
    };
    Ok(Some(Delivery {
        database: parts.database.clone(),
        queue: Queue::new(parts.database.clone()),
        secrets: Arc::clone(parts.secrets),
        renderer,
        transport,
        clock: Arc::clone(parts.clock),
        randomness: Arc::clone(parts.randomness),
        metrics: MailMetrics::new(parts.metrics).map_err(|error| error.to_string())?,
        breaker: Mutex::default(),
        purged_at: Mutex::default(),
    }))
}

/// Seals the address of a request, for its mail alone.
#[must_use]
pub fn seal(secrets: &TokenSecrets, mail: Uuid, address: &str) -> Option<Vec<u8>> {
    secrets.seal(&name_of(mail), address.as_bytes())
}

fn unseal(secrets: &TokenSecrets, mail: Uuid, sealed: &[u8]) -> Option<String> {
    let opened = secrets.open(&name_of(mail), sealed)?;
    String::from_utf8(opened.contents.to_vec()).ok()
}

fn name_of(mail: Uuid) -> String {
    format!("mail {mail}")
}

/// The outcomes of an attempt to send a mail.
const OUTCOMES: [&str; 5] = ["sent", "deferred", "unreachable", "dead", "withheld"];

/// Metrics of mail.
#[derive(Clone)]
pub struct MailMetrics {
    sent: IntCounterVec,
    oldest: IntGauge,
    dead: IntGauge,
}

impl MailMetrics {
    /// Registers them, and initialises the counters: a rate needs a zero to begin from.
    ///
    /// # Errors
    /// When a name is already registered.
    pub fn new(metrics: &Metrics) -> Registered<Self> {
        let registrar = metrics.registrar();
        let all = Self {
            sent: registrar.counters(
                "mail_total",
                "Attempts to send a mail, by its kind and outcome: sent, deferred (tried again later), unreachable (the same: the server cannot be used), dead (given up), withheld (its address has had too many).",
                &["kind", "outcome"],
            )?,
            oldest: registrar.gauge(
                "mail_oldest_seconds",
                "Age of the oldest mail that has not been sent.",
            )?,
            dead: registrar.gauge("mail_dead", "Mails that were given up.")?,
        };
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_sent()) {
            for outcome in OUTCOMES {
                all.sent.with_label_values(&[kind.as_str(), outcome]);
            }
        }
        Ok(all)
    }

    fn sent(&self, kind: Kind, outcome: &str) {
        self.sent.with_label_values(&[kind.as_str(), outcome]).inc();
    }

    fn backlog(&self, oldest: TimeDelta, dead: i64) {
        self.oldest.set(oldest.num_seconds().max(0));
        self.dead.set(dead);
    }
}
