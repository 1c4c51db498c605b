//! The table of settings: names, defaults and what they mean.

use std::fmt::Write;

/// One setting, as the reader and the reference page know it.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub env: &'static str,
    /// The place in the TOML file.
    pub toml: &'static str,
    /// The default as text; `None` where it depends on the machine or is absent.
    pub default: Option<&'static str>,
    /// The default in words, where it is not a fixed text.
    pub default_in_words: &'static str,
    /// Whether the value is never shown.
    pub secret: bool,
    /// What it does.
    pub meaning: &'static str,
}

const fn fixed(
    env: &'static str,
    toml: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        env,
        toml,
        default: Some(default),
        default_in_words: "",
        secret: false,
        meaning,
    }
}

const fn worded(
    env: &'static str,
    toml: &'static str,
    default_in_words: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        env,
        toml,
        default: None,
        default_in_words,
        secret: false,
        meaning,
    }
}

const fn secret(mut setting: Setting) -> Setting {
    setting.secret = true;
    setting
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    fixed(
        "HOST",
        "http.host",
        "127.0.0.1",
        "The IP address to listen on.",
    ),
    fixed(
        "PORT",
        "http.port",
        "8000",
        "The port. `0` takes a free one, and the ready line in the log says which.",
    ),
    worded(
        "HTTP_WORKERS",
        "http.workers",
        "one a core",
        "Threads that serve requests.",
    ),
    fixed(
        "REQUEST_TIMEOUT_MS",
        "http.request_timeout_ms",
        "10000",
        "How long a request may take from its head to its answer.",
    ),
    fixed(
        "HTTP_READ_TIMEOUT_MS",
        "http.read_timeout_ms",
        "5000",
        "How long the head of a request may take to arrive, and again its body.",
    ),
    fixed(
        "HTTP_MAX_CONNECTIONS",
        "http.max_connections",
        "4096",
        "Connections of clients at a time; more wait to be taken. Keep it below the process's limit of open files.",
    ),
    fixed(
        "HTTP_KEEP_ALIVE_MS",
        "http.keep_alive_ms",
        "75000",
        "How long an idle connection is kept.",
    ),
    worded(
        "TRUSTED_PROXIES",
        "http.trusted_proxies",
        "none",
        "Whose `X-Forwarded-For` is believed: addresses and networks, such as `10.0.0.0/8,::1`.",
    ),
    fixed(
        "SHUTDOWN_GRACE_MS",
        "http.shutdown_grace_ms",
        "15000",
        "How long requests in flight may take to finish after a signal to stop.",
    ),
    fixed(
        "SHUTDOWN_DELAY_MS",
        "http.shutdown_delay_ms",
        "0",
        "How long to go on serving, but not ready, after a signal to stop: the time a load \
         balancer needs to notice.",
    ),
    secret(fixed(
        "DATABASE_URL",
        "database.url",
        "sqlite://data/signup.db",
        "`postgres://…` or `sqlite://…`. The folder of a SQLite file is made.",
    )),
    secret(worded(
        "DATABASE_READ_URL",
        "database.read_url",
        "none",
        "A PostgreSQL replica for the query side. It may lag: a user who has just signed up may \
         not be found for a moment.",
    )),
    fixed(
        "DATABASE_MAX_CONNECTIONS",
        "database.max_connections",
        "10",
        "The most connections of each pool. There are two, one for commands and one for queries.",
    ),
    worded(
        "DATABASE_MIGRATE",
        "database.migrate",
        "`true` on SQLite, `false` on PostgreSQL",
        "Whether `serve` migrates first. Without it, `serve` refuses to start on pending \
         migrations.",
    ),
    fixed(
        "DATABASE_ALLOW_ASYNC_COMMIT",
        "database.allow_async_commit",
        "false",
        "Whether a PostgreSQL with `synchronous_commit=off` is accepted. It loses acknowledged \
         signups when it crashes.",
    ),
    secret(worded(
        "REDIS_URL",
        "redis.url",
        "none",
        "`redis://…`, or `rediss://…` for TLS: Redis 7 or newer. It saves work when a signup is sent more than \
         once, and is never needed.",
    )),
    fixed(
        "BCRYPT_COST",
        "hashing.cost",
        "12",
        "The cost of bcrypt, 4 to 31. Below 10 warns at start.",
    ),
    worded(
        "BCRYPT_THREADS",
        "hashing.threads",
        "one a core",
        "Threads that hash passwords.",
    ),
    fixed(
        "BCRYPT_LANES",
        "hashing.lanes",
        "8",
        "Hashes that a thread moves forward together, 1 to 8. Four take hardly longer than one; eight make \
         some more a second, and each takes longer.",
    ),
    fixed(
        "BCRYPT_QUEUE",
        "hashing.queue",
        "256",
        "Passwords that may wait for a lane. Beyond it the answer is 503.",
    ),
    fixed(
        "BCRYPT_NICE",
        "hashing.nice",
        "3",
        "How much hashing stands back behind the threads that serve requests, and behind all else that runs in \
         the same container or session: 0 not at all, 19 the most. On Linux only.",
    ),
    secret(worded(
        "IDEMPOTENCY_SECRET",
        "idempotency.secret",
        "on SQLite: made once, kept beside the database; on PostgreSQL: must be set",
        "Keys and requests are stored only as hashes under it. At least 32 bytes, the same for every instance.",
    )),
    secret(worded(
        "IDEMPOTENCY_SECRET_PREVIOUS",
        "idempotency.secret_previous",
        "none",
        "The secret before a change. Give every instance both secrets first, then change their places.",
    )),
    fixed(
        "IDEMPOTENCY_REQUIRED",
        "idempotency.required",
        "false",
        "Whether a signup without an `Idempotency-Key` is refused.",
    ),
    fixed(
        "IDEMPOTENCY_TTL_SECONDS",
        "idempotency.ttl_seconds",
        "86400",
        "How long the answer to a key is kept.",
    ),
    worded(
        "RATE_LIMIT_SIGNUP",
        "rate_limit.signup",
        "`20/1m`; `off` where `HOST` is a loopback address",
        "Signups that one client address may send, such as `20/1m`, in a window that slides; `off` for any number. \
         Each instance counts by itself. An IPv6 network of 64 bits is one client. Behind a proxy, set \
         `TRUSTED_PROXIES` too: else all clients are one.",
    ),
    worded(
        "LOG_FORMAT",
        "log.format",
        "`pretty` on a terminal, else `json`",
        "How a log line looks.",
    ),
    fixed(
        "RUST_LOG",
        "log.filter",
        "info",
        "What is logged, such as `info,sqlx=debug`.",
    ),
    worded(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "traces.endpoint",
        "none: no traces leave",
        "Where traces go by OTLP, such as `http://localhost:4318`, or `http://localhost:4317` for gRPC. Secrets \
         belong into `OTEL_EXPORTER_OTLP_HEADERS`.",
    ),
    fixed(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "traces.protocol",
        "http/protobuf",
        "`http/protobuf` or `grpc`.",
    ),
    fixed(
        "OTEL_TRACES_SAMPLER",
        "traces.sampler",
        "parentbased_always_on",
        "Which requests are traced: `always_on`, `always_off`, `traceidratio`, or one of these \
         after `parentbased_`, which does as the caller's `traceparent` says where there is one.",
    ),
    fixed(
        "OTEL_TRACES_SAMPLER_ARG",
        "traces.sampler_arg",
        "1",
        "The share of requests that `traceidratio` traces, from 0 to 1.",
    ),
    fixed(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "traces.queue",
        "2048",
        "Spans that may wait for the collector. Beyond it they are dropped, and counted.",
    ),
    fixed(
        "OTEL_SDK_DISABLED",
        "traces.disabled",
        "false",
        "Whether no traces leave, whatever else is set.",
    ),
];

