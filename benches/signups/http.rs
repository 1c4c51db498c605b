//! The service under load, over HTTP.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use load_generator::{Arrivals, Connection, Outcome, Target, Times, closed_loop, open_loop};
use serde_json::{Value, json};

use crate::common::{Failure, Server, migrate, threads};
use crate::hashing::{self, Hashing};
use crate::{Figure, Wanted, fair, flood, millis};

/// Connections that saturate signups.
pub const CONNECTIONS: usize = 64;

/// Rounds on each database, of which the median counts.
const ROUNDS: usize = 3;

/// Connections that read during the signups.
const READERS: usize = 4;

/// More connections than the overload ever opens.
pub const MAX_OPEN: usize = 8192;

/// The limit for the response to a refused request.
const REFUSED_WITHIN_MS: f64 = 100.0;

/// Measures every figure of the service.
pub fn measure(one_thread: &Hashing, figures: &mut Vec<Figure>) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let postgres = throwaway_servers::postgres::server().database();
    let sqlite = format!("sqlite://{}", folder.path().join("bench.db").display());
    let mut capacity = 0.0;
    let mut services = Vec::new();
    for (database, url, name) in [
        (
            "PostgreSQL",
            postgres.url(),
            "POST /signup, 64 connections, PostgreSQL: share of hashing",
        ),
        (
            "SQLite",
            sqlite.clone(),
            "POST /signup, 64 connections, SQLite: share of hashing",
        ),
    ] {
        migrate(&url)?;
        let log = folder.path().join(format!("{database}.log"));
        services.push((
            database,
            name,
            Server::service(&url, &log, &[])?,
            Vec::new(),
        ));
    }
    // In turns, so that a slow moment of the machine affects both; the possible rate is measured before and after
    // each load.
    let mut before = hashing::rate(threads());
    for round in 1..=ROUNDS {
        for (database, _, service, rounds) in &mut services {
            eprintln!("signups on {database}: round {round} of {ROUNDS}");
            let outcome = load(service, CONNECTIONS, 12)?.wait()?;
            let after = hashing::rate(threads());
            rounds.push((outcome, f64::midpoint(before, after)));
            before = after;
        }
    }
    for (_, name, _, mut rounds) in services {
        rounds.sort_by(|(one, possible), (other, also)| {
            (one.rate() / possible).total_cmp(&(other.rate() / also))
        });
        let (outcome, possible) = rounds.swap_remove(ROUNDS / 2);
        capacity = outcome.rate();
        figures.push(Figure {
            name,
            value: capacity / possible * 100.0,
            unit: "%",
            wanted: Wanted::AtLeast(90.0),
            detail: format!("{capacity:.1}/s of {possible:.1}/s; {}", outcome.to_json()),
        });
    }
    let on_sqlite = Bench {
        url: &sqlite,
        folder: folder.path(),
        capacity,
        hashing: one_thread,
    };
    on_sqlite.reads(figures)?;
    on_sqlite.light(figures)?;
    on_sqlite.overload(figures)?;
    fair::measure(&on_sqlite, figures)?;
    flood::measure(&on_sqlite, figures)
}

/// A part of the figures.
pub type Part = fn(&Bench<'_>, &mut Vec<Figure>) -> Result<(), Failure>;

/// Measures a part alone, with a capacity measured just before.
pub fn measure_part(
    one_thread: &Hashing,
    figures: &mut Vec<Figure>,
    part: Part,
) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    migrate(&url)?;
    let service = start(&url, folder.path(), &[])?;
    let capacity = load(&service, CONNECTIONS, 8)?.wait()?.rate();
    drop(service);
    let bench = Bench {
        url: &url,
        folder: folder.path(),
        capacity,
        hashing: one_thread,
    };
    part(&bench, figures)
}

/// The service on one database.
pub struct Bench<'a> {
    pub url: &'a str,
    pub folder: &'a Path,
    /// The capacity measured before, in signups a second.
    pub capacity: f64,
    hashing: &'a Hashing,
}

