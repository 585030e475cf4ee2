//! Every metric by name, with what it says. Names and units are as Prometheus' conventions have them: seconds, bytes,
//! totals that only rise.

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// With the upper ends of its buckets, in seconds.
    Histogram(&'static [f64]),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

/// For what somebody waits for.
const QUICK: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// For what nobody waits for.
const SLOW: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

const fn histogram(name: &'static str, buckets: &'static [f64], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(buckets), help }
}

pub(super) const ALL: &[Metric] = &[
    gauge("callbook_build_info", "1, with the version of this callbook."),
    counter(
        "callbook_http_requests_total",
        "Requests answered, by route template, method and class of status.",
    ),
    histogram(
        "callbook_http_request_seconds",
        QUICK,
        "Time from a request's head to the first byte of its answer, by route template and method.",
    ),
    counter(
        "callbook_webhooks_received_total",
        "Signed webhooks, by endpoint, and where each was kept before it was answered.",
    ),
    gauge("callbook_inbox_waiting", "Rows of the inbox that wait to be decided."),
    gauge("callbook_inbox_failed", "Rows of the inbox that have failed and are tried again."),
    gauge("callbook_inbox_dead_letters", "Rows of the inbox that were given up or refused."),
    gauge(
        "callbook_inbox_oldest_waiting_seconds",
        "How long the oldest row that waits has waited; 0 where none does.",
    ),
    gauge("callbook_spool_waiting", "Webhooks that wait in this instance's spool."),
    gauge("callbook_spool_bytes", "What they take there."),
    gauge("callbook_spool_works", "Whether the spool's disk takes what is written: 1 or 0."),
    counter("callbook_ingest_rows_total", "Rows of the inbox that this instance has seen to, by outcome."),
    histogram(
        "callbook_ingest_batch_seconds",
        QUICK,
        "Time from a batch's rows read to all of them committed.",
    ),
    counter("callbook_commit_units_total", "Units of work written to the log."),
    counter("callbook_commit_events_total", "Events appended to the log."),
    counter("callbook_commit_failures_total", "Units of work that were not written, by why."),
    histogram("callbook_commit_seconds", QUICK, "Time of one transaction of the log's writer."),
    gauge("callbook_log_head_position", "The position of the last event in the log."),
    gauge("callbook_projection_position", "The position up to which the read model reflects the log."),
    gauge(
        "callbook_projection_lag_events",
        "Events in the log that the read model does not reflect, at most.",
    ),
    gauge(
        "callbook_projection_lag_seconds",
        "How long the oldest of them has waited; 0 where there is none.",
    ),
    gauge("callbook_projection_stopped", "Whether the projection stands still: 1 or 0."),
    gauge("callbook_quarantined_calls", "Calls that are not folded because of an event that cannot be."),
    gauge("callbook_lease_held", "Whether this instance holds the worker lease: 1 or 0."),
    gauge("callbook_lease_epoch", "The epoch of the worker lease."),
    gauge("callbook_database_up", "Whether the database answered when this was asked: 1 or 0."),
    gauge("callbook_database_connections", "Connections of this instance's pool, by state."),
    counter("callbook_reconcile_runs_total", "Runs of the jobs that ask Twilio, by job and result."),
    histogram("callbook_reconcile_run_seconds", SLOW, "Time of one such run, by job."),
    gauge(
        "callbook_reconcile_last_success_timestamp_seconds",
        "When a job last succeeded, on whichever instance, in seconds since 1970.",
    ),
    counter("callbook_twilio_requests_total", "Requests to Twilio's REST API, by result."),
    gauge("callbook_sse_clients", "Clients of the live stream."),
    counter("callbook_sse_connections_total", "Clients that have come to the live stream."),
    counter("callbook_sse_frames_total", "Frames that were sent to clients of the live stream."),
    counter("callbook_sse_resets_total", "Clients that were told to load everything again."),
    counter(
        "callbook_stalled_connections_total",
        "Connections that were ended because their client took nothing.",
    ),
];
