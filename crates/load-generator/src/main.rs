//! The load generator as a program, for use by scripts.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use load_generator::{Target, Times, closed_loop};

/// Keeps connections busy with requests, and prints the outcome as JSON.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// POSTs one body after another, each with a number of its own.
    Signups {
        /// The URL, with the scheme `http`.
        #[arg(long)]
        url: String,
        /// Connections to keep busy.
        #[arg(long, default_value_t = 32)]
        connections: usize,
        /// How long to measure, in seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// How long to warm up before measuring, in seconds.
        #[arg(long, default_value_t = 3)]
        warm_up: u64,
        /// The body; `{n}` becomes a number that is different each time.
        #[arg(long)]
        body: String,
        /// The content type of the body.
        #[arg(long, default_value = "application/json")]
        content_type: String,
        /// Further headers, such as `Name: value`; `{n}` as in the body.
        #[arg(long = "header")]
        headers: Vec<String>,
        /// Send an Idempotency-Key of its own with each request.
        #[arg(long)]
        idempotency_key: bool,
    },
}

fn main() -> ExitCode {
    let Load::Signups {
        url,
        connections,
        seconds,
        warm_up,
        body,
        content_type,
        mut headers,
        idempotency_key,
    } = Arguments::parse().load;
    let target = match Target::parse(&url) {
        Ok(target) => target,
        Err(error) => {
            eprintln!("load-generator: {error}");
            return ExitCode::from(2);
        }
    };
    if idempotency_key {
        headers.push("Idempotency-Key: load-{n}".to_owned());
    }
    let times = Times {
        warm_up: Duration::from_secs(warm_up),
        measured: Duration::from_secs(seconds),
    };
    let run = fastrand::u32(..);
    let (to, make_target) = (target.clone(), target);
    let make = move |number| {
        let fill = |text: &String| text.replace("{n}", &format!("{run:08x}{number:08}"));
        let headers: Vec<String> = headers.iter().map(fill).collect();
        make_target.post(&content_type, &headers, &fill(&body))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(closed_loop(&to, connections, times, make));
            println!("{}", outcome.to_json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load-generator: {error}");
            ExitCode::FAILURE
        }
    }
}
