//! Settings of traces, which are OpenTelemetry's standard variables.
//!
//! The platform may set them for all programs of a machine. So a variable for traces takes
//! precedence over the general one, and an unknown value is ignored with a warning, as in the
//! specification (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables).

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::reader::Sources;
use super::setting::{Setting, fixed, secret, standard, text, worded};
use super::values::{millis, number, one_line};

/// The maximum of waiting spans: each takes about half a kilobyte.
const MAX_QUEUE: usize = 65_536;

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    secret(worded(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "traces.endpoint",
        "none: no traces are exported",
        "The OTLP endpoint for traces, such as `http://localhost:4318`, or `http://localhost:4317` for gRPC. Over \
         HTTP `/v1/traces` is appended. A name and password in it become the header `Authorization`.",
    )),
    secret(standard(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "`OTEL_EXPORTER_OTLP_ENDPOINT`",
        "The same for traces only; over HTTP nothing is appended.",
    )),
    secret(worded(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "traces.headers",
        "none",
        "Headers for the collector, such as `api-key=…,x-tenant=a`; percent-encoded where necessary.",
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
        "`none`: no traces are exported, whatever else is set; or `otlp`.",
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
         after `parentbased_`, which follows the caller's `traceparent` if there is one.",
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
        "How long spans are collected before an export.",
    ),
    fixed(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "traces.batch",
        "512",
        "The maximum number of spans per export; at most the size of the queue.",
    ),
    fixed(
        "OTEL_SDK_DISABLED",
        "traces.disabled",
        "false",
        "Whether no traces are exported, whatever else is set.",
    ),
];

/// Settings of traces.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The endpoint with its full path, without a name and password; `None` if no traces are
    /// exported.
    pub endpoint: Option<SecretString>,
    /// Headers for the collector.
    pub headers: Vec<Header>,
    /// The protocol.
    pub protocol: TraceProtocol,
    /// Whether they are compressed.
    pub gzip: bool,
    /// How long the collector may take for a batch.
    pub timeout: Duration,
    /// Which requests are traced.
    pub sampler: TraceSampler,
    /// The maximum number of spans waiting for export.
    pub queue: usize,
    /// The maximum number of spans per export.
    pub batch: usize,
    /// How long spans are collected before an export.
    pub delay: Duration,
}

/// A header for the collector. `Debug` does not show its value.
#[derive(Clone)]
pub struct Header {
    /// An HTTP token, in lower case.
    pub name: String,
    /// Visible ASCII and spaces.
    pub value: SecretString,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Header(..)")
    }
}

/// The protocol of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceProtocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, as protobuf.
    HttpProtobuf,
}

/// Which requests are traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceSampler {
    /// Whether the caller decides, if there is one that traces.
    pub parent_based: bool,
    /// The share of other requests, from 0 to 1.
    pub share: f64,
}

pub(super) fn read(s: &mut Sources) -> TraceSettings {
    let protocol = s.take("traces.protocol", protocol);
    let protocol = s.take_or(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        protocol,
        self::protocol,
    );
    let general = s.take_optional("traces.endpoint", endpoint);
    let own = s.take_optional("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint);
    let url = own.or_else(|| general.map(|url| with_path(url, protocol)));
    let headers = s.take_optional("traces.headers", headers);
    let own = s.take_optional("OTEL_EXPORTER_OTLP_TRACES_HEADERS", self::headers);
    let mut headers = own.or(headers).unwrap_or_default();
    let url = url.map(|url| without_password(url, &mut headers));
    let gzip = s.take("traces.compression", compression);
    let timeout = s.take("traces.timeout_ms", |text| millis(text, 1));
    let disabled = s.take("traces.disabled", disabled);
    let exported = s.take("traces.exporter", exporter);
    let share = s.take("traces.sampler_arg", share);
    let queue = s.take("traces.queue", |text| number(text, (1, MAX_QUEUE)));
    TraceSettings {
        endpoint: url
            .filter(|_| exported && !disabled)
            .map(|url| SecretString::from(String::from(url))),
        headers,
        protocol,
        gzip: s.take_or("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", gzip, compression),
        timeout: s.take_or("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", timeout, |text| {
            millis(text, 1)
        }),
        sampler: s.take("traces.sampler", |text| sampler(text, share)),
        queue,
        batch: s
            .take("traces.batch", |text| number(text, (1, MAX_QUEUE)))
            .min(queue),
        // Without a pause between two exports, a thread would be busy all the time.
        delay: s.take("traces.schedule_delay_ms", |text| millis(text, 10)),
    }
}

fn protocol(text: &str) -> Result<TraceProtocol, String> {
    match text {
        "grpc" => Ok(TraceProtocol::Grpc),
        "http/protobuf" => Ok(TraceProtocol::HttpProtobuf),
        _ => Err("must be http/protobuf or grpc".to_owned()),
    }
}

fn endpoint(text: &str) -> Result<Url, String> {
    one_line(text)?;
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| "must be a URL that begins with http:// or https://".to_owned())
}