impl Bench<'_> {
    /// Reads by id: on an idle service, while signups saturate it, and without the lower priority of hashing.
    fn reads(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        for (name, settings, is_busy, wanted) in [
            (
                "GET /users/{id}, p99, idle",
                &[][..],
                false,
                Wanted::Nothing,
            ),
            (
                "GET /users/{id}, p99, while signups saturate",
                &[],
                true,
                Wanted::AtMost(5.0),
            ),
            (
                "the same with BCRYPT_NICE=0",
                &[("BCRYPT_NICE", "0")],
                true,
                Wanted::Nothing,
            ),
        ] {
            eprintln!("{name}");
            let service = start(self.url, self.folder, settings)?;
            let path = sign_up_one(&service)?;
            let signups = is_busy
                .then(|| load(&service, CONNECTIONS, 12))
                .transpose()?;
            let target = target(&service, "/")?;
            let request = target.get(&path);
            let outcome = on_a_thread(move || async move {
                let times = Times {
                    warm_up: Duration::from_secs(2),
                    measured: Duration::from_secs(10),
                };
                closed_loop(&target, READERS, times, move |_| request.clone()).await
            })
            .wait()?;
            let signups = signups.map(Load::wait).transpose()?;
            let p99 = outcome
                .percentile(0.99, |status| status == 200)
                .ok_or("no read succeeded")?;
            let beside = signups.map_or_else(String::new, |signups| {
                format!(", {:.1} signups/s meanwhile", signups.rate())
            });
            figures.push(Figure {
                name,
                value: millis(p99),
                unit: "ms",
                wanted,
                detail: format!(
                    "{:.0} reads/s{beside}; {}",
                    outcome.rate(),
                    outcome.to_json()
                ),
            });
        }
        Ok(())
    }

    /// Signups at random moments, at a quarter of the capacity.
    fn light(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        const SECONDS: u64 = 60;
        let rate = self.capacity / 4.0;
        eprintln!("{rate:.1} signups/s at random moments, {SECONDS} s");
        let service = start(self.url, self.folder, &[])?;
        let target = target(&service, "/signup")?;
        let outcome = on_a_thread(move || async move {
            let make = signups(&target);
            open_loop(
                &target,
                rate,
                Arrivals::Random,
                MAX_OPEN,
                Times::seconds(SECONDS),
                make,
            )
            .await
        })
        .wait()?;
        let p99 = outcome
            .percentile(0.99, |status| status == 201)
            .ok_or("no signup succeeded")?;
        figures.push(Figure {
            name: "POST /signup at 25 % of capacity, p99, against one hash",
            value: p99.as_secs_f64() / self.hashing.one().as_secs_f64(),
            unit: "times",
            wanted: Wanted::AtMost(1.5),
            detail: format!(
                "{:.0} ms against {:.0} ms; {}",
                millis(p99),
                millis(self.hashing.one()),
                outcome.to_json()
            ),
        });
        Ok(())
    }

    /// Ten times the capacity, for half a minute.
    fn overload(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        const SECONDS: u64 = 30;
        let rate = self.capacity * 10.0;
        // The capacity is measured before and after, because the speed of a machine varies.
        let service = start(self.url, self.folder, &[])?;
        let capacity_before = load(&service, CONNECTIONS, 10)?.wait()?.rate();
        eprintln!("{rate:.0} signups/s for {SECONDS} s");
        let to = target(&service, "/signup")?;
        let running = on_a_thread(move || async move {
            let make = signups(&to);
            // Long enough to fill the queue.
            let times = Times {
                warm_up: Duration::from_secs(6),
                measured: Duration::from_secs(SECONDS),
            };
            open_loop(&to, rate, Arrivals::Even, MAX_OPEN, times, make).await
        });
        std::thread::sleep(Duration::from_secs(8));
        let before = resident_bytes(&service)?;
        std::thread::sleep(Duration::from_secs(SECONDS - 4));
        let after = resident_bytes(&service)?;
        let outcome = running.wait()?;
        let begun = Instant::now();
        sign_up_one(&service)?;
        let recovered = begun.elapsed();
        let capacity_after = load(&service, CONNECTIONS, 10)?.wait()?.rate();
        let capacity = f64::midpoint(capacity_before, capacity_after);
        let refused = |share| outcome.percentile(share, |status| status == 503);
        let (p99, worst) = (
            refused(0.99).unwrap_or_default(),
            refused(1.0).unwrap_or_default(),
        );
        let others: Vec<(u16, u64)> = outcome
            .statuses()
            .into_iter()
            .filter(|(status, _)| ![201, 503].contains(status))
            .collect();
        let detail = outcome.to_json().to_string();
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts and bytes of one process"
        )]
        figures.extend([
            Figure {
                name: "ten times the capacity offered: goodput of capacity",
                value: outcome.rate() / capacity * 100.0,
                unit: "%",
                wanted: Wanted::AtLeast(90.0),
                detail: format!("{:.1}/s of {:.1}/s; {detail}", outcome.rate(), capacity),
            },
            Figure {
                name: "  503, p99",
                value: millis(p99),
                unit: "ms",
                wanted: Wanted::AtMost(REFUSED_WITHIN_MS),
                detail: format!("worst {:.1} ms", millis(worst)),
            },
            Figure {
                name: "  neither 201 nor 503",
                value: outcome.errors as f64
                    + others.iter().map(|(_, count)| *count as f64).sum::<f64>(),
                unit: "",
                wanted: Wanted::AtMost(0.0),
                detail: format!("{others:?}, {} without a response", outcome.errors),
            },
            Figure {
                name: "  memory at its end, of that after 8 s",
                value: after as f64 / before as f64 * 100.0,
                unit: "%",
                wanted: Wanted::AtMost(110.0),
                detail: format!(
                    "{:.1} MB, then {:.1} MB",
                    before as f64 / 1e6,
                    after as f64 / 1e6
                ),
            },
            Figure {
                name: "  the first signup after it, against one hash",
                value: recovered.as_secs_f64() / self.hashing.one().as_secs_f64(),
                unit: "times",
                wanted: Wanted::AtMost(1.5),
                detail: format!("{:.0} ms", millis(recovered)),
            },
        ]);
        Ok(())
    }
}

