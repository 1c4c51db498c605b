//! The table of settings: names, defaults and what they mean.
//!
//! Mark a row with `secret(…)` where the value must never be shown, and with `text(…)` where a number,
//! `true` or `false` of the TOML file would be a mistake.

use std::fmt::Write;

/// One setting, as the reader and the reference page know it.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub env: &'static str,
    /// The place in the TOML file; empty where it has none.
    pub toml: &'static str,
    /// The default as text; `None` where it depends on the machine or is absent.
    pub default: Option<&'static str>,
    /// The default in words, where it is not a fixed text.
    pub default_in_words: &'static str,
    /// Whether the value is never shown.
    pub secret: bool,
    /// Whether only a text of the TOML file will do. So it is for every secret.
    pub text: bool,
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
        text: false,
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
        text: false,
        meaning,
    }
}

const fn secret(setting: Setting) -> Setting {
    let mut setting = text(setting);
    setting.secret = true;
    setting
}

const fn text(mut setting: Setting) -> Setting {
    setting.text = true;
    setting
}

/// A standard variable that has no place in the TOML file.
const fn standard(
    env: &'static str,
    default_in_words: &'static str,
    meaning: &'static str,
) -> Setting {
    text(worded(env, "", default_in_words, meaning))
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    text(fixed(
        "HOST",
        "http.host",
        "127.0.0.1",
        "The IP address to listen on.",
    )),
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
        "Connections of clients at a time; more wait to be taken. From three quarters on, a new one closes one of the network that has most, which has made no progress for long; a network that has a quarter of all may be refused new ones. Where the process may not open as many files, it is fewer, with a warning.",
    ),
    fixed(
        "HTTP_KEEP_ALIVE_MS",
        "http.keep_alive_ms",
        "75000",
        "How long an idle connection is kept.",
    ),
    text(worded(
        "HTTP_HOSTS",
        "http.hosts",
        "on loopback its own names, elsewhere any",
        "Names that the service is known under, with commas between them, as `signup.example`. \
         Requests for others get 421. On loopback its own names are served as well.",
    )),
    text(worded(
        "CORS_ALLOWED_ORIGINS",
        "http.cors_allowed_origins",
        "none",
        "Whose pages may ask this service from a browser: origins with commas between them, as \
         `https://app.example`.",
    )),
    text(worded(
        "OPERATIONS_HOST",
        "operations.host",
        "that of `HOST`",
        "The address of the listener for `/health`, `/ready` and `/metrics`, where it has one of \
         its own.",
    )),
    worded(
        "OPERATIONS_PORT",
        "operations.port",
        "none: they are on the main listener",
        "The port of a listener of its own for `/health`, `/ready` and `/metrics`. The main one \
         then has them no more. `0` takes a free one.",
    ),
    text(worded(
        "TRUSTED_PROXIES",
        "http.trusted_proxies",
        "none",
        "Whose `X-Forwarded-For` and `traceparent` flags are believed: addresses and networks, such as `10.0.0.0/8,::1`.",
    )),
    fixed(
        "TRUSTED_PROXY_HOPS",
        "http.trusted_proxy_hops",
        "1",
        "How many trusted proxies stand one behind the other, 1 to 16. The client is the last address of \
         `X-Forwarded-For`; of two proxies, the last but one, if the last is a trusted proxy. More than there are \
         would let a client within `TRUSTED_PROXIES` choose its address.",
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
        "`postgres://…` or `sqlite://…`. The folder of a SQLite file is made. Parameters that the service does not \
         know are refused. PgBouncer must be in session mode.",
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
        "The most connections of each pool. There are two, one for commands and one for queries, each over all threads. \
         Queries are fastest with two for each of `HTTP_WORKERS`.",
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
        "How long the answer to a key is kept, from the answer on. At least `REQUEST_TIMEOUT_MS`, or a retry may \
         come too late.",
    ),
    text(worded(
        "RATE_LIMIT_SIGNUP",
        "rate_limit.signup",
        "`20/1m`; `off` where `HOST` is a loopback address",
        "Signups that one client address may send, such as `20/1m`, in a window that slides; `off` for any number. \
         Each instance counts by itself. An IPv6 network of 64 bits is one client, and those around it have \
         limits of their own. Behind a proxy, set `TRUSTED_PROXIES` too: else all clients are one.",
    )),
    text(worded(
        "LOG_FORMAT",
        "log.format",
        "`pretty` on a terminal, else `json`",
        "How a log line looks.",
    )),
    text(fixed(
        "RUST_LOG",
        "log.filter",
        "info",
        "What is logged, such as `info,sqlx=debug`.",
    )),
    secret(worded(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "traces.endpoint",
        "none: no traces leave",
        "Where traces go by OTLP, such as `http://localhost:4318`, or `http://localhost:4317` for gRPC. Over \
         HTTP `/v1/traces` is put behind it. A name and password in it become the header `Authorization`.",
    )),
    secret(standard(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "`OTEL_EXPORTER_OTLP_ENDPOINT`",
        "The same for traces only, over HTTP with nothing put behind it.",
    )),
    secret(worded(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "traces.headers",
        "none",
        "Headers for the collector, such as `api-key=…,x-tenant=a`; percent-encoded where need be.",
    )),
    secret(standard(
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "`OTEL_EXPORTER_OTLP_HEADERS`",
        "The same for traces only.",
    )),
    fixed(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "traces.timeout_ms",
        "10000",
        "How long the collector may take for a batch of spans.",
    ),
    standard(
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "`OTEL_EXPORTER_OTLP_TIMEOUT`",
        "The same for traces only.",
    ),
    text(fixed(
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "traces.compression",
        "none",
        "`none` or `gzip`.",
    )),
    standard(
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "`OTEL_EXPORTER_OTLP_COMPRESSION`",
        "The same for traces only.",
    ),
    text(fixed(
        "OTEL_TRACES_EXPORTER",
        "traces.exporter",
        "otlp",
        "`none`: no traces leave, whatever else is set; or `otlp`.",
    )),
    text(fixed(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "traces.protocol",
        "http/protobuf",
        "`http/protobuf` or `grpc`.",
    )),
    standard(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "`OTEL_EXPORTER_OTLP_PROTOCOL`",
        "The same for traces only.",
    ),
    text(fixed(
        "OTEL_TRACES_SAMPLER",
        "traces.sampler",
        "parentbased_always_on",
        "Which requests are traced: `always_on`, `always_off`, `traceidratio`, or one of these \
         after `parentbased_`, which does as the caller's `traceparent` says where there is one.",
    )),
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
        "OTEL_BSP_SCHEDULE_DELAY",
        "traces.schedule_delay_ms",
        "5000",
        "How long spans gather before they leave.",
    ),
    fixed(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "traces.batch",
        "512",
        "Spans that leave at once; no more than the queue holds.",
    ),
    fixed(
        "OTEL_SDK_DISABLED",
        "traces.disabled",
        "false",
        "Whether no traces leave, whatever else is set.",
    ),
];

