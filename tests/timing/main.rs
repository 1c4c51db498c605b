//! Whether a login with a wrong password, a request for a mail, or a signup that is to hide it, shows by its time
//! or its bytes if the address has an account.
//!
//! Addresses of several kinds are tried in random order, one request at a time. The times of two kinds
//! must come from one distribution (Kolmogorov and Smirnov, p > 0.01), and their medians within 2 %.
//!
//! Three comparisons at this level fail by chance in one run of 33. So a run that fails is repeated with
//! fresh samples, twice at most, and only three failures in a row count: about one of 37,000. It costs
//! hardly any power, as a difference that shows at nearly every run shows at three of them, too. What
//! can be shown depends on the noise of the machine: each run prints the smallest delay that it would
//! have distinguished. Where little else runs, it is 3 % (`statistics`).

mod service;
mod statistics;

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use service::{Client, Database, Service};
use statistics::{Comparison, Samples};

/// The cost of a hash: some 15 ms, of which a difference that matters is a small part.
const COST: &str = "8";

/// How often the samples are taken before a difference counts.
const TRIES: usize = 3;

/// The parts in which samples are taken and compared.
const BLOCKS: usize = 10;

/// Delays that are planted into samples, as parts of the median, to see whether they are distinguished. The
/// last one is that of one more hash.
const PLANTED: [f64; 6] = [0.03, 0.05, 0.1, 0.2, 0.5, 1.0];

/// The tests measure one after the other.
static IDLE: Mutex<()> = Mutex::const_new(());

/// Addresses of one kind.
struct Kind {
    name: &'static str,
    emails: Vec<String>,
}

fn kind(name: &'static str, count: usize) -> Kind {
    let emails = (0..count).map(|number| format!("{name}{number}@example.org"));
    Kind {
        name,
        emails: emails.collect(),
    }
}

/// What is asked of the service about an address.
#[derive(Clone, Copy)]
enum Request {
    /// A login with a wrong password.
    Login,
    /// A signup, which may create the account.
    Signup,
    /// A request for a mail, at this path.
    Mail(&'static str),
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Login => "/auth/login",
            Self::Signup => "/signup",
            Self::Mail(path) => path,
        }
    }

    fn body(self, email: &str) -> Value {
        let password = "correct horse battery stapl";
        match self {
            Self::Login => json!({ "email": email, "password": password }),
            Self::Signup => json!({ "name": "Ada Lovelace", "email": email, "password": password }),
            Self::Mail(_) => json!({ "email": email }),
        }
    }
}

/// The times of each kind, in milliseconds, in blocks with random order; and what the responses look like.
fn measure(
    service: &Service,
    request: Request,
    kinds: &[&Kind],
    random: &mut fastrand::Rng,
) -> (Vec<Samples>, BTreeSet<String>) {
    let mut samples = vec![Samples(vec![Vec::new(); BLOCKS]); kinds.len()];
    let mut seen = BTreeSet::new();
    for block in 0..BLOCKS {
        let mut client = Client::to(service);
        let mut addresses = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            let of_kind = kind.emails.iter().skip(block).step_by(BLOCKS);
            addresses.extend(of_kind.map(|email| (Some(number), email.as_str())));
        }
        random.shuffle(&mut addresses);
        // The first ones on a connection are slower.
        let first = [(None, "first@example.org"); 3];
        for (number, email) in first.into_iter().chain(addresses) {
            let response = client.post(request.path(), &request.body(email));
            let Some(number) = number else { continue };
            let milliseconds = response.time.as_secs_f64() * 1_000.0;
            samples[number].0[block].push(milliseconds);
            let mut body = json!(response.body);
            if let Ok(problem) = serde_json::from_str(&response.body) {
                body = problem;
                body["request_id"] = json!("");
            }
            // Their order depends on the serving thread alone.
            let names: BTreeSet<String> = response.headers.into_iter().collect();
            seen.insert(format!("{} {names:?} {body}", response.status));
        }
    }
    (samples, seen)
}

