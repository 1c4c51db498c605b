//! A flood of guesses from many networks: what is left for signups, for logins of known devices, and for reads.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::future::join_all;
use load_generator::{Arrivals, Connection, Outcome, Target, Times, closed_loop, open_loop};
use serde_json::{Value, json};

use crate::common::{Failure, Server};
use crate::http::{Bench, CONNECTIONS, MAX_OPEN, load, on_a_thread, signups, start, target};
use crate::{Figure, Wanted, millis};

/// Networks that guess.
const NETWORKS: u16 = 500;

/// Guesses a second, over all networks.
const GUESSES: f64 = 1_000.0;

/// Users who log in from known devices: one after the other, as logins of one device wait for each other.
const USERS: u64 = 16;

/// Logins of known devices a second: some 5 % of what a core of 2024 verifies.
const KNOWN: f64 = 2.0;

/// Reads a second.
const READS: f64 = 200.0;

/// The service without the limit of each client, so that all guesses reach the queue of passwords.
const SETTINGS: &[(&str, &str)] = &[("RATE_LIMIT_LOGIN", "off")];

const TIMES: Times = Times {
    // Long enough for the guesses to fill the queue.
    warm_up: Duration::from_secs(5),
    measured: Duration::from_mins(1),
};

/// A user with a known device.
struct Known {
    /// The path of the user.
    path: String,
    /// The body of a login from the device.
    login: String,
}

/// Measures signups, logins and reads beside the guesses.
pub fn measure(bench: &Bench<'_>, figures: &mut Vec<Figure>) -> Result<(), Failure> {
    let service = start(bench.url, bench.folder, SETTINGS)?;
    let users = known_users(&service)?;
    let before = load(&service, CONNECTIONS, 10)?.wait()?.rate();
    eprintln!("{GUESSES} bad logins/s from {NETWORKS} networks");
    let to = target(&service, "/auth/login")?;
    let guesses = on_a_thread(move || guess(to));
    let to = target(&service, "/auth/login")?;
    let logins: Vec<String> = users.iter().map(|user| user.login.clone()).collect();
    let known = on_a_thread(move || async move {
        let make = bodies(&to, &logins);
        open_loop(&to, KNOWN, Arrivals::Random, MAX_OPEN, TIMES, make).await
    });
    let to = target(&service, "/")?;
    let requests: Vec<_> = users.iter().map(|user| to.get(&user.path)).collect();
    let reads = on_a_thread(move || async move {
        let make = in_turns(requests);
        open_loop(&to, READS, Arrivals::Random, MAX_OPEN, TIMES, make).await
    });
    let to = target(&service, "/signup")?;
    let beside = on_a_thread(move || async move {
        let make = signups(&to);
        closed_loop(&to, CONNECTIONS, TIMES, make).await
    });
    let (guesses, known, reads, beside) = (
        guesses.wait()?,
        known.wait()?,
        reads.wait()?,
        beside.wait()?,
    );
    let after = load(&service, CONNECTIONS, 10)?.wait()?.rate();
    let unloaded = f64::midpoint(before, after);
    let p99 = |outcome: &Outcome| {
        let time = outcome.percentile(0.99, |status| status == 200);
        time.map(millis).ok_or("no request succeeded")
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
    let lost = |outcome: &Outcome| {
        let sent = outcome.responses.len() as u64 + outcome.errors;
        (sent - outcome.ok() as u64) as f64 / sent as f64 * 100.0
    };
    figures.extend([
        Figure {
            name: "1,000 bad logins/s from 500 networks: signups of those without",
            value: beside.rate() / unloaded * 100.0,
            unit: "%",
            wanted: Wanted::AtLeast(25.0),
            detail: format!(
                "{:.1}/s of {unloaded:.1}/s, {:?}; the guesses: {:?}, {} without a response",
                beside.rate(),
                beside.statuses(),
                guesses.statuses(),
                guesses.errors,
            ),
        },
        Figure {
            name: "  logins from known devices, p99",
            value: p99(&known)?,
            unit: "ms",
            wanted: Wanted::AtMost(2_000.0),
            detail: known.to_json().to_string(),
        },
        Figure {
            name: "  logins from known devices without a session",
            value: lost(&known),
            unit: "%",
            wanted: Wanted::AtMost(1.0),
            detail: format!("{:?}", known.statuses()),
        },
        Figure {
            name: "  GET /users/{id}, p99",
            value: p99(&reads)?,
            unit: "ms",
            wanted: Wanted::AtMost(5.0),
            detail: format!("{:.0} reads/s; {}", reads.rate(), reads.to_json()),
        },
    ]);
    Ok(())
}

/// Guesses at a different address each time, from all networks. Each address of the loopback is a network of its own.
async fn guess(target: Target) -> Outcome {
    let rate = GUESSES / f64::from(NETWORKS);
    let all = (0..NETWORKS).map(|network| {
        let [high, low] = (network + 1).to_be_bytes();
        let from = target.from(IpAddr::from(Ipv4Addr::new(127, 1, high, low)));
        async move {
            let make = |number| {
                let email = format!("guess.{network}.{number}@example.org");
                let body = json!({ "email": email, "password": "correct horse battery staple" });
                from.post("application/json", &[], &body.to_string())
            };
            open_loop(&from, rate, Arrivals::Random, MAX_OPEN, TIMES, make).await
        }
    });
    let mut all = join_all(all).await.into_iter();
    let first = all.next().unwrap_or_default();
    all.fold(first, Outcome::with)
}

/// Signs up some users and logs them in, from the device that is known then.
fn known_users(service: &Server) -> Result<Vec<Known>, Failure> {
    let (to_signup, to_login) = (target(service, "/signup")?, target(service, "/auth/login")?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let make = signups(&to_signup);
    let send = async |to: &Target, request: Vec<u8>, status: u16| -> Result<Value, Failure> {
        let response = Connection::open(to).await?.send(&request).await?;
        if response.status != status {
            return Err(format!("a request got {} instead of {status}", response.status).into());
        }
        Ok(serde_json::from_slice(&response.body)?)
    };
    let text = |value: &Value, name: &str| -> Result<String, Failure> {
        let text = value[name].as_str().ok_or("a member is missing")?;
        Ok(text.to_owned())
    };
    let mut users = Vec::new();
    for number in 0..USERS {
        let user = runtime.block_on(send(&to_signup, make(number), 201))?;
        let mut login =
            json!({ "email": text(&user, "email")?, "password": "correct horse battery staple" });
        let request = to_login.post("application/json", &[], &login.to_string());
        let session = runtime.block_on(send(&to_login, request, 200))?;
        login["device_token"] = session["device_token"].clone();
        users.push(Known {
            path: format!("/users/{}", text(&user, "id")?),
            login: login.to_string(),
        });
    }
    Ok(users)
}

fn bodies(target: &Target, bodies: &[String]) -> impl Fn(u64) -> Vec<u8> + use<> {
    let requests = bodies
        .iter()
        .map(|body| target.post("application/json", &[], body));
    in_turns(requests.collect())
}

/// Each of these requests in its turn.
fn in_turns(requests: Vec<Vec<u8>>) -> impl Fn(u64) -> Vec<u8> {
    move |number| {
        let place = usize::try_from(number).unwrap_or(0) % requests.len();
        requests[place].clone()
    }
}
