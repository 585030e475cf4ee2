//! What a monitoring system may know: counts and times, by names of ours, never by a number, a name or a SID.
//!
//! Each callbook has a recorder of its own, because tests run many in one process. What happens all the time is counted
//! where it happens, through the handles of its part ([`Ingest`], [`Commits`], [`Runs`]); without a recorder a handle
//! counts nothing. What stands somewhere anyway is read when somebody asks (`http/metrics.rs`).

mod names;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder, with_local_recorder};
use axum::http::{Method, StatusCode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_process::Collector;

use crate::ingest::Endpoint;
use names::Kind;

type Labels<'a> = &'a [(&'static str, &'a str)];

/// Takes what is measured, and tells it. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    told: PrometheusHandle,
    process: Collector,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Where a webhook was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Inbox,
    Spool,
    Nowhere,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Spool => "spool",
            Self::Nowhere => "nowhere",
        }
    }
}

/// What comes of the rows of the inbox.
#[derive(Clone, Debug)]
pub struct Ingest {
    pub recorded: Counter,
    pub already_so: Counter,
    pub refused: Counter,
    pub put_off: Counter,
    pub given_up: Counter,
    pub batch_seconds: Histogram,
}

/// What the one writer of the log does.
#[derive(Clone, Debug)]
pub struct Commits {
    pub units: Counter,
    pub events: Counter,
    pub conflicts: Counter,
    pub fenced: Counter,
    pub failures: Counter,
    pub seconds: Histogram,
}

/// How the jobs that ask Twilio end.
#[derive(Clone, Debug, Default)]
pub struct Runs(Option<Metrics>);

impl Metrics {
    pub fn new() -> Self {
        let buckets = names::ALL.iter().filter_map(|metric| match metric.kind {
            Kind::Histogram(buckets) => Some((metric.name, buckets)),
            Kind::Counter | Kind::Gauge => None,
        });
        let recorder = buckets
            .fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
                let full = metrics_exporter_prometheus::Matcher::Full(name.to_owned());
                builder.set_buckets_for_metric(full, buckets).expect("no metric has an empty list of buckets")
            })
            .build_recorder();
        for metric in names::ALL {
            match metric.kind {
                Kind::Counter => recorder.describe_counter(metric.name.into(), None, metric.help.into()),
                Kind::Gauge => recorder.describe_gauge(metric.name.into(), None, metric.help.into()),
                Kind::Histogram(_) => {
                    recorder.describe_histogram(metric.name.into(), None, metric.help.into());
                }
            }
        }
        let process = Collector::default();
        with_local_recorder(&recorder, || process.describe());
        let told = recorder.handle();
        let metrics = Self { recorder: Arc::new(recorder), told, process };
        metrics.gauge("callbook_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        // What has not happened yet is 0 and not absent, so that a rise from nothing is seen.
        for endpoint in Endpoint::ALL {
            for kept in [Kept::Inbox, Kept::Spool, Kept::Nowhere] {
                drop(metrics.webhooks(endpoint, kept));
            }
        }
        metrics
    }

    /// An answer that has begun; `route` is the template.
    pub fn answered(&self, method: &Method, route: &str, status: StatusCode, after: Duration) {
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
            // Anybody may make one up.
            _ => "other",
        };
        let class = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let of = [("method", method), ("route", route)];
        self.counter("callbook_http_requests_total", &[of[0], of[1], ("status", class)]).increment(1);
        self.histogram("callbook_http_request_seconds", &of).record(after);
    }

    /// A webhook whose signature was right.
    pub fn received(&self, endpoint: Endpoint, kept: Kept) {
        self.webhooks(endpoint, kept).increment(1);
    }

    fn webhooks(&self, endpoint: Endpoint, kept: Kept) -> Counter {
        let labels = [("endpoint", endpoint.event_type()), ("kept", kept.name())];
        self.counter("callbook_webhooks_received_total", &labels)
    }

    pub fn ingest(&self) -> Ingest {
        let rows = |outcome| self.counter("callbook_ingest_rows_total", &[("outcome", outcome)]);
        Ingest {
            recorded: rows("recorded"),
            already_so: rows("already_so"),
            refused: rows("refused"),
            put_off: rows("put_off"),
            given_up: rows("given_up"),
            batch_seconds: self.histogram("callbook_ingest_batch_seconds", &[]),
        }
    }

    pub fn commits(&self) -> Commits {
        let failures = |why| self.counter("callbook_commit_failures_total", &[("why", why)]);
        Commits {
            units: self.counter("callbook_commit_units_total", &[]),
            events: self.counter("callbook_commit_events_total", &[]),
            conflicts: failures("conflict"),
            fenced: failures("fenced"),
            failures: failures("database"),
            seconds: self.histogram("callbook_commit_seconds", &[]),
        }
    }

    pub fn runs(&self) -> Runs {
        Runs(Some(self.clone()))
    }

    /// What stands so at the moment. What nobody knows is NaN.
    pub fn gauge(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        self.recorder.register_gauge(&key(name, labels), &METADATA).set(value);
    }

    /// What has been counted elsewhere since callbook started.
    pub fn total(&self, name: &'static str, labels: Labels<'_>, value: u64) {
        self.counter(name, labels).absolute(value);
    }

    /// In Prometheus' text format, and what the kernel says of this process with it.
    pub fn tell(&self) -> String {
        with_local_recorder(&self.recorder, || self.process.collect());
        self.told.render()
    }

    /// Sums up what was measured since the last time. Whoever is asked by nobody must do so now and then, because single
    /// measurements are kept until then.
    pub fn sum_up(&self) {
        self.told.run_upkeep();
    }

    fn counter(&self, name: &'static str, labels: Labels<'_>) -> Counter {
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, labels: Labels<'_>) -> Histogram {
        self.recorder.register_histogram(&key(name, labels), &METADATA)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            recorded: Counter::noop(),
            already_so: Counter::noop(),
            refused: Counter::noop(),
            put_off: Counter::noop(),
            given_up: Counter::noop(),
            batch_seconds: Histogram::noop(),
        }
    }
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            units: Counter::noop(),
            events: Counter::noop(),
            conflicts: Counter::noop(),
            fenced: Counter::noop(),
            failures: Counter::noop(),
            seconds: Histogram::noop(),
        }
    }
}

