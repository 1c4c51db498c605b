//! Exports spans to a collector, by OTLP over gRPC or HTTP.
//!
//! The messages and their encoding are from `opentelemetry-proto`. The exporter is not
//! `opentelemetry-otlp`: that one reads the environment itself, refuses to start on an unknown
//! value, and follows redirects, with the headers, to any host that a collector names.

use std::fmt;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::config::{TraceProtocol, TraceSettings as Settings};

/// An exporter to one collector. Its errors contain no secret and no text of the collector.
pub struct Exporter {
    transport: Transport,
    resource: ResourceAttributesWithSchema,
}

enum Transport {
    Grpc {
        client: TraceServiceClient<Channel>,
        headers: MetadataMap,
    },
    Http {
        client: reqwest::blocking::Client,
        url: reqwest::Url,
        headers: HeaderMap,
        gzip: bool,
    },
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Creates the exporter; the collector need not be available yet. For gRPC, call it within a
    /// tokio runtime.
    ///
    /// # Errors
    /// One line without a secret.
    pub fn new(settings: &Settings, endpoint: &str) -> Result<Self, String> {
        let headers = headers(settings)?;
        let transport = match settings.protocol {
            TraceProtocol::Grpc => Transport::Grpc {
                client: grpc(settings, endpoint)?,
                headers: MetadataMap::from_headers(headers),
            },
            TraceProtocol::HttpProtobuf => Transport::Http {
                client: http(settings.timeout)?,
                url: reqwest::Url::parse(endpoint)
                    .map_err(|_| "the endpoint is not a URL".to_owned())?,
                headers,
                gzip: settings.gzip,
            },
        };
        Ok(Self {
            transport,
            resource: ResourceAttributesWithSchema::default(),
        })
    }
}

fn headers(settings: &Settings) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in &settings.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_str(header.value.expose_secret());
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err("a header for the collector is invalid".to_owned());
        };
        // Libraries that log headers omit sensitive values.
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn grpc(settings: &Settings, endpoint: &str) -> Result<TraceServiceClient<Channel>, String> {
    let channel = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|_| "the endpoint is not a URI".to_owned());
    let mut channel = channel?.timeout(settings.timeout);
    if endpoint.starts_with("https://") {
        let tls = ClientTlsConfig::new().with_enabled_roots();
        channel = channel
            .tls_config(tls)
            .map_err(|_| "the system has no trusted certificates".to_owned())?;
    }
    let client = TraceServiceClient::new(channel.connect_lazy());
    Ok(if settings.gzip {
        client.send_compressed(CompressionEncoding::Gzip)
    } else {
        client
    })
}

/// A blocking client: spans are exported from a thread of the SDK, outside any runtime.
fn http(timeout: Duration) -> Result<reqwest::blocking::Client, String> {
    let build = move || {
        reqwest::blocking::Client::builder()
            .timeout(timeout)
            // Spans and the collector's key are for the configured host only.
            .redirect(reqwest::redirect::Policy::none())
            .build()
    };
    // It must not be created within a runtime either.
    std::thread::spawn(build)
        .join()
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| "the system has no trusted certificates".to_owned())
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        match &self.transport {
            Transport::Grpc { client, headers } => {
                let mut call = tonic::Request::new(request);
                *call.metadata_mut() = headers.clone();
                let response = client.clone().export(call).await;
                response
                    .map(drop)
                    .map_err(|status| failed(format!("gRPC status {:?}", status.code())))
            }
            Transport::Http {
                client,
                url,
                headers,
                gzip,
            } => {
                let mut body = request.encode_to_vec();
                let mut call = client
                    .post(url.clone())
                    .header(CONTENT_TYPE, "application/x-protobuf")
                    .headers(headers.clone());
                if *gzip {
                    body = compressed(&body).map_err(|_| failed("no memory".to_owned()))?;
                    call = call.header(CONTENT_ENCODING, "gzip");
                }
                match call.body(body).send() {
                    Ok(response) if response.status().is_success() => Ok(()),
                    Ok(response) => Err(failed(format!(
                        "HTTP status {}",
                        response.status().as_u16()
                    ))),
                    Err(error) if error.is_timeout() => Err(failed("no response in time".into())),
                    Err(_) => Err(failed("no connection".to_owned())),
                }
            }
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

fn failed(reason: String) -> OTelSdkError {
    OTelSdkError::InternalFailure(reason)
}

fn compressed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, body)?;
    encoder.finish()
}
