//! Log lines, for people or for machines. They go to standard error, because standard output is
//! what a command prints. Traces go to a collector, where one is configured.

mod traces;

use std::io::IsTerminal;

use tokio::runtime::Handle;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::LogFormat;
use traces::Traces;
pub use traces::TracesError;

/// What is logged when RUST_LOG does not say: sqlx logs each statement and hyper each connection.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn";

/// What is under way to the collector. Ended, it is waited for.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<Traces>,
}

impl Telemetry {
    /// Outside of a runtime, as it waits, and while the one of [`init`] still runs.
    pub fn end(self) {
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// Starts logging, and tracing where `collector` says where to. Whoever comes second is ignored, so that each test may
/// call it. What is sent is sent on this runtime.
pub fn init(format: LogFormat, collector: Option<&str>, runtime: &Handle) -> Telemetry {
    let traces = collector.map(|collector| Traces::start(collector, runtime)).transpose();
    let (traces, unsent) = match traces {
        Ok(traces) => (traces, None),
        Err(error) => (None, Some(error)),
    };
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, refused) = filter(&wanted);
    let lines = lines(format, std::io::stderr, std::io::stderr().is_terminal());
    // One filter for all: sqlx asks whether it would be heard, and a layer's own filter then loses the next line.
    let spans = traces.as_ref().map(Traces::layer);
    let installed = tracing_subscriber::registry().with(lines).with(spans).with(filter).try_init().is_ok();
    if let (true, Some(error)) = (installed, refused) {
        tracing::warn!(%error, "RUST_LOG cannot be read, so the default `{DEFAULT_FILTER}` is in force");
    }
    if let Some(error) = unsent {
        tracing::error!(error = projections::chain(&error), "no traces are sent");
    }
    Telemetry { traces }
}

/// A wrong RUST_LOG is no reason to be down, and none to be silent.
fn filter(wanted: &str) -> (EnvFilter, Option<tracing_subscriber::filter::ParseError>) {
    if wanted.trim().is_empty() {
        return (EnvFilter::new(DEFAULT_FILTER), None);
    }
    match EnvFilter::builder().parse(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    }
}

/// JSON has the event's fields at the top and the innermost span's under `span`.
fn lines<W>(format: LogFormat, writer: W, ansi: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(ansi);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::{Arc, LazyLock, Mutex};

    use tracing::Dispatch;
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::filter::dynamic_filter_fn;

    use super::*;

    /// While there is just one subscriber, tracing asks only the thread that reaches a log line
    /// first, and switches the line off for all threads if that thread has none. A second one that
    /// never decides keeps every line open while tests run side by side.
    static UNDECIDED: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(tracing_subscriber::registry().with(dynamic_filter_fn(|_, _| false))));

    /// What was logged, kept for a test to read.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        /// Takes this thread's log lines until the guard is dropped.
        pub(crate) fn subscribe(&self, format: LogFormat, wanted: &str) -> DefaultGuard {
            LazyLock::force(&UNDECIDED);
            let writer = self.clone();
            let lines = lines(format, move || writer.clone(), false).with_filter(filter(wanted).0);
            tracing::subscriber::set_default(tracing_subscriber::registry().with(lines))
        }

        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, wanted: &str, log: impl FnOnce()) -> String {
        let written = Written::default();
        let logging = written.subscribe(format, wanted);
        log();
        drop(logging);
        written.text()
    }

    #[test]
    fn a_json_line_has_the_events_fields_at_the_top_and_the_span_beside_them() {
        let line = written(LogFormat::Json, "", || {
            tracing::info_span!("http.request", request_id = "r1")
                .in_scope(|| tracing::info!(call.sid = "CA1", "recorded {}", "CA1"));
        });

        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "recorded CA1");
        assert_eq!(line["call.sid"], "CA1");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"], serde_json::json!({ "name": "http.request", "request_id": "r1" }));
    }

    #[test]
    fn by_default_the_libraries_speak_only_when_something_is_wrong() {
        let text = written(LogFormat::Text, " ", || {
            tracing::info!(target: "sqlx::query", "a statement");
            tracing::debug!("a detail");
            tracing::warn!(target: "sqlx::query", "a slow statement");
            tracing::info!("a fact");
        });

        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("a slow statement") && text.contains("a fact"), "{text}");
    }

    #[test]
    fn rust_log_chooses_and_a_wrong_one_falls_back_to_the_default() {
        let log = || tracing::debug!("a detail");
        assert!(written(LogFormat::Text, "debug", log).contains("a detail"));
        assert!(!written(LogFormat::Text, "callbook=nonsense", log).contains("a detail"));
        assert!(filter("callbook=nonsense").1.is_some());
    }

    #[test]
    fn starting_twice_is_no_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for format in [LogFormat::Text, LogFormat::Json] {
            init(format, None, runtime.handle()).end();
        }
    }
}
