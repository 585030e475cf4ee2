//! A rebuild loads the log in ranges and hands families on early; live folds it in batches. However the log is
//! cut and however little is kept in memory, the rows are the same.

use std::collections::BTreeMap;

use callbook::event_store::{Committer, NewEvent, StreamState, Unit};
use callbook::ingest::report;
use callbook::twilio::form::Form;
use domain::call::Call;
use domain::direction::Lines;
use domain::phone::PhoneNumber;
use projections::ids::IdKey;
use projections::rebuild::{Build, Loading};
use projections::runner::Runner;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::edits::edit;
use crate::order::{Report, family};
use crate::support::database::TestDatabase;
use crate::support::{OURS, call_sid};

/// One reader that keeps everything is the plainest; the others cut calls and families wherever they can.
const LOADINGS: [(u16, usize); 4] = [(1, usize::MAX), (1, 0), (2, 1), (5, 2)];

#[test]
fn a_load_makes_the_rows_that_live_makes_however_the_log_is_cut() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    runner
        .run(&(vec(family(), 1..5), vec(edit(), 0..9), any::<u64>()), |(families, edits, seed)| {
            for (loading, diff) in runtime.block_on(diffs(&families, &edits, seed)) {
                prop_assert!(diff.is_empty(), "{:?}: {:#?}", loading, diff);
            }
            Ok(())
        })
        .unwrap();
}

async fn diffs(
    families: &[Vec<Report>],
    edits: &[NewEvent],
    seed: u64,
) -> Vec<(Loading, projections::rebuild::Diff)> {
    let database = TestDatabase::create().await;
    let pool = callbook::installation::connect(database.options(), 10).await.unwrap();
    append(&pool, &interleaved(families, seed), edits).await;
    let ids = IdKey::new(&[7; 32]);
    Runner::init(pool.clone(), &ids).await.unwrap().catch_up(None).await.unwrap();
    let mut diffs = Vec::new();
    for (readers, kept) in LOADINGS {
        let loading = Loading { readers: readers.try_into().unwrap(), kept };
        let build = Build::run_as(pool.clone(), &ids, loading, |_| {}).await.unwrap();
        diffs.push((loading, build.diff().await.unwrap()));
        build.discard().await.unwrap();
    }
    pool.close().await;
    diffs
}

/// The reports of all families as if they had come at the same time; each family has SIDs of its own.
fn interleaved(families: &[Vec<Report>], mut seed: u64) -> Vec<Report> {
    let mut waiting: Vec<_> =
        families.iter().zip(0..).map(|(family, n)| renamed(family, n).into_iter()).collect();
    let mut reports = Vec::new();
    while !waiting.is_empty() {
        // Any fixed sequence will do; this is a linear congruential one.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let next = usize::try_from(seed >> 33).unwrap() % waiting.len();
        match waiting[next].next() {
            Some(report) => reports.push(report),
            None => drop(waiting.remove(next)),
        }
    }
    reports
}

fn renamed(family: &[Report], n: u32) -> Vec<Report> {
    let mut family = family.to_vec();
    for (_, value) in family.iter_mut().flat_map(|report| &mut report.params) {
        if let Some(number) = value.strip_prefix("CA").and_then(|digits| digits.parse::<u32>().ok()) {
            *value = call_sid(n * 1_000 + number);
        }
    }
    family
}

/// The edits come after every few reports.
async fn append(pool: &sqlx::PgPool, reports: &[Report], edits: &[NewEvent]) {
    let lines = Lines::new([PhoneNumber::try_new(OURS).unwrap()], "abchomes.sip.us1.twilio.com");
    let committer = Committer::start(pool.clone(), || {});
    let mut streams: BTreeMap<String, StreamState<Call>> = BTreeMap::new();
    let mut edits = edits.iter().cloned();
    let mut edited: BTreeMap<(&str, String), i64> = BTreeMap::new();
    for (nth, report) in reports.iter().enumerate() {
        let edit = if nth % 3 == 0 { edits.next() } else { None };
        if let Some(edit) = edit {
            let sequence = edited.entry((edit.aggregate_type, edit.aggregate_id.clone())).or_default();
            *sequence += 1;
            let events = vec![NewEvent { sequence: *sequence, ..edit }];
            committer.commit(Unit { events, ..Unit::default() }).await.unwrap();
        }
        let payload = Form(report.params.clone()).to_json();
        let (sid, command) =
            report::command(report.endpoint.event_type(), &payload, report.received_at, &lines).unwrap();
        let stream = streams.entry(sid.to_string()).or_default();
        let Ok(events) = stream.aggregate.decide(command) else { continue };
        let events = stream.extend(sid.as_str(), events, "{}");
        if !events.is_empty() {
            committer.commit(Unit { events, ..Unit::default() }).await.unwrap();
        }
    }
}
