//! How smoothly the board follows a thousand calls. `.ci/frames` measures it in a release build.

use std::fmt::Write as _;
use std::time::Duration;

use callbook::twilio::form::Form;
use callbook::twilio::signature;
use futures::StreamExt;
use secrecy::SecretString;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::browser::Browser;
use crate::browser::Seen::Named;
use crate::support::client::{Pairs, lasting, status};
use crate::support::{AUTH_TOKEN, Callbook, OURS, call_sid};

/// Calls in progress at any time.
const CALLS: u32 = 1_000;
/// Webhooks a second, each of which changes a call.
const RATES: [u32; 2] = [50, 200];
const LASTS: Duration = Duration::from_secs(30);
/// How often it is looked how far the page is behind.
const LOOK: Duration = Duration::from_millis(500);
/// Of a long list only what is seen is in the document.
const MOST_ROWS: u32 = 100;

const WATCH: &str = "
    const seen = { frames: [], tasks: [], rows: 0, elements: 0 };
    window.seenByTest = seen;
    const rows = document.getElementsByClassName('row');
    const elements = document.getElementsByTagName('*');
    let last = performance.now();
    const frame = (now) => {
      seen.frames.push(now - last);
      last = now;
      seen.rows = Math.max(seen.rows, rows.length);
      seen.elements = Math.max(seen.elements, elements.length);
      if (window.seenByTest === seen) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    const tasks = new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map((task) => task.duration)));
    tasks.observe({ entryTypes: ['longtask'] });
    seen.end = () => {
      tasks.takeRecords().forEach((task) => seen.tasks.push(task.duration));
      tasks.disconnect();
      delete window.seenByTest;
      const { frames, tasks: long, rows, elements } = seen;
      return { frames: frames.slice(1), tasks: long, rows, elements };
    };";

/// What has been drawn, and what the document says that all of the page has come to.
const POSITIONS: &str = "
    const drawn = /position ([\\d,]+)/.exec(document.querySelector('header').innerText)?.[1] ?? '0';
    return [Number(drawn.replaceAll(',', '')), Number(document.body.dataset.position)];";

/// What the page has seen, in milliseconds.
#[derive(Deserialize)]
struct Seen {
    frames: Vec<f64>,
    tasks: Vec<f64>,
    rows: u32,
    elements: u32,
}

/// Twilio, which tells of calls one after the other and keeps as many going.
struct Load {
    url: String,
    client: reqwest::Client,
    /// What is told next: of each call that it is answered, then that it ends and another one begins.
    queue: std::collections::VecDeque<(u32, bool)>,
    next: u32,
}

impl Load {
    fn new(callbook: &Callbook) -> Self {
        let client = callbook::outgoing::local().build().unwrap();
        Self {
            url: callbook.url.clone(),
            client,
            queue: (0..CALLS).map(|n| (n, true)).collect(),
            next: CALLS,
        }
    }

    fn report(n: u32, is: &str, sequence: u32) -> Pairs {
        let now = OffsetDateTime::now_utc().format(&Rfc2822).unwrap();
        let report = status(&call_sid(n), None, &format!("+1617{n:07}"), OURS, is, sequence, &now);
        if is == "completed" { lasting(report, 10) } else { report }
    }

    /// One change of one call, or two where one takes the place of another.
    fn changes(&mut self) -> Vec<Pairs> {
        let (n, is_answered_next) = self.queue.pop_front().unwrap();
        if is_answered_next {
            self.queue.push_back((n, false));
            return vec![Self::report(n, "in-progress", 1)];
        }
        let new = self.next;
        self.next += 1;
        self.queue.push_back((new, true));
        vec![Self::report(n, "completed", 2), Self::report(new, "ringing", 0)]
    }

    fn send(&self, params: Pairs) -> impl Future<Output = ()> + Send + use<> {
        let url = format!("{}/webhooks/twilio/voice-status", self.url);
        let signed = signature::sign(&SecretString::from(AUTH_TOKEN), &url, &params);
        let request = self
            .client
            .post(url)
            .header("X-Twilio-Signature", signed)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(Form(params).encode());
        async move { assert!(request.send().await.unwrap().status().is_success()) }
    }

    async fn begin(&self) {
        let all = (0..CALLS).map(|n| self.send(Self::report(n, "ringing", 0)));
        futures::stream::iter(all).for_each_concurrent(32, |sent| sent).await;
    }

    /// So many a second for as long as it lasts. Gives how many were sent.
    async fn go_on(&mut self, rate: u32) -> u32 {
        let mut beat = interval(Duration::from_secs(1) / rate);
        // What a busy machine was late with is sent all the same.
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (begun, mut sent, mut sending) = (Instant::now(), 0, JoinSet::new());
        while begun.elapsed() < LASTS {
            for report in self.changes() {
                beat.tick().await;
                sending.spawn(self.send(report));
                sent += 1;
            }
        }
        sending.join_all().await;
        sent
    }
}

