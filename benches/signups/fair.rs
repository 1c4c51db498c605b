//! Fair shares: one network that demands all capacity, beside others that stay within their share.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use load_generator::{Arrivals, Outcome, Target, Times, closed_loop, leaving_loop, open_loop};

use crate::common::Failure;
use crate::http::{Bench, MAX_OPEN, on_a_thread, signups, start, target};
use crate::{Figure, Wanted, millis};

/// Networks beside that of the crowd.
const HONEST: u8 = 16;

/// The part of its share that each honest network uses, at random moments.
const OF_ITS_SHARE: f64 = 0.5;

const TIMES: Times = Times {
    // Long enough for the crowd to fill the queue.
    warm_up: Duration::from_secs(4),
    measured: Duration::from_secs(20),
};

/// How the crowd behaves.
#[derive(Clone, Copy)]
enum Crowd {
    /// Connections that retry at once, whatever the response.
    Impatient(usize),
    /// Clients that disconnect after this time, and so never wait for a response.
    Leaving(usize, Duration),
}

/// Measures the honest networks beside each crowd.
pub fn measure(bench: &Bench<'_>, figures: &mut Vec<Figure>) -> Result<(), Failure> {
    for (name, crowd) in [
        (
            "16 networks within their share, one with 100 connections",
            Crowd::Impatient(100),
        ),
        (
            "16 networks within their share, 40 that leave after 20 ms",
            Crowd::Leaving(40, Duration::from_millis(20)),
        ),
    ] {
        eprintln!("{name}");
        let service = start(bench.url, bench.folder, &[])?;
        let target = target(&service, "/signup")?;
        // Each address of the loopback is a network of its own.
        let from = |network| target.from(IpAddr::from(Ipv4Addr::new(127, 0, 1, network)));
        let crowd = besiege(from(100), crowd);
        let rate = bench.capacity / f64::from(HONEST + 1) * OF_ITS_SHARE;
        let honest: Vec<_> = (1..=HONEST)
            .map(|network| {
                let honest = from(network);
                on_a_thread(move || async move {
                    let make = signups(&honest);
                    open_loop(&honest, rate, Arrivals::Random, MAX_OPEN, TIMES, make).await
                })
            })
            .collect();
        let mut all = Outcome {
            time: TIMES.measured,
            ..Outcome::default()
        };
        for one in honest {
            all = all.with(one.wait()?);
        }
        let crowd = crowd.wait()?;
        let sent = all.responses.len() as u64 + all.errors;
        let time = |share| {
            all.percentile(share, |status| status == 201)
                .map_or(0.0, millis)
        };
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        figures.push(Figure {
            name,
            value: (sent - all.ok() as u64) as f64,
            unit: "lost",
            wanted: Wanted::AtMost(0.0),
            detail: format!(
                "{sent} sent ({rate:.2}/s each), {} made, p50 {:.0} ms, p99 {:.0} ms, {:?}; the crowd: {:?}, {} without a response",
                all.ok(),
                time(0.5),
                time(0.99),
                all.statuses(),
                crowd.statuses(),
                crowd.errors,
            ),
        });
    }
    Ok(())
}

/// Starts a crowd, which runs through the warm-up and the measured time.
fn besiege(target: Target, crowd: Crowd) -> crate::http::Load {
    on_a_thread(move || async move {
        let make = signups(&target);
        match crowd {
            Crowd::Impatient(connections) => closed_loop(&target, connections, TIMES, make).await,
            Crowd::Leaving(clients, after) => {
                let time = TIMES.warm_up + TIMES.measured;
                Outcome {
                    errors: leaving_loop(&target, clients, after, time, make).await,
                    ..Outcome::default()
                }
            }
        }
    })
}
