//! Clients that log in, refresh and log out; and thieves with copies of their tokens.
//!
//! An owner follows the rule for clients: write the token and a new key to disk, send, and on a
//! response write the new token and forget the key. Its responses get lost: it leaves before they
//! come, or they come and it crashes before it has written them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::GRACE;
use super::check::{Exchange, Fate, History, Login, Session};
use crate::faults::Chance;
use crate::instances::Instances;

/// How long a client retries without a final response once faults have stopped.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a client waits for a response: longer than the service may take, and be stopped.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Beyond the grace for certain.
const BEYOND_GRACE: Duration = Duration::from_millis(300);

/// Logins of a user: far fewer than the sessions that a user may have.
const LOGINS: usize = 6;

/// What the clients of a run share.
pub struct World {
    /// The service.
    pub instances: Arc<Instances>,
    /// Whether faults are injected, and clients begin anything new.
    pub running: AtomicBool,
    /// What they saw.
    pub history: Mutex<History>,
    /// Figures for the reader of a run.
    pub counts: Counts,
}

/// How often clients did what.
#[derive(Debug, Default)]
pub struct Counts {
    /// Logins with a response.
    pub logins: AtomicU64,
    /// Refreshes with a response.
    pub refreshes: AtomicU64,
    /// Requests.
    pub requests: AtomicU64,
    /// Responses that a client lost, or left before.
    pub lost: AtomicU64,
    /// Refreshes that were repeated beyond the grace, by their key.
    pub slept: AtomicU64,
    /// Refreshes without a key that were repeated too late.
    pub late: AtomicU64,
    /// Logouts.
    pub logouts: AtomicU64,
    /// Copies of exchanged tokens that were presented.
    pub thefts: AtomicU64,
}

/// Counts one more.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl World {
    /// Records a promise that a client saw broken.
    pub fn broken(&self, text: String) {
        self.history.lock().expect("no panic").broken.push(text);
    }

    fn record(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.history.lock().expect("no panic"));
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }
}

/// A client, or a thief.
pub struct Client {
    world: Arc<World>,
    http: reqwest::Client,
    chance: Chance,
    number: u64,
    serial: u64,
}

/// A user, as the clients know it.
struct User {
    id: String,
    email: String,
    password: String,
}

/// A session in the hands of its owner.
struct Held {
    session: Session,
    /// When the response with the newest token came.
    at: Instant,
}

impl Held {
    fn newest(&self) -> String {
        self.session.tokens.last().cloned().unwrap_or_default()
    }

    /// The token that was exchanged for the newest one.
    fn exchanged(&self) -> Option<String> {
        let before = self.session.tokens.len().checked_sub(2)?;
        Some(self.session.tokens[before].clone())
    }
}

/// A request.
#[derive(Clone)]
struct Request {
    method: Method,
    path: &'static str,
    body: Value,
    key: Option<String>,
    /// The access token.
    access: Option<String>,
}

impl Request {
    /// A `POST` with a key or without.
    const fn post(path: &'static str, body: Value, key: Option<String>) -> Self {
        Self {
            method: Method::POST,
            path,
            body,
            key,
            access: None,
        }
    }
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Whether it says that it repeats an earlier one.
    pub is_repeated: bool,
    /// Its body.
    pub body: Value,
}

impl Reply {
    /// Whether a retry may have another outcome: lost, late and overloaded ones.
    fn is_final(&self) -> bool {
        self.status < 500 && ![408, 429].contains(&self.status)
    }

    fn text(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_default().to_owned()
    }
}

/// What happens to a response.
#[derive(Clone, Copy)]
enum Loss {
    /// It arrives.
    None,
    /// The client leaves before it, after this time.
    Leaves(Duration),
    /// It arrives, and the client forgets it.
    Forgets,
}

/// How an owner refreshes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// With a key, and it retries at once.
    Keyed,
    /// With a key, and it retries beyond the grace.
    Sleeps,
    /// Without a key.
    Keyless,
    /// Three windows at once, each with a key of its own.
    Windows,
}

/// How a refresh ended.
enum Refreshed {
    /// The newest token is another one.
    Yes,
    /// It came too late, without a key: the session has ended.
    TooLate,
    /// There was no final response.
    Never,
}

