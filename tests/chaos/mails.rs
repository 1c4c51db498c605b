//! Mails under faults: users sign up while instances, the database, and the mail server are killed and
//! stopped; and the server defers some mails, is slow with some, and breaks off before or after it has
//! taken one.
//!
//! Then the faults stop, the queue is emptied, and what the server took is checked against the signups:
//! a mail for each, with one `Message-ID`, and none for an account that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::clients::{self, Signup};
use crate::faults::{self, Chance, Pace};
use crate::instances::{Instances, Options, Place};

/// The faults of the instances and the database.
const PACE: Pace = Pace {
    longest: 1_000,
    between: (200, 1_500),
};

/// Users who sign up at once.
const CLIENTS: u64 = 6;

/// Domains of their addresses: mails to one of them wait for each other.
const DOMAINS: usize = 5;

/// The statements of a signup with a mail, and of sending one.
const POINTS: &[&str] = &[
    "BEGIN",
    "INSERT users",
    "INSERT mail_queue",
    "UPDATE mail_queue",
    "UPDATE mail_queue",
    "COMMIT",
    "RESPONSE",
];

/// The crash point with a planted bug: after it the mail is added.
const PLANT_POINTS: &[&str] = &["COMMIT"];

/// The time limit for the queue to be empty, once the faults have stopped: longer than a lease.
const SENT_WITHIN: Duration = Duration::from_mins(2);

/// Copies of a mail, at most: each one but the first needs a fault at the moment of its end.
const MOST_COPIES: usize = 10;

/// A real mail server, in a process that is killed and started again.
struct Server {
    port: u16,
    folder: TempDir,
    process: Mutex<Child>,
}

/// A mail that the server took.
#[derive(Debug, Clone, Deserialize)]
struct Mail {
    to: String,
    id: String,
    subject: String,
}

