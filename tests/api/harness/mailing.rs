//! A service whose mails a test reads.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Backend, Database, Service};

/// How long a mail may take.
pub const SOON: Duration = Duration::from_secs(10);

/// A service that writes mails to files.
pub struct Mailing {
    pub service: Service,
    folder: TempDir,
}

/// A mail.
#[derive(Debug, Clone)]
pub struct Mail {
    pub to: String,
    pub id: String,
    pub text: String,
}

impl Mail {
    pub fn token(&self) -> String {
        let after = self.text.split('#').nth(1).expect("a link");
        let is_token = |c: &char| c.is_ascii_alphanumeric() || ['-', '_'].contains(c);
        after.chars().take_while(is_token).collect()
    }
}

impl Mailing {
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, &[]).await
    }

    /// Like [`start`](Self::start), with settings.
    pub async fn start_with(backend: Backend, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Arc::new(Database::new(backend));
        let service = launched(&folder, database, more).await;
        Self { service, folder }
    }

    /// Another instance on the same database, which writes to the same files. On SQLite there is none.
    pub async fn another(&self, more: &[(&str, &str)]) -> Option<Service> {
        let database = Arc::clone(&self.service.database);
        match *database {
            Database::Sqlite(_) => None,
            Database::Postgres(_) => Some(launched(&self.folder, database, more).await),
        }
    }

    /// The mails of a kind so far, the oldest first.
    pub fn mails(&self, kind: &str) -> Vec<Mail> {
        mails(&self.folder.path().join("mail"), kind)
    }

    /// Waits until there are this many mails of a kind, and returns the newest.
    pub async fn mail(&self, kind: &str, count: usize) -> Mail {
        self.newest(kind, None, count).await
    }

    async fn newest(&self, kind: &str, to: Option<&str>, count: usize) -> Mail {
        let mail = newest(&self.folder.path().join("mail"), kind, to, count).await;
        mail.unwrap_or_else(|| panic!("no mail: {}", self.service.log_text()))
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let response = self.service.post(path, &body).send().await;
        response.expect("a response")
    }

    pub async fn log_in(&self, password: &str) -> Response {
        let body = json!({ "email": "ada@example.org", "password": password });
        self.post("/auth/login", body).await
    }

    /// Signs up with this address, and returns the token of the mail.
    pub async fn signed_up(&self, email: &str) -> String {
        let mut before = self.mails("verify");
        before.retain(|mail| mail.to == email);
        assert_eq!(self.service.sign_up(email).await.status(), 201);
        // Mails to others may be under way.
        let mail = self.newest("verify", Some(email), before.len() + 1);
        mail.await.token()
    }

    pub async fn forgot(&self, email: &str) -> Response {
        self.post("/auth/password/forgot", json!({ "email": email }))
            .await
    }

    pub async fn verify(&self, token: &str, password: &str) -> Response {
        let body = json!({ "token": token, "password": password });
        self.post("/auth/verify-email", body).await
    }

    pub async fn reset(&self, token: &str, password: &str) -> Response {
        let body = json!({ "token": token, "password": password });
        self.post("/auth/password/reset", body).await
    }

    /// Waits until no mail waits to be sent.
    pub async fn idle(&self) {
        no_mail_waits(&self.service).await;
    }
}

/// Waits until no mail waits to be sent.
pub async fn no_mail_waits(service: &Service) {
    assert!(all_sent(&service.database).await, "{}", service.log_text());
}

/// Waits until no mail in a database waits to be sent. Returns whether that was soon.
pub async fn all_sent(database: &Database) -> bool {
    let waiting = "SELECT CAST(count(*) AS text) FROM mail_queue WHERE sent_at IS NULL";
    let begun = Instant::now();
    while database.rows(waiting).await != ["0"] {
        if begun.elapsed() >= SOON {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

async fn launched(folder: &TempDir, database: Arc<Database>, more: &[(&str, &str)]) -> Service {
    let url = format!("file:{}", folder.path().join("mail").display());
    let mut settings = vec![
        ("MAIL_URL", url.as_str()),
        ("EMAIL_VERIFICATION", "required"),
        ("RATE_LIMIT_MAIL", "off"),
        ("RATE_LIMIT_LOGIN", "off"),
        ("RATE_LIMIT_REFRESH", "off"),
    ];
    settings.extend(more);
    Service::start_on(database, &settings).await
}

/// The mails of a kind in a folder, the oldest first.
pub fn mails(folder: &Path, kind: &str) -> Vec<Mail> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.contains(&format!("Z-{kind}-")))
                && path.extension().is_some_and(|extension| extension == "eml")
        })
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Waits until there are this many mails of a kind in a folder, to an address or to any, and returns the newest; `None` if
/// there are fewer.
pub async fn newest(folder: &Path, kind: &str, to: Option<&str>, count: usize) -> Option<Mail> {
    let begun = Instant::now();
    loop {
        let mut mails = mails(folder, kind);
        mails.retain(|mail| to.is_none_or(|to| mail.to == to));
        if mails.len() >= count {
            assert_eq!(mails.len(), count, "{mails:?}");
            return mails.pop();
        }
        if begun.elapsed() >= SOON {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads a mail in a file.
pub fn read(path: &Path) -> Mail {
    let text = std::fs::read_to_string(path).expect("a mail");
    // Soft line breaks and the sign of equality, of quoted-printable.
    let text = text.replace("=\r\n", "").replace("=3D", "=");
    let header = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().to_owned()
    };
    Mail {
        to: header("To:"),
        id: header("Message-ID:"),
        text: text.clone(),
    }
}