/// Appends the path of traces: over HTTP, each signal has its own.
fn with_path(mut url: Url, protocol: TraceProtocol) -> Url {
    if protocol == TraceProtocol::HttpProtobuf {
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    url
}

/// Moves the name and password of a URL to a header: libraries log URLs.
fn without_password(mut url: Url, headers: &mut Vec<Header>) -> Url {
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let user = decoded(url.username());
    let password = decoded(url.password().unwrap_or_default());
    if user.is_empty() && password.is_empty() {
        return url;
    }
    // An HTTP URL accepts both.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if headers.iter().all(|header| header.name != "authorization") {
        let credentials = STANDARD.encode([&user[..], b":", &password].concat());
        headers.push(Header {
            name: "authorization".to_owned(),
            value: SecretString::from(format!("Basic {credentials}")),
        });
    }
    url
}

/// `name=value`, separated by commas; percent-encoded.
fn headers(text: &str) -> Result<Vec<Header>, String> {
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let is_field = |c: char| (' '..='~').contains(&c);
        let is_valid =
            !name.is_empty() && name.chars().all(is_token) && value.chars().all(is_field);
        let value = SecretString::from(&*value);
        is_valid.then_some(Header { name, value })
    };
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(header)
        .collect::<Option<_>>()
        .ok_or_else(|| "must be a list such as name=value,other=value".to_owned())
}

fn compression(text: &str) -> Result<bool, String> {
    match text {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err("must be none or gzip".to_owned()),
    }
}