impl Server {
    fn start(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Free now, and every time that it is started again.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr());
        let port = port.expect("a port").port();
        let process = Mutex::new(Self::process(port, &folder, &["--seed", &seed.to_string()]));
        Self {
            port,
            folder,
            process,
        }
    }

    fn process(port: u16, folder: &TempDir, arguments: &[&str]) -> Child {
        let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = project.join("target/mail-venv/bin/python");
        Command::new(python)
            .arg(project.join("tests/mail/server.py"))
            .args(["--port", &port.to_string(), "--folder"])
            .arg(folder.path())
            .args(arguments)
            .spawn()
            .expect("aiosmtpd is installed: `make test-chaos` does it")
    }

    fn signal(&self, name: &str) {
        let process = self.process.lock().expect("no panic").id();
        let kill = format!("kill -s {name} {process}");
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("sh runs").success(), "{kill}");
    }

    fn kill(&self) {
        let mut process = self.process.lock().expect("no panic");
        let _ = process.kill();
        let _ = process.wait();
    }

    fn restart(&self, arguments: &[&str]) {
        *self.process.lock().expect("no panic") = Self::process(self.port, &self.folder, arguments);
    }

    async fn wait_until_ready(&self) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .is_err()
        {
            assert!(
                begun.elapsed() < SENT_WITHIN,
                "the mail server is not ready"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it took, and may have said so or not.
    fn mails(&self) -> Vec<Mail> {
        let text = std::fs::read_to_string(self.folder.path().join("mails.ndjson"));
        let text = text.unwrap_or_default();
        // A line that a kill cut was not acknowledged.
        let mails = text.lines().map(serde_json::from_str);
        mails.filter_map(Result::ok).collect()
    }

    /// Disturbs it for some time; returns how often.
    async fn disturb(&self, seed: u64, running: &AtomicBool) -> u64 {
        let mut chance = Chance::new(seed ^ 0x6d61_696c);
        let mut times = 0;
        while running.load(Ordering::Relaxed) {
            tokio::time::sleep(chance.millis(500, 2_500)).await;
            if chance.below(3) == 0 {
                self.signal("STOP");
                tokio::time::sleep(chance.millis(100, 1_000)).await;
                self.signal("CONT");
            } else {
                self.kill();
                tokio::time::sleep(chance.millis(50, 1_000)).await;
                self.restart(&["--seed", &chance.below(1 << 16).to_string()]);
                self.wait_until_ready().await;
            }
            times += 1;
        }
        times
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What came of a run.
pub struct Outcome {
    /// The broken promises, by their letters.
    pub violations: Vec<String>,
    /// Processes of the service that were killed and that crashed, a minute.
    pub kills_a_minute: u64,
    /// How often the mail server was disturbed.
    pub disturbances: u64,
    /// Accounts that were acknowledged.
    pub accounts: usize,
    /// Mails that the server took, beyond the first to each address.
    pub repeated: usize,
}

/// Runs users and faults against a number of instances, and checks the outcome.
pub async fn run(
    place: Place,
    count: usize,
    seconds: u64,
    seed: u64,
    plant: &'static str,
) -> Outcome {
    let server = Arc::new(Server::start(seed));
    server.wait_until_ready().await;
    let place = Arc::new(place);
    let options = Options {
        plant,
        points: if plant.is_empty() {
            POINTS
        } else {
            PLANT_POINTS
        },
        passes: 15,
        settings: settings(&server),
        keeps_log: false,
    };
    let instances = Arc::new(Instances::start(Arc::clone(&place), count, seed, options).await);
    let running = Arc::new(AtomicBool::new(true));
    let users = (0..CLIENTS).map(|client| {
        let (instances, running) = (Arc::clone(&instances), Arc::clone(&running));
        let next = move |chance: &mut Chance, number: u32| {
            let domain = chance.below(DOMAINS);
            (
                format!("mailed-{client}-{number}"),
                format!("ada{client}.{number}@d{domain}.example"),
            )
        };
        let (seed, pause) = (seed ^ (client << 32), Some((50, 400)));
        tokio::spawn(clients::sign_up(seed, instances, running, pause, next))
    });
    let users: Vec<_> = users.collect();
    let disturbed = {
        let (server, running) = (Arc::clone(&server), Arc::clone(&running));
        tokio::spawn(async move { server.disturb(seed, &running).await })
    };
    let begun = Instant::now();
    let faults = faults::make(&instances, seed, Duration::from_secs(seconds), PACE).await;
    let lasted = begun.elapsed();
    instances.stop_crashing();
    instances.wait_until_ready(crate::READY_WITHIN).await;
    running.store(false, Ordering::Relaxed);
    let mut signups = Vec::new();
    for user in users {
        signups.extend(user.await.expect("a user never panics"));
    }
    let disturbances = disturbed.await.expect("no panic");
    server.kill();
    server.restart(&["--calm"]);
    server.wait_until_ready().await;
    let waiting = send_the_rest(&place).await;

    let mails = server.mails();
    let addresses = place.rows("SELECT email_canonical FROM users").await;
    let violations = violations(
        &signups,
        &mails,
        &addresses.into_iter().flatten().collect(),
        waiting,
    );
    let accounts = signups.iter().filter(|signup| signup.is_created()).count();
    let mailed: BTreeSet<_> = mails.iter().map(|mail| &mail.to).collect();
    let repeated = mails.len() - mailed.len();
    println!(
        "signups {}, acknowledged {accounts}, mails {}, of them repeated {repeated}\n\
         faults: {faults}, crashes at points: {}; mail server {disturbances}\n{}",
        signups.len(),
        mails.len(),
        instances.crashes_by_point(),
        crate::summary(plant, &violations),
    );
    Outcome {
        violations,
        kills_a_minute: (faults.kills + instances.crashes()) * 60 / lasted.as_secs().max(1),
        disturbances,
        accounts,
        repeated,
    }
}

/// The settings of the service, with this server. They are needed until the process ends.
fn settings(server: &Server) -> &'static [(&'static str, &'static str)] {
    let url = format!(
        "smtp://accounts%40example.org:p%2Fw@localhost:{}",
        server.port
    );
    let authority = server.folder.path().join("authority.pem");
    let authority = authority.display().to_string();
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    Box::leak(Box::new([
        ("EMAIL_VERIFICATION", "required"),
        ("MAIL_URL", leak(url)),
        ("SSL_CERT_FILE", leak(authority)),
    ]))
}

/// Waits until nothing is left to send, without the waits between attempts, and the leases of processes
/// that have ended. Returns how many mails are left or were given up.
async fn send_the_rest(place: &Place) -> usize {
    let past = match place {
        Place::Sqlite(_) => "0",
        Place::Postgres { .. } => "'epoch'",
    };
    let free =
        format!("UPDATE mail_queue SET leased_until = {past} WHERE leased_until IS NOT NULL");
    place.rows(&free).await;
    let due = format!("UPDATE mail_queue SET next_at = {past} WHERE sent_at IS NULL");
    let begun = Instant::now();
    loop {
        place.rows(&due).await;
        let left = "SELECT kind FROM mail_queue WHERE sent_at IS NULL";
        let left = place.rows(left).await.len();
        if left == 0 || begun.elapsed() > SENT_WITHIN {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Every broken promise, by its letter.
fn violations(
    signups: &[Signup],
    mails: &[Mail],
    accounts: &BTreeSet<String>,
    waiting: usize,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut by_address: BTreeMap<&str, Vec<&Mail>> = BTreeMap::new();
    for mail in mails {
        by_address.entry(&mail.to).or_default().push(mail);
    }
    for signup in signups {
        let is_mailed = by_address.contains_key(&*signup.email);
        if signup.is_created() && !is_mailed {
            found.push(format!("a: no mail to {}", signup.email));
        }
    }
    for (address, mails) in by_address {
        let ids: BTreeSet<_> = mails.iter().map(|mail| &mail.id).collect();
        if ids.len() > 1 {
            found.push(format!("b: {address} got mails with the ids {ids:?}"));
        }
        if mails.len() > MOST_COPIES {
            found.push(format!("c: {address} got {} copies", mails.len()));
        }
        if !accounts.contains(address) {
            found.push(format!("d: {address} got a mail and has no account"));
        }
        let is_right = |mail: &&Mail| mail.subject == "Confirm your address";
        if !mails.iter().all(is_right) {
            found.push(format!("e: {address} got another mail: {mails:?}"));
        }
    }
    if waiting > 0 {
        found.push(format!("f: {waiting} mails were given up, or are left"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::FinalResponse;

    fn signup(email: &str) -> Signup {
        Signup {
            key: email.to_owned(),
            email: email.to_owned(),
            response: FinalResponse {
                status: 201,
                location: None,
                body: String::new(),
            },
            tries: 1,
        }
    }

    fn mail(to: &str, id: &str, subject: &str) -> Mail {
        let [to, id, subject] = [to, id, subject].map(str::to_owned);
        Mail { to, id, subject }
    }

    #[test]
    fn the_check_can_fail() {
        let subject = "Confirm your address";
        let broken = |signups: &[&str], mails: &[Mail], accounts: &[&str], waiting| {
            let signups: Vec<_> = signups.iter().copied().map(signup).collect();
            let accounts = accounts.iter().copied().map(str::to_owned).collect();
            let found = violations(&signups, mails, &accounts, waiting);
            found
                .iter()
                .map(|text| text[..1].to_owned())
                .collect::<String>()
        };
        let one = mail("a@x", "1", subject);
        let copies = |count| vec![one.clone(); count];
        assert_eq!(broken(&["a@x"], &copies(2), &["a@x"], 0), "");
        assert_eq!(broken(&["a@x", "b@x"], &copies(1), &["a@x", "b@x"], 0), "a");
        let other = mail("a@x", "2", subject);
        assert_eq!(broken(&["a@x"], &[one.clone(), other], &["a@x"], 0), "b");
        assert_eq!(broken(&["a@x"], &copies(MOST_COPIES + 1), &["a@x"], 0), "c");
        assert_eq!(broken(&[], &copies(1), &[], 0), "d");
        let reset = mail("a@x", "1", "Reset your password");
        assert_eq!(broken(&["a@x"], &[reset], &["a@x"], 0), "e");
        assert_eq!(broken(&["a@x"], &copies(1), &["a@x"], 1), "f");
    }
}