/// Compares the first kind with each of the others, and prints the distributions. Returns those that can
/// be distinguished from it.
fn compare(kinds: &[&Kind], samples: &[Samples]) -> Vec<&'static str> {
    println!("  deciles, ms");
    for (kind, samples) in kinds.iter().zip(samples) {
        let deciles: Vec<String> = samples
            .deciles()
            .iter()
            .map(|time| format!("{time:6.2}"))
            .collect();
        println!("    {:10} {}", kind.name, deciles.join(" "));
    }
    let others = kinds.iter().zip(samples).skip(1);
    let distinguished = others.filter_map(|(kind, of_kind)| {
        let comparison = Comparison::of(&samples[0], of_kind);
        let shows = |part: &f64| {
            let delayed = Comparison::of(&samples[0], &of_kind.delayed(*part));
            delayed.distinguishes()
        };
        let least = PLANTED.into_iter().find(shows);
        println!(
            "  {} and {}: p = {:.3}, medians differ by {:+.2} % ± {:.2} %; planted delays show from {}",
            kinds[0].name,
            kind.name,
            comparison.p,
            comparison.difference * 100.0,
            comparison.error * 100.0,
            least.map_or("-".to_owned(), |part| format!("{:.0} %", part * 100.0)),
        );
        assert!(least.is_some(), "even one more hash would not show");
        comparison.distinguishes().then_some(kind.name)
    });
    distinguished.collect()
}

/// Tries until no kind can be distinguished from the first.
fn must_be_alike(service: &Service, request: Request, kinds: &[&Kind], random: &mut fastrand::Rng) {
    must_be_alike_each_time(service, request, &[kinds; TRIES], random);
}

/// The same, with these addresses for each attempt.
fn must_be_alike_each_time(
    service: &Service,
    request: Request,
    attempts: &[&[&Kind]; TRIES],
    random: &mut fastrand::Rng,
) {
    let mut found = Vec::new();
    for (number, kinds) in attempts.iter().enumerate() {
        let (samples, seen) = measure(service, request, kinds, random);
        assert_eq!(seen.len(), 1, "{seen:#?}");
        found = compare(kinds, &samples);
        if found.is_empty() {
            return;
        }
        println!("  attempt {}: distinguished: {found:?}", number + 1);
    }
    panic!("distinguished {TRIES} times: {found:?}");
}

#[rstest]
#[case::on_sqlite(Database::sqlite)]
#[case::on_postgres(Database::postgres)]
#[tokio::test]
async fn the_time_of_a_login_does_not_show_whether_the_address_has_an_account(
    #[case] database: fn() -> Database,
) {
    let _idle = IDLE.lock().await;
    let database = database();
    let service = Service::start(&database, COST);
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let unknown = kind("unknown", 300);
    let (known, suspended) = (kind("known", 300), kind("suspended", 100));
    let unverified = kind("unverified", 100);
    let accounts = [&known, &suspended, &unverified].map(|kind| &kind.emails[..]);
    service.sign_up(&accounts.concat());
    for change in [
        "UPDATE users SET status = 'suspended' WHERE email LIKE 'suspended%'",
        "UPDATE users SET email_verified_at = created_at WHERE email NOT LIKE 'unverified%'",
    ] {
        database.execute(change).await;
    }
    println!("one cost:");
    let kinds = [&unknown, &known, &suspended, &unverified];
    must_be_alike(&service, Request::Login, &kinds, &mut random);
}

/// As after a change of `BCRYPT_COST`: addresses without an account get the costs of the table.
#[rstest]
#[case::on_sqlite(Database::sqlite)]
#[case::on_postgres(Database::postgres)]
#[tokio::test]
async fn nor_does_it_where_hashes_have_several_costs(#[case] database: fn() -> Database) {
    let _idle = IDLE.lock().await;
    let database = database();
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let (unknown, mixed) = (kind("unknown", 300), kind("mixed", 100));
    for (cost, accounts) in [("7", 0..30), ("8", 30..70), ("9", 70..100)] {
        Service::start(&database, cost).sign_up(&mixed.emails[accounts]);
    }
    // The costs are counted when it starts.
    let service = Service::start(&database, COST);
    println!("several costs:");
    must_be_alike(&service, Request::Login, &[&unknown, &mixed], &mut random);
}