/// How far the page is behind the log, in events, for as long as it is looked.
async fn behind(
    callbook: &Callbook,
    browser: &Browser,
    until: &tokio_util::sync::CancellationToken,
) -> [Vec<f64>; 2] {
    let mut found = [Vec::new(), Vec::new()];
    let mut beat = interval(LOOK);
    while !until.is_cancelled() {
        beat.tick().await;
        let head = callbook.count("select max(id) from call_events").await as f64;
        let at: [f64; 2] = serde_json::from_value(browser.script(POSITIONS).await).unwrap();
        for (found, at) in found.iter_mut().zip(at) {
            found.push((head - at).max(0.0));
        }
    }
    found
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

/// One column of the table.
async fn measure(
    callbook: &Callbook,
    browser: &Browser,
    load: &mut Load,
    rate: u32,
) -> Vec<(&'static str, String)> {
    let before = browser.script(POSITIONS).await[0].as_f64().unwrap();
    browser.script(WATCH).await;
    let begun = Instant::now();
    let over = tokio_util::sync::CancellationToken::new();
    let sending = async {
        let sent = load.go_on(rate).await;
        over.cancel();
        sent
    };
    let (sent, [drawn, whole]) = tokio::join!(sending, behind(callbook, browser, &over));
    let took = begun.elapsed().as_secs_f64();
    let applied = browser.script(POSITIONS).await[0].as_f64().unwrap() - before;
    let seen: Seen = serde_json::from_value(browser.script("return window.seenByTest.end()").await).unwrap();
    // All of it, once there is no more of it.
    browser.at_position(callbook.settled().await).await;
    assert!(seen.rows < MOST_ROWS, "{} rows are in the document", seen.rows);
    let ms = |share| format!("{:.1} ms", quantile(&seen.frames, share));
    let events = |behind: &[f64]| format!("{} / {}", quantile(behind, 0.5), quantile(behind, 1.0));
    vec![
        ("Webhooks sent", format!("{sent}, {:.0} a second", f64::from(sent) / took)),
        ("Updates drawn meanwhile", format!("{applied}, {:.0} a second", applied / took)),
        ("Frames a second", format!("{:.1}", seen.frames.len() as f64 / took)),
        ("Frame time, p50", ms(0.5)),
        ("Frame time, p95", ms(0.95)),
        ("Frame time, p99", ms(0.99)),
        ("Frame time, most", ms(1.0)),
        ("Long tasks (over 50 ms)", seen.tasks.len().to_string()),
        ("Longest task", format!("{:.0} ms", quantile(&seen.tasks, 1.0))),
        ("Rows in the document, most", seen.rows.to_string()),
        ("Elements in the document, most", seen.elements.to_string()),
        ("Board behind the log, events: p50 / most", events(&drawn)),
        ("Whole page (`data-position`) behind the log, events: p50 / most", events(&whole)),
    ]
}

async fn about(browser: &Browser) -> String {
    let version = browser.cdp("Browser.getVersion", serde_json::json!({})).await.unwrap();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "{}; {} cores ({}); {} without a GPU. callbook ({} build), PostgreSQL without fsync, whoever sends the webhooks \
         and the browser share these cores.",
        OffsetDateTime::now_utc().date(),
        std::thread::available_parallelism().unwrap(),
        cpu.map_or("unknown", |(_, name)| name),
        version["product"].as_str().unwrap(),
        if cfg!(debug_assertions) { "debug" } else { "release" },
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of a minute, which wants the machine for itself: .ci/frames"]
async fn how_smoothly_the_board_follows_a_thousand_calls() {
    let callbook = Callbook::start().await;
    let mut load = Load::new(&callbook);
    load.begin().await;
    let head = callbook.settled().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.at_position(head).await;
    browser.find(Named("heading", &format!("In progress {CALLS}"))).await;
    let mut columns = Vec::new();
    for rate in RATES {
        columns.push(measure(&callbook, &browser, &mut load, rate).await);
    }
    let mut table = format!("{}\n\n| {CALLS} calls in progress |", about(&browser).await);
    for rate in RATES {
        write!(table, " {rate} updates/s |").unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---:|".repeat(RATES.len()));
    for (row, (name, _)) in columns[0].iter().enumerate() {
        write!(table, "\n| {name} |").unwrap();
        for column in &columns {
            write!(table, " {} |", column[row].1).unwrap();
        }
    }
    println!("{table}");
    browser.close().await;
    callbook.stop().await;
}
