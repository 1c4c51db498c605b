//! A collector that receives spans by OTLP, over gRPC and over HTTP.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tonic::{Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// The transport of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    /// The value of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

/// Receives spans for as long as the test runs.
pub struct Collector {
    address: SocketAddr,
    requests: Requests,
    refusing: Arc<AtomicBool>,
    elsewhere: Elsewhere,
}

/// The URL to redirect exporters to.
type Elsewhere = Arc<Mutex<Option<String>>>;

type Requests = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

impl Collector {
    pub fn start(protocol: Protocol) -> Self {
        let requests = Requests::default();
        let refusing = Arc::new(AtomicBool::new(false));
        let elsewhere = Elsewhere::default();
        let address = match protocol {
            Protocol::Grpc => serve_grpc(Arc::clone(&requests)),
            Protocol::Http => serve_http(
                Arc::clone(&requests),
                Arc::clone(&refusing),
                Arc::clone(&elsewhere),
            ),
        };
        Self {
            address,
            requests,
            refusing,
            elsewhere,
        }
    }

    /// Redirects exporters to this URL. HTTP only.
    pub fn redirect(&self, url: &str) {
        *self.elsewhere.lock().expect("no panic") = Some(url.to_owned());
    }

    /// Refuses all requests, or accepts them again. HTTP only.
    pub fn refuse(&self, refusing: bool) {
        self.refusing.store(refusing, Ordering::SeqCst);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().expect("no panic");
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).cloned().collect()
    }

    /// The resource attributes of the service.
    pub fn resource(&self) -> BTreeMap<String, String> {
        let requests = self.requests.lock().expect("no panic");
        let resource = requests[0].resource_spans[0].resource.as_ref();
        resource
            .expect("a resource")
            .attributes
            .iter()
            .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
            .collect()
    }

    /// Waits for the spans of one trace until they include the request's root span.
    pub async fn trace(&self, trace_id: &str, root: &str) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let mut spans = self.spans();
            spans.retain(|span| hex(&span.trace_id) == trace_id);
            if spans.iter().any(|span| span.name == root) {
                return spans;
            }
            tokio::time::sleep(POLL).await;
            assert!(begun.elapsed() < LIMIT, "never saw {root} of {trace_id}");
        }
    }

    /// All received requests, as text.
    pub fn everything(&self) -> String {
        format!("{:?}", self.requests.lock().expect("no panic"))
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An attribute of a span, as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let pair = span.attributes.iter().find(|pair| pair.key == key)?;
    Some(text(pair.value.as_ref()))
}

fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

struct Grpc(Requests);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().expect("no panic").push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn serve_grpc(requests: Requests) -> SocketAddr {
    let incoming = tonic::transport::server::TcpIncoming::bind(([127, 0, 0, 1], 0).into())
        .expect("a free port");
    let address = incoming.local_addr().expect("bound");
    let service = TraceServiceServer::new(Grpc(requests))
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    address
}

fn serve_http(requests: Requests, refusing: Arc<AtomicBool>, elsewhere: Elsewhere) -> SocketAddr {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(Arc::clone(&requests)))
            .app_data(web::Data::from(Arc::clone(&refusing)))
            .app_data(web::Data::from(Arc::clone(&elsewhere)))
            .route("/v1/traces", web::post().to(take))
    })
    .workers(1)
    .bind(("127.0.0.1", 0))
    .expect("a free port");
    let address = server.addrs()[0];
    tokio::spawn(server.disable_signals().run());
    address
}

async fn take(
    requests: web::Data<Requests>,
    refusing: web::Data<AtomicBool>,
    elsewhere: web::Data<Mutex<Option<String>>>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    if refusing.load(Ordering::SeqCst) {
        return HttpResponse::ServiceUnavailable().finish();
    }
    if let Some(url) = &*elsewhere.lock().expect("no panic") {
        return HttpResponse::TemporaryRedirect()
            .insert_header(("location", url.as_str()))
            .finish();
    }
    let mut unpacked = Vec::new();
    let body = if request.headers().contains_key("content-encoding") {
        let mut decoder = flate2::read::GzDecoder::new(&*body);
        decoder.read_to_end(&mut unpacked).expect("gzip");
        &unpacked
    } else {
        &*body
    };
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP as protobuf");
    requests.lock().expect("no panic").push(request);
    HttpResponse::Ok()
        .content_type("application/x-protobuf")
        .body(ExportTraceServiceResponse::default().encode_to_vec())
}