impl Runs {
    /// A run of a job that came to its end, or did not.
    pub fn ended(&self, job: &'static str, well: bool, after: Duration) {
        let Some(metrics) = &self.0 else { return };
        let result = if well { "succeeded" } else { "failed" };
        metrics.counter("callbook_reconcile_runs_total", &[("job", job), ("result", result)]).increment(1);
        metrics.histogram("callbook_reconcile_run_seconds", &[("job", job)]).record(after);
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn key(name: &'static str, labels: Labels<'_>) -> Key {
    debug_assert!(names::ALL.iter().any(|metric| metric.name == name), "{name} is not described");
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_somebody_made_up_makes_no_series_of_its_own() {
        let metrics = Metrics::new();
        for method in ["BREW", "WHEN"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            metrics.answered(&method, "unmatched", StatusCode::NOT_FOUND, Duration::from_millis(2));
        }
        let told = metrics.tell();
        let series = "callbook_http_requests_total{method=\"other\",route=\"unmatched\",status=\"4xx\"} 2";
        assert!(told.lines().any(|line| line == series), "{told}");
        assert!(!told.contains("BREW"), "{told}");
    }

    #[test]
    fn two_callbooks_in_one_process_count_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.commits().units.increment(3);
        other.commits().units.increment(0);
        assert!(one.tell().lines().any(|line| line == "callbook_commit_units_total 3"));
        assert!(other.tell().lines().any(|line| line == "callbook_commit_units_total 0"));
    }

    #[test]
    fn what_took_how_long_is_told_in_buckets_of_seconds() {
        let metrics = Metrics::new();
        metrics.commits().seconds.record(Duration::from_millis(3));
        metrics.sum_up();
        let told = metrics.tell();
        for line in [
            "# TYPE callbook_commit_seconds histogram",
            "callbook_commit_seconds_bucket{le=\"0.0025\"} 0",
            "callbook_commit_seconds_bucket{le=\"0.005\"} 1",
            "callbook_commit_seconds_bucket{le=\"+Inf\"} 1",
            "callbook_commit_seconds_count 1",
        ] {
            assert!(told.lines().any(|told| told == line), "{line} is not in {told}");
        }
    }

    #[test]
    fn every_histogram_has_buckets_and_every_name_is_ours_and_used_once() {
        let mut seen = std::collections::HashSet::new();
        for metric in names::ALL {
            assert!(metric.name.starts_with("callbook_") && seen.insert(metric.name), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.help);
            match metric.kind {
                Kind::Counter => assert!(metric.name.ends_with("_total"), "{}", metric.name),
                Kind::Gauge => assert!(!metric.name.ends_with("_total"), "{}", metric.name),
                Kind::Histogram(buckets) => {
                    assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
                    assert!(buckets.is_sorted() && !buckets.is_empty(), "{}", metric.name);
                }
            }
        }
    }
}