impl Client {
    /// A client with a seeded generator of its own.
    pub fn new(world: Arc<World>, number: u64, seed: u64) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT);
        Self {
            world,
            http: http.build().expect("a client"),
            chance: Chance::new(seed ^ ((number + 1) << 32)),
            number,
            serial: 0,
        }
    }

    /// Begins sessions, one after the other, until stopped.
    pub async fn work(mut self) {
        while self.world.is_running() {
            let Some(user) = self.sign_up().await else {
                return;
            };
            for _ in 0..LOGINS {
                if !self.world.is_running() {
                    return;
                }
                let done = match self.chance.below(4) {
                    0 => self.is_robbed(&user).await,
                    _ => self.holds_a_session(&user).await,
                };
                if done.is_none() {
                    return;
                }
            }
        }
    }

    /// A text of at least 16 characters that occurs nowhere else, and must not be kept.
    fn secret(&mut self, what: &str) -> String {
        self.serial += 1;
        let salt = self.chance.below(1 << 40);
        let secret = format!("{what} {:04}-{:06}-{salt:012x}", self.number, self.serial);
        let secret = secret.replace(' ', if what == "key" { "-" } else { " " });
        self.world
            .record(|history| history.secrets.push(secret.clone()));
        secret
    }

    async fn sign_up(&mut self) -> Option<User> {
        let (key, password) = (self.secret("key"), self.secret("correct horse"));
        let email = format!("ada{}.{}@example.org", self.number, self.serial);
        let body = json!({ "name": "Ada Lovelace", "email": email, "password": password });
        let reply = self
            .until_final(Request::post("/signup", body, Some(key)))
            .await?;
        if reply.status != 201 {
            self.world.broken(format!("g: a signup got {reply:?}"));
            return None;
        }
        let id = reply.text("id");
        Some(User {
            id,
            email,
            password,
        })
    }

    /// Logs in with a key, at times twice at once. `None` if there was no session.
    async fn log_in(&mut self, user: &User) -> Option<Held> {
        let key = self.secret("key");
        let body = json!({ "email": user.email, "password": user.password, "label": "a phone" });
        let request = Request::post("/auth/login", body, Some(key.clone()));
        let mut calm_since = None;
        loop {
            let copies = 1 + usize::from(self.chance.below(4) == 0);
            let requests = vec![request.clone(); copies];
            for (reply, is_seen) in self.send_all(requests).await {
                if reply.status == 200 {
                    let login = Login {
                        user: user.id.clone(),
                        key: key.clone(),
                        session: reply.text("session_id"),
                        token: reply.text("refresh_token"),
                    };
                    let new = [login.token.clone(), reply.text("access_token")];
                    let device = reply.text("device_token");
                    let session = Session {
                        user: user.id.clone(),
                        id: login.session.clone(),
                        tokens: vec![login.token.clone()],
                        access: new[1].clone(),
                        fate: Fate::Live,
                    };
                    self.world.record(|history| {
                        history.logins.push(login);
                        history.secrets.extend(new);
                        history.secrets.push(device);
                    });
                    if is_seen {
                        count(&self.world.counts.logins);
                        let at = Instant::now();
                        return Some(Held { session, at });
                    }
                } else if reply.is_final() {
                    self.world.broken(format!("g: a login got {reply:?}"));
                    return None;
                }
            }
            self.pause("a login", &mut calm_since).await?;
        }
    }

    /// Refreshes a session some times, and logs out or keeps it.
    async fn holds_a_session(&mut self, user: &User) -> Option<()> {
        let mut held = self.log_in(user).await?;
        for _ in 0..=self.chance.below(7) {
            if !self.world.is_running() {
                break;
            }
            let manner = match self.chance.below(10) {
                0 => Manner::Sleeps,
                1..4 => Manner::Keyless,
                4..6 => Manner::Windows,
                _ => Manner::Keyed,
            };
            match self.refresh(&mut held, manner).await {
                Refreshed::Yes => {}
                Refreshed::TooLate => {
                    count(&self.world.counts.late);
                    held.session.fate = Fate::Late;
                    self.done(held);
                    return Some(());
                }
                Refreshed::Never => return None,
            }
        }
        if self.chance.below(2) == 0 {
            let body = json!({ "refresh_token": held.newest() });
            let reply = self
                .until_final(Request::post("/auth/logout", body, None))
                .await?;
            if reply.status != 204 {
                self.world.broken(format!("g: a logout got {reply:?}"));
            }
            count(&self.world.counts.logouts);
            held.session.fate = Fate::LoggedOut;
            self.must_be_refused(&held.newest(), "after a logout")
                .await?;
        }
        self.done(held);
        Some(())
    }

    /// A session of which a thief has a copy: one presents a token, beyond the grace, that the other
    /// has exchanged.
    async fn is_robbed(&mut self, user: &User) -> Option<()> {
        let mut held = self.log_in(user).await?;
        for _ in 0..=self.chance.below(3) {
            // Either of them exchanges the last one.
            match self.refresh(&mut held, Manner::Keyed).await {
                Refreshed::Yes => {}
                Refreshed::TooLate | Refreshed::Never => return None,
            }
        }
        tokio::time::sleep_until((held.at + GRACE + BEYOND_GRACE).into()).await;
        let copy = match self.chance.below(3) {
            // An old backup.
            0 => held.session.tokens[0].clone(),
            _ => held.exchanged()?,
        };
        count(&self.world.counts.thefts);
        self.must_be_refused(&copy, "as it was exchanged").await?;
        self.must_be_refused(&held.newest(), "as another was reused")
            .await?;
        self.must_not_command(&held.session.access).await?;
        held.session.fate = Fate::Reused;
        self.done(held);
        Some(())
    }

    fn done(&self, held: Held) {
        self.world
            .record(|history| history.sessions.push(held.session));
    }

    /// Presents a token that must not work, with a key or without.
    pub async fn must_be_refused(&mut self, token: &str, why: &str) -> Option<()> {
        let key = (self.chance.below(2) == 0).then(|| self.secret("key"));
        let body = json!({ "refresh_token": token });
        let reply = self
            .until_final(Request::post("/auth/refresh", body, key))
            .await?;
        let slug = reply.text("type");
        if reply.status != 401 || slug != "/problems/session-ended" {
            let named = super::check::named(token);
            let status = reply.status;
            self.world
                .broken(format!("c: {named:?} got {status} {slug}, {why}"));
        }
        Some(())
    }

    /// Ends the other sessions with the access token of one that has ended: a command knows it at once, on
    /// every instance.
    async fn must_not_command(&mut self, access: &str) -> Option<()> {
        let request = Request {
            method: Method::DELETE,
            path: "/users/me/sessions",
            body: Value::Null,
            key: None,
            access: Some(access.to_owned()),
        };
        let reply = self.until_final(request).await?;
        if reply.status != 401 {
            let what = "a command with the access token of an ended session";
            self.world.broken(format!("c: {what} got {reply:?}"));
        }
        Some(())
    }

    /// Reads the account on each instance, with the access token of a session that has ended or not.
    pub async fn must_read_if_live(&mut self, session: &Session) {
        for number in 0..self.world.instances.count() {
            let request = Request {
                method: Method::GET,
                path: "/users/me",
                body: Value::Null,
                key: None,
                access: Some(session.access.clone()),
            };
            let reply = self.send(number, request, Loss::None).await;
            let status = reply.map(|(reply, _)| reply.status);
            let is_right = match session.fate {
                Fate::Live => status == Some(200),
                _ => status == Some(401),
            };
            if !is_right {
                let letter = if session.fate == Fate::Live { 'a' } else { 'c' };
                self.world.broken(format!(
                    "{letter}: the access token of {} got {status:?} on instance {number}",
                    session.id
                ));
            }
        }
    }

    /// Refreshes by the rule, and loses responses.
    async fn refresh(&mut self, held: &mut Held, manner: Manner) -> Refreshed {
        let presented = held.newest();
        let request = |key| {
            let body = json!({ "refresh_token": presented });
            Request::post("/auth/refresh", body, key)
        };
        let keys: Vec<Option<String>> = match manner {
            Manner::Keyed | Manner::Sleeps => vec![Some(self.secret("key"))],
            Manner::Keyless => vec![None],
            Manner::Windows => (0..3).map(|_| Some(self.secret("key"))).collect(),
        };
        let is_repeatable = matches!(manner, Manner::Keyed | Manner::Sleeps);
        let mut has_slept = manner != Manner::Sleeps;
        let mut requests: Vec<Request> = keys.iter().cloned().map(request).collect();
        // One that was sent twice, as by a proxy.
        if self.chance.below(4) == 0 {
            requests.push(requests[0].clone());
        }
        let (sent, mut calm_since) = (Instant::now(), None);
        loop {
            let mut seen = None;
            for (reply, mut is_seen) in self.send_all(requests).await {
                is_seen &= has_slept;
                match reply.status {
                    200 => {
                        let returned = reply.text("refresh_token");
                        self.exchanged(&presented, &returned, &reply);
                        if is_seen {
                            seen = Some((returned, reply.text("access_token")));
                        }
                    }
                    401 if !is_repeatable && sent.elapsed() > GRACE => return Refreshed::TooLate,
                    _ if reply.is_final() => {
                        let named = super::check::named(&presented);
                        let after = sent.elapsed().as_millis();
                        self.world.broken(format!(
                            "a: the owner of {named:?} got {} {} after {after} ms",
                            reply.status, reply.body
                        ));
                        return Refreshed::Never;
                    }
                    _ => {}
                }
            }
            if let Some((token, access)) = seen {
                count(&self.world.counts.refreshes);
                held.session.tokens.push(token);
                held.session.access = access;
                held.at = Instant::now();
                return Refreshed::Yes;
            }
            if !has_slept {
                has_slept = true;
                count(&self.world.counts.slept);
                tokio::time::sleep(GRACE + BEYOND_GRACE).await;
            }
            if self.pause("a refresh", &mut calm_since).await.is_none() {
                return Refreshed::Never;
            }
            // Any of the windows retries.
            let key = keys[self.chance.below(keys.len())].clone();
            requests = vec![request(key)];
        }
    }

    fn exchanged(&self, presented: &str, returned: &str, reply: &Reply) {
        let exchange = Exchange {
            presented: presented.to_owned(),
            returned: returned.to_owned(),
            is_repeated: reply.is_repeated,
        };
        let new = [returned.to_owned(), reply.text("access_token")];
        self.world.record(|history| {
            history.exchanges.push(exchange);
            history.secrets.extend(new);
        });
    }

    /// Refreshes once more, after the faults have stopped.
    pub async fn refresh_at_last(&mut self, session: &mut Session) {
        let mut held = Held {
            session: session.clone(),
            at: Instant::now(),
        };
        if matches!(self.refresh(&mut held, Manner::Keyed).await, Refreshed::Yes) {
            *session = held.session;
        }
    }

    /// Presents a token that no client got.
    pub async fn must_be_unknown(&mut self, token: &str) {
        let body = json!({ "refresh_token": token });
        let reply = self
            .until_final(Request::post("/auth/refresh", body, None))
            .await;
        let slug = reply.map(|reply| reply.text("type"));
        if slug.as_deref() != Some("/problems/refresh-token-invalid") {
            self.world
                .broken(format!("e: a token made of a row got {slug:?}"));
        }
    }

    /// Sends a request until it gets a final response; `None` if it never does.
    async fn until_final(&mut self, request: Request) -> Option<Reply> {
        let mut calm_since = None;
        loop {
            for (reply, is_seen) in self.send_all(vec![request.clone()]).await {
                let is_in_progress = reply.text("type").ends_with("request-in-progress");
                if is_seen && reply.is_final() && !is_in_progress {
                    return Some(reply);
                }
            }
            self.pause(request.path, &mut calm_since).await?;
        }
    }

    /// Waits before a retry; `None` if it has been long enough since the faults stopped.
    async fn pause(&mut self, what: &str, calm_since: &mut Option<Instant>) -> Option<()> {
        if !self.world.is_running() {
            let calm_since = *calm_since.get_or_insert_with(Instant::now);
            if calm_since.elapsed() > PATIENCE {
                self.world
                    .broken(format!("g: {what} got no final response"));
                return None;
            }
        }
        tokio::time::sleep(self.chance.millis(5, 50)).await;
        Some(())
    }

    /// Sends requests at once, each to any instance. Returns the responses, and whether the client keeps
    /// them: the others are lost, but not to the check.
    async fn send_all(&mut self, requests: Vec<Request>) -> Vec<(Reply, bool)> {
        let mut sent = Vec::new();
        for request in requests {
            let loss = match self.chance.below(8) {
                _ if !self.world.is_running() => Loss::None,
                0 => Loss::Leaves(self.chance.millis(0, 40)),
                1 => Loss::Forgets,
                _ => Loss::None,
            };
            let number = self.chance.below(self.world.instances.count());
            sent.push(self.send(number, request, loss));
        }
        let replies = join_all(sent).await;
        replies.into_iter().flatten().collect()
    }

    fn send(
        &self,
        number: usize,
        request: Request,
        loss: Loss,
    ) -> impl Future<Output = Option<(Reply, bool)>> + use<> {
        let (world, http) = (Arc::clone(&self.world), self.http.clone());
        async move {
            let address = world.instances.address(number)?;
            count(&world.counts.requests);
            let whole = receive(&http, address, request);
            let limit = match loss {
                Loss::Leaves(after) => after,
                _ => TIMEOUT,
            };
            let reply = tokio::time::timeout(limit, whole).await.ok().flatten();
            let is_seen = !matches!(loss, Loss::Forgets);
            if reply.is_none() || !is_seen {
                count(&world.counts.lost);
            }
            reply.map(|reply| (reply, is_seen))
        }
    }
}

/// Sends a request and receives its response.
async fn receive(
    http: &reqwest::Client,
    address: std::net::SocketAddr,
    request: Request,
) -> Option<Reply> {
    let mut sent = http.request(request.method, format!("http://{address}{}", request.path));
    if let Some(key) = &request.key {
        sent = sent.header("Idempotency-Key", key);
    }
    if let Some(access) = &request.access {
        sent = sent.bearer_auth(access);
    }
    if !request.body.is_null() {
        sent = sent.json(&request.body);
    }
    let response = sent.send().await.ok()?;
    let status = response.status().as_u16();
    let is_repeated = response.headers().contains_key("idempotent-replayed");
    let body = response.bytes().await.ok()?;
    Some(Reply {
        status,
        is_repeated,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