/// The row of a setting, by its place in the file, or by its variable where it has no place there.
pub fn find(name: &str) -> Option<&'static Setting> {
    find_in_file(name).or_else(|| SETTINGS.iter().find(|setting| setting.env == name))
}

/// The row of a setting, by its place in the file.
pub fn find_in_file(toml: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| !setting.toml.is_empty() && setting.toml == toml)
}

/// The reference page, `docs/settings.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\
         \n\
         Each has a default, so that the service starts with none; only on PostgreSQL it wants \
         `IDEMPOTENCY_SECRET`. Later wins: the defaults, \
         then a TOML file (`--config FILE` or `SIGNUP_CONFIG`), then the environment, then `--host` \
         and `--port`. An empty variable counts as not set. A wrong value stops the start, with every \
         mistake listed at once.\n\
         \n\
         | environment | TOML | default | meaning |\n\
         |---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = setting.default.map_or_else(
            || setting.default_in_words.to_owned(),
            |text| format!("`{text}`"),
        );
        let toml = if setting.toml.is_empty() {
            "-".to_owned()
        } else {
            format!("`{}`", setting.toml)
        };
        let _ = writeln!(
            page,
            "| `{}` | {toml} | {default} | {} |",
            setting.env, setting.meaning
        );
    }
    page.push_str(
        "\n\
         Each variable may have `_FILE` at its end, and then names a file with the value: \
         `DATABASE_URL_FILE=/run/secrets/database-url`. White space at its ends and a byte order mark do not \
         count. A variable and its `_FILE` must not both be set.\n\
         \n\
         What may be a secret is never shown: neither the URLs, headers and secrets themselves, nor what \
         stands where a file's name or a setting's name belongs.\n\
         \n\
         The variables that begin with `OTEL_` are standard, and may be set for all programs of a machine. As \
         OpenTelemetry asks for, a value of theirs that is not known here is ignored, with a warning in the \
         log; the same value in the TOML file is a mistake. The OpenTelemetry SDK itself reads \
         `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.\n\
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