/// The row of a setting, by its place in the file.
pub fn find(toml: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.toml == toml)
}

/// The reference page, `docs/settings.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\
         \n\
         Each has a default, so that the service starts with none; only on PostgreSQL it wants \
         `IDEMPOTENCY_SECRET`. Later wins: the defaults, \
         then a TOML file (`--config FILE` or `SIGNUP_CONFIG`), then the environment. An empty \
         variable counts as not set. A wrong value stops the start, with every mistake listed at \
         once.\n\
         \n\
         | environment | TOML | default | meaning |\n\
         |---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = setting.default.map_or_else(
            || setting.default_in_words.to_owned(),
            |text| format!("`{text}`"),
        );
        let env = if setting.secret {
            format!("`{0}`, `{0}_FILE`", setting.env)
        } else {
            format!("`{}`", setting.env)
        };
        let _ = writeln!(
            page,
            "| {env} | `{}` | {default} | {} |",
            setting.toml, setting.meaning
        );
    }
    page.push_str(
        "\n\
         A secret setting, which has `_FILE` beside its variable, may be read from a file instead: \
         `DATABASE_URL_FILE=/run/secrets/database-url`. White space at its ends does not count.\n\
         \n\
         The OpenTelemetry SDK itself reads the other standard variables that concern traces: \
         `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, \
         `OTEL_EXPORTER_OTLP_TIMEOUT` and `OTEL_BSP_SCHEDULE_DELAY`.\n\
         \n\
         The same in a file:\n\
         \n\
         ```toml\n\
         [http]\n\
         port = 8080\n\
         request_timeout_ms = 5000\n\
         \n\
         [database]\n\
         url = \"postgres://signup@db.internal/signup\"\n\
         \n\
         [log]\n\
         format = \"json\"\n\
         ```\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        let written = std::fs::read_to_string(path).expect("docs/settings.md");
        assert!(
            written == reference(),
            "docs/settings.md is stale: run `make docs`"
        );
    }
}