pub fn start(url: &str, folder: &Path, settings: &[(&str, &str)]) -> Result<Server, Failure> {
    Server::service(url, &folder.join("service.log"), settings)
}

pub fn target(service: &Server, path: &str) -> Result<Target, Failure> {
    Ok(Target::parse(&format!("http://{}{path}", service.address))?)
}

/// Builds signups of new users, each with its own key.
pub fn signups(target: &Target) -> impl Fn(u64) -> Vec<u8> + use<> {
    let (target, run) = (target.clone(), Instant::now());
    let run = format!(
        "{:p}{:?}",
        &raw const run,
        std::time::UNIX_EPOCH.elapsed().ok()
    );
    let run: String = run.chars().filter(char::is_ascii_alphanumeric).collect();
    move |number| {
        let body = json!({
            "name": "Ada Lovelace",
            "email": format!("ada.{run}.{number}@example.org"),
            "password": "correct horse battery staple",
        });
        let key = format!("Idempotency-Key: {run}-{number}");
        target.post("application/json", &[key], &body.to_string())
    }
}

/// Signs up one user and returns the user's path.
fn sign_up_one(service: &Server) -> Result<String, Failure> {
    let target = target(service, "/signup")?;
    let request = signups(&target)(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let response =
        runtime.block_on(async { Connection::open(&target).await?.send(&request).await })?;
    if response.status != 201 {
        return Err(format!("a signup got {}", response.status).into());
    }
    let user: Value = serde_json::from_slice(&response.body)?;
    let id = user["id"].as_str().ok_or("the user has no id")?;
    Ok(format!("/users/{id}"))
}

/// A load that runs on a separate thread.
pub struct Load(JoinHandle<Outcome>);

impl Load {
    pub fn wait(self) -> Result<Outcome, Failure> {
        self.0.join().map_err(|_| "the load generator broke".into())
    }
}

pub fn on_a_thread<F: Future<Output = Outcome>>(load: impl FnOnce() -> F + Send + 'static) -> Load {
    Load(std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(load())
    }))
}

/// Keeps connections busy with signups for some seconds.
pub fn load(service: &Server, connections: usize, seconds: u64) -> Result<Load, Failure> {
    let target = target(service, "/signup")?;
    let times = Times {
        warm_up: Duration::from_secs(3),
        measured: Duration::from_secs(seconds),
    };
    Ok(on_a_thread(move || async move {
        let make = signups(&target);
        closed_loop(&target, connections, times, make).await
    }))
}

/// The resident memory of the service, in bytes.
fn resident_bytes(service: &Server) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.ok_or("no figure for memory")? * 1024)
}