fn disabled(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Whether spans are exported by OTLP.
fn exporter(text: &str) -> Result<bool, String> {
    let mut names = text.split(',').map(str::trim);
    match text {
        "none" => Ok(false),
        _ if names.any(|name| name == "otlp") => Ok(true),
        _ => Err("must be otlp or none".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

fn sampler(text: &str, ratio: f64) -> Result<TraceSampler, String> {
    let root = text.strip_prefix("parentbased_");
    let share = match root.unwrap_or(text) {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => ratio,
        _ => {
            return Err(
                "must be always_on, always_off or traceidratio, or one of these after parentbased_"
                    .to_owned(),
            );
        }
    };
    Ok(TraceSampler {
        parent_based: root.is_some(),
        share,
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::{Mistakes, Settings};

    impl TraceSettings {
        fn header(&self, name: &str) -> Option<&str> {
            let mut headers = self.headers.iter();
            let header = headers.find(|header| header.name == name)?;
            Some(header.value.expose_secret())
        }
    }

    fn settings(env: &[(&str, &str)], file: &str) -> Result<Settings, Mistakes> {
        Settings::from_sources(Sources::given(env, file)?, false)
    }

    fn traces(env: &[(&str, &str)]) -> TraceSettings {
        settings(env, "").expect("valid").traces
    }

    fn place(traces: &TraceSettings) -> Option<&str> {
        traces.endpoint.as_ref().map(ExposeSecret::expose_secret)
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
    const OWN_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    #[test]
    fn traces_are_exported_to_the_configured_endpoint() {
        assert!(traces(&[]).endpoint.is_none());
        let found = traces(&[ENDPOINT]);
        assert_eq!(place(&found), Some("http://localhost:4318/v1/traces"));
        assert_eq!(found.protocol, TraceProtocol::HttpProtobuf);
        assert_eq!(
            found.sampler,
            TraceSampler {
                parent_based: true,
                share: 1.0
            }
        );
        let grpc = traces(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        assert_eq!(place(&grpc), Some("http://localhost:4318/"));
        // A path and a query are kept; the endpoint for traces is used unchanged.
        let path = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://h/otlp/?a=b")];
        assert_eq!(place(&traces(&path)), Some("https://h/otlp/v1/traces?a=b"));
        let own = traces(&[ENDPOINT, (OWN_ENDPOINT, "http://h:1/x")]);
        assert_eq!(place(&own), Some("http://h:1/x"));
    }

    #[test]
    fn a_variable_for_traces_takes_precedence_over_the_general_one() {
        let of = |name: &str, general: &str, own: &str| {
            let general_name = format!("OTEL_EXPORTER_OTLP_{name}");
            let own_name = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            traces(&[ENDPOINT, (&general_name, general), (&own_name, own)])
        };
        let protocol = of("PROTOCOL", "http/protobuf", "grpc").protocol;
        assert_eq!(protocol, TraceProtocol::Grpc);
        assert_eq!(
            of("TIMEOUT", "1000", "2000").timeout,
            Duration::from_secs(2)
        );
        assert!(of("COMPRESSION", "none", "gzip").gzip);
        let headers = of("HEADERS", "a=1,b=2", "A=x%20y, c = 3");
        assert_eq!(headers.header("a"), Some("x y"));
        assert_eq!(
            (headers.header("b"), headers.header("c")),
            (None, Some("3"))
        );
        // An empty or invalid one leaves the general one in effect.
        for own in ["", "http/json"] {
            assert_eq!(of("PROTOCOL", "grpc", own).protocol, TraceProtocol::Grpc);
        }
    }

    #[test]
    fn traces_can_be_turned_off() {
        let off = |name, value| traces(&[ENDPOINT, (name, value)]).endpoint.is_none();
        for value in ["true", "True", "TRUE"] {
            assert!(off("OTEL_SDK_DISABLED", value), "{value}");
        }
        for value in ["", "false", "1", "yes"] {
            assert!(!off("OTEL_SDK_DISABLED", value), "{value}");
        }
        assert!(off("OTEL_TRACES_EXPORTER", "none"));
        for value in ["otlp", "console,otlp", "zipkin"] {
            assert!(!off("OTEL_TRACES_EXPORTER", value), "{value}");
        }
    }

    #[test]
    fn a_share_applies_to_the_samplers_that_have_one() {
        let share = ("OTEL_TRACES_SAMPLER_ARG", "0.01");
        let of = |name| traces(&[share, ("OTEL_TRACES_SAMPLER", name)]).sampler;
        let sampler = |parent_based, share| TraceSampler {
            parent_based,
            share,
        };
        assert_eq!(of("traceidratio"), sampler(false, 0.01));
        assert_eq!(of("parentbased_always_off"), sampler(true, 0.0));
    }

    #[test]
    fn invalid_standard_variables_are_ignored_with_a_warning() {
        let unknown = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            (OWN_ENDPOINT, "http://"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "thrift"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "snappy"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
            ("OTEL_SDK_DISABLED", "1"),
        ];
        let settings = settings(&unknown, "").expect("valid");
        let mut named: Vec<_> = settings
            .warnings
            .iter()
            .map(|warning| &*warning.setting)
            .collect();
        named.sort_unstable();
        let mut expected = unknown.map(|(name, _)| name);
        expected.sort_unstable();
        assert_eq!(named, expected);
        assert!(!format!("{:?}", settings.warnings).contains("hunter2"));
        let defaults = traces(&[]);
        assert_eq!(format!("{:?}", settings.traces), format!("{defaults:?}"));
    }

    #[test]
    fn in_the_file_they_are_mistakes() {
        let file = "[traces]\nendpoint = \"collector:4317\"\nprotocol = \"http/json\"\nqueue = 0\n";
        let text = settings(&[], file).expect_err("mistakes").to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn a_password_in_the_endpoint_becomes_a_header() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://ada:p%40ss@h:1");
        let found = traces(&[endpoint]);
        assert_eq!(place(&found), Some("http://h:1/v1/traces"));
        let credentials = found.header("authorization").expect("there");
        assert_eq!(
            credentials,
            format!("Basic {}", STANDARD.encode("ada:p@ss"))
        );
        let explicit = ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20x");
        let found = traces(&[endpoint, explicit]);
        assert_eq!(found.header("authorization"), Some("Bearer x"));
        assert!(!format!("{found:?}").contains("Bearer"));
    }
}