/// The same for requests for a mail: addresses without an account, verified ones, others, and some that have had as many
/// mails as they get.
#[rstest]
#[case::on_sqlite(Database::sqlite)]
#[case::on_postgres(Database::postgres)]
#[tokio::test]
async fn nor_does_the_time_of_a_request_for_a_mail(
    #[case] database: fn() -> Database,
    #[values("/auth/password/forgot", "/auth/verify-email/resend")] path: &'static str,
) {
    let _idle = IDLE.lock().await;
    let database = database();
    let service = Service::start(&database, "4");
    let mut random = fastrand::Rng::with_seed(20_261_127);
    let unknown = kind("unknown", 300);
    let (known, unverified) = (kind("known", 300), kind("unverified", 100));
    let limited = kind("limited", 100);
    let accounts = [&known, &unverified, &limited].map(|kind| &kind.emails[..]);
    service.sign_up(&accounts.concat());
    let verify =
        "UPDATE users SET email_verified_at = created_at WHERE email NOT LIKE 'unverified%'";
    database.execute(verify).await;
    let request = Request::Mail(path);
    let mut client = Client::to(&service);
    for email in limited.emails.iter().cycle().take(4 * limited.emails.len()) {
        let response = client.post(path, &request.body(email));
        assert_eq!(response.status, 202, "{}", response.body);
    }
    println!("{path}:");
    let kinds = [&unknown, &known, &unverified, &limited];
    must_be_alike(&service, request, &kinds, &mut random);
}

/// The same for signups, where the response is to say nothing (`SIGNUP_ANSWER=uniform`): free addresses, of which each
/// attempt takes new ones, and taken ones. The hash is as short as it can be, so that the write shows.
#[rstest]
#[case::on_sqlite(Database::sqlite)]
#[case::on_postgres(Database::postgres)]
#[tokio::test]
async fn nor_does_the_time_of_a_signup_that_is_to_hide_it(#[case] database: fn() -> Database) {
    let _idle = IDLE.lock().await;
    let database = database();
    let taken = [kind("verified", 150), kind("unverified", 150)];
    Service::start(&database, "4").sign_up(&taken.each_ref().map(|kind| &kind.emails[..]).concat());
    database
        .execute("UPDATE users SET email_verified_at = created_at WHERE email LIKE 'verified%'")
        .await;
    let service = Service::start_with(&database, "4", &[("SIGNUP_ANSWER", "uniform")]);
    let mut random = fastrand::Rng::with_seed(20_261_127);
    let free: [Kind; TRIES] = ["free", "another", "third"].map(|name| kind(name, 300));
    let attempts = free.each_ref().map(|free| [free, &taken[0], &taken[1]]);
    println!("uniform signups:");
    must_be_alike_each_time(
        &service,
        Request::Signup,
        &attempts.each_ref().map(|kinds| &kinds[..]),
        &mut random,
    );
}

/// As after an import: addresses without an account get the formats of the table, too.
#[rstest]
#[case::on_sqlite(Database::sqlite)]
#[case::on_postgres(Database::postgres)]
#[tokio::test]
async fn nor_does_it_where_hashes_were_imported(#[case] database: fn() -> Database) {
    let _idle = IDLE.lock().await;
    let database = database();
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let (unknown, imported) = (kind("unknown", 300), kind("imported", 100));
    Service::start(&database, COST).sign_up(&imported.emails);
    // A tenth each by scrypt, PBKDF2 and bcrypt; the rest by Argon2.
    for change in [
        "UPDATE users SET password_hash = '$argon2id$v=19$m=8192,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$\
         AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'",
        "UPDATE users SET password_hash = '$scrypt$ln=13,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$\
         AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8' WHERE email LIKE '%0@example.org'",
        "UPDATE users SET password_hash = '$pbkdf2-sha256$20000$AAECAwQFBgcICQoLDA0ODw$\
         AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8' WHERE email LIKE '%1@example.org'",
        "UPDATE users SET password_hash = '$2b$08$C/CQCvOTDfaWEPmZF/ycFu\
         2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG' WHERE email LIKE '%2@example.org'",
    ] {
        database.execute(change).await;
    }
    // The formats are counted when it starts.
    let service = Service::start(&database, COST);
    println!("imported hashes:");
    must_be_alike(
        &service,
        Request::Login,
        &[&unknown, &imported],
        &mut random,
    );
}
