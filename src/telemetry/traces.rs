//! Traces over OTLP: the spans that log lines have, sent to a collector as protobuf over our own HTTP client.
//!
//! A span has what a log line may have, so nothing personal: routes and not paths, SIDs and not numbers.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::outgoing;

/// How long the collector may take for a batch, and for the last one.
const PATIENCE: Duration = Duration::from_secs(5);
/// More of an answer is not read: what it says is told by its status.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Sends spans, in batches and from a thread of its own.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("there is no HTTP client for them")]
    Client(#[from] reqwest::Error),
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is of no use")]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// `collector` as the standard has it: the path of the signal is added.
    pub fn start(collector: &str, runtime: &Handle) -> Result<Self, TracesError> {
        let client = outgoing::remote(|builder| builder.timeout(PATIENCE))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender { client, runtime: runtime.clone() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{collector}/v1/traces"))
            .with_timeout(PATIENCE)
            .build()?;
        let us = Resource::builder()
            .with_service_name("callbook")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder().with_resource(us).with_batch_exporter(exporter).build();
        Ok(Self { provider })
    }

    /// Takes the spans of log lines. Where a line stands in our sources is nobody's business.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> OpenTelemetryLayer<S, Tracer> {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("callbook"))
            .with_location(false)
            .with_threads(false)
    }

    /// Sends what is left.
    pub fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(error = error.to_string(), "the last traces may be lost");
        }
    }
}

/// Our own client, on a runtime: the thread that sends has none.
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let mut answer = client.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                *headers = answer.headers().clone();
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                body.extend_from_slice(&chunk);
                if body.len() > LARGEST_ANSWER {
                    return Err("the collector's answer is too large".into());
                }
            }
            Ok(response.body(body.into())?)
        });
        sent.await?
    }
}
