//! Exports spans to a collector, by OTLP over gRPC or HTTP.
//!
//! The messages and their encoding are from `opentelemetry-proto`. The exporter is not
//! `opentelemetry-otlp`: that one reads the environment itself, refuses to start on an unknown
//! value, and follows redirects, with the headers, to any host that a collector names.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use prost::bytes::Bytes;
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::config::{TraceProtocol, TraceSettings as Settings};

/// The longest response of a collector that is read, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// How long it is read.
const MAX_READ: Duration = Duration::from_secs(1);

/// An exporter to one collector. Its errors contain no secret and no text of the collector.
pub struct Exporter {
    transport: Transport,
    resource: ResourceAttributesWithSchema,
}

enum Transport {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

/// What a call to the collector needs.
struct Grpc {
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
}

/// What a request to the collector needs.
struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The client's runtime: spans are exported from a thread of the SDK, outside any.
    runtime: Handle,
    timeout: Duration,
    url: Uri,
    headers: HeaderMap,
    gzip: bool,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Creates the exporter, within a tokio runtime; the collector need not be available yet.
    ///
    /// # Errors
    /// One line without a secret.
    pub fn new(settings: &Settings, endpoint: &str) -> Result<Self, String> {
        let headers = headers(settings)?;
        let transport = match settings.protocol {
            TraceProtocol::Grpc => Transport::Grpc(Box::new(Grpc {
                client: grpc(settings, endpoint)?,
                headers: MetadataMap::from_headers(headers),
            })),
            TraceProtocol::HttpProtobuf => {
                let http = Http::new(settings, endpoint, headers)?;
                Transport::Http(Box::new(http))
            }
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

impl Http {
    /// Its client follows no redirect: spans and the collector's key are for the configured host
    /// only.
    fn new(settings: &Settings, endpoint: &str, headers: HeaderMap) -> Result<Self, String> {
        let connector = HttpsConnectorBuilder::new();
        let connector = if endpoint.starts_with("https://") {
            connector
                .with_native_roots()
                .map_err(|_| "the system has no trusted certificates".to_owned())?
        } else {
            // No certificate is needed, and there may be none.
            let none = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
            connector.with_tls_config(none.with_no_client_auth())
        };
        let connector = connector.https_or_http().enable_http1().build();
        let url = endpoint.parse();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            runtime: Handle::current(),
            timeout: settings.timeout,
            url: url.map_err(|_| "the endpoint is not a URI".to_owned())?,
            headers,
            gzip: settings.gzip,
        })
    }

    async fn export(&self, request: &ExportTraceServiceRequest) -> OTelSdkResult {
        let mut body = request.encode_to_vec();
        let mut call = hyper::Request::new(Full::default());
        *call.method_mut() = Method::POST;
        *call.uri_mut() = self.url.clone();
        *call.headers_mut() = self.headers.clone();
        let headers = call.headers_mut();
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, protobuf);
        if self.gzip {
            body = compressed(&body).map_err(|_| failed("no memory".to_owned()))?;
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        *call.body_mut() = Full::from(body);
        let (client, timeout) = (self.client.clone(), self.timeout);
        let sent = async move {
            let response = tokio::time::timeout(timeout, client.request(call)).await;
            response.map(|response| response.map(status_of))
        };
        match self.runtime.spawn(sent).await {
            Ok(Ok(Ok(status))) if status.is_success() => Ok(()),
            Ok(Ok(Ok(status))) => Err(failed(format!("HTTP status {}", status.as_u16()))),
            Ok(Err(_)) => Err(failed("no response in time".to_owned())),
            Ok(Ok(Err(_))) | Err(_) => Err(failed("no connection".to_owned())),
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        match &self.transport {
            Transport::Grpc(grpc) => {
                let mut call = tonic::Request::new(request);
                *call.metadata_mut() = grpc.headers.clone();
                let response = grpc.client.clone().export(call).await;
                response
                    .map(drop)
                    .map_err(|status| failed(format!("gRPC status {:?}", status.code())))
            }
            Transport::Http(http) => http.export(&request).await,
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

/// The status of a response. Its body is read in the background, for the connection to be used
/// again, but says nothing more.
fn status_of(response: hyper::Response<Incoming>) -> StatusCode {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_RESPONSE).collect();
    tokio::spawn(tokio::time::timeout(MAX_READ, body));
    status
}

fn failed(reason: String) -> OTelSdkError {
    OTelSdkError::InternalFailure(reason)
}

fn compressed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, body)?;
    encoder.finish()
}
