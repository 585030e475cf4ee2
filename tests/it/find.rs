//! Finding conversations and calls: filters, search, lists of calls, and their export.

use std::collections::{BTreeMap, HashSet};

use callbook::installation::{self, Owner};
use projections::rebuild;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::client::{dial_action, http, incoming, lasting, status};
use crate::support::database::TestDatabase;
use crate::support::{ACCOUNT_SID, CUSTOMER, Callbook, DISPATCHER, OURS, call_sid, pairs};

const OTHER_LINE: &str = "+16175006182";
const NAMES: [&str; 4] = ["DOE JANE", "100% PLUMBING", "", "Ünal \\ Söhne"];

/// What Twilio's reports of the `n`th call are about.
struct Told<'a> {
    callbook: &'a Callbook,
    n: u32,
    customer: String,
}

impl Told<'_> {
    fn root(&self) -> String {
        call_sid(2 * self.n)
    }

    fn child(&self) -> String {
        call_sid(2 * self.n + 1)
    }

    fn at(&self, second: u32) -> String {
        format!("Sun, {:02} Feb 2026 06:11:{second:02} +0000", 1 + self.n % 28)
    }

    async fn send(&self, endpoint: &str, params: &[(String, String)]) {
        self.callbook.twilio().send(endpoint, params).await;
    }

    /// Somebody calls, and the dispatcher is rung.
    async fn inbound(&self, line: &str, dialled: &str) {
        let (root, child, from) = (self.root(), self.child(), &self.customer);
        let mut announced = incoming(&root, from, line);
        let name = NAMES[self.n as usize / 8 % NAMES.len()];
        announced.extend(pairs(&[("CallerName", name)]));
        self.send("voice-inbound", &announced).await;
        let ringing = status(&root, None, from, line, "ringing", 0, &self.at(0));
        self.send("voice-status", &ringing).await;
        let ended = status(&child, Some(&root), from, DISPATCHER, dialled, 3, &self.at(29));
        self.send("voice-status", &lasting(ended, if dialled == "completed" { 20 } else { 0 })).await;
        self.send("dial-action", &dial_action(&root, &child, from, line, dialled, 20)).await;
        let ended = status(&root, None, from, line, "completed", 4, &self.at(29));
        self.send("voice-status", &lasting(ended, 29)).await;
    }

    /// The dispatcher calls somebody, by our number.
    async fn outbound(&self, dialled: &str) {
        let (root, child, to) = (self.root(), self.child(), &self.customer);
        let ringing = status(&root, None, DISPATCHER, to, "ringing", 0, &self.at(0));
        self.send("voice-status", &ringing).await;
        let ended = status(&child, Some(&root), OURS, to, dialled, 3, &self.at(29));
        self.send("voice-status", &lasting(ended, 20)).await;
        self.send("dial-action", &dial_action(&root, &child, DISPATCHER, to, dialled, 20)).await;
        let ended = status(&root, None, DISPATCHER, to, "completed", 4, &self.at(29));
        self.send("voice-status", &lasting(ended, 29)).await;
    }

    async fn recorded(&self) {
        let report = pairs(&[
            ("CallSid", &self.root()),
            ("RecordingSid", &format!("RE{:032}", self.n)),
            ("RecordingStatus", "completed"),
            ("RecordingDuration", "12"),
        ]);
        self.send("recording-status", &report).await;
    }
}

/// Calls of every kind with a few customers, and one that is hidden.
async fn calls(callbook: &Callbook, count: u32) {
    for n in 0..count {
        let customer = match n % 7 {
            6 => "anonymous".to_owned(),
            party => format!("+1508555{:04}", 100 + party),
        };
        let told = Told { callbook, n, customer };
        match n % 9 {
            0 => told.inbound(OURS, "completed").await,
            1 => told.inbound(OURS, "no-answer").await,
            2 => told.inbound(OTHER_LINE, "busy").await,
            3 | 4 if told.customer != "anonymous" => told.outbound("completed").await,
            5 if told.customer != "anonymous" => told.outbound("failed").await,
            6 => {
                told.inbound(OTHER_LINE, "completed").await;
                told.recorded().await;
            }
            7 => {
                let rings = status(&told.root(), None, &told.customer, OURS, "ringing", 0, &told.at(0));
                told.send("voice-status", &rings).await;
            }
            _ => {
                let gone = status(&told.root(), None, &told.customer, OURS, "canceled", 0, &told.at(9));
                told.send("voice-status", &gone).await;
            }
        }
    }
    let hidden = incoming(&call_sid(9_999), DISPATCHER, "client:alice");
    callbook.twilio().send("voice-inbound", &hidden).await;
    callbook.settled().await;
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a Vec<Value> {
    answer[name].as_array().unwrap_or_else(|| panic!("there is no {name} in {answer}"))
}

fn ids<'a>(items: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    items.into_iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// A path with these parameters.
fn asked(path: &str, parameters: &[(&str, String)]) -> String {
    let query = callbook::twilio::form::Form(
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    );
    format!("{path}?{}", query.encode())
}

/// All of a list, by cursor.
async fn whole(callbook: &Callbook, path: &str, name: &str, parameters: &[(&str, String)]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut more = vec![("limit", "7".to_owned())];
    loop {
        let mut with_page = parameters.to_vec();
        with_page.append(&mut more);
        let answer = callbook.get(&asked(path, &with_page)).await;
        all.extend(list(&answer, name).clone());
        match answer["next_cursor"].as_str() {
            Some(cursor) => more = vec![("limit", "7".to_owned()), ("cursor", cursor.to_owned())],
            None => {
                assert_eq!(answer["total"], all.len(), "{parameters:?}");
                return all;
            }
        }
    }
}

/// What the filters mean, said a second time: a call of `GET /api/calls`, and the names of callers in its thread.
fn matches(call: &Value, names: &[&str], parameters: &[(&str, String)]) -> bool {
    let contact = &call["contact"];
    parameters.iter().all(|(name, value)| match *name {
        "direction" => call["direction"] == **value,
        "status" => call["call_status"] == **value,
        "missed" => call["missed"] == (value == "true"),
        "number" => contact["handle"] == **value || call["line"] == **value,
        "has_recording" => call["call"]["recording_url"].is_null() == (value == "false"),
        "from" => call["created_at"].as_str().unwrap() >= &**value,
        "to" => call["created_at"].as_str().unwrap()[..10] <= **value,
        "search" => {
            let sought = value.trim().to_lowercase();
            let digits: String = sought.chars().filter(char::is_ascii_digit).collect();
            let is_number = sought.chars().all(|c| c.is_ascii_digit() || " -.()+/".contains(c));
            let words = match contact.as_object() {
                Some(contact) => ["display_name", "phone_number", "handle"]
                    .map(|field| contact[field].as_str().unwrap_or_default())
                    .join(" "),
                None => "Calls with Withheld number".to_owned(),
            };
            names.iter().copied().chain([&*words]).any(|text| {
                let text = text.to_lowercase();
                text.contains(&sought) || (is_number && !digits.is_empty() && text.contains(&digits))
            })
        }
        other => panic!("no such filter: {other}"),
    })
}

fn filters() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let maybe = |name: &'static str, values: &'static [&'static str]| {
        prop::option::weighted(
            0.3,
            prop::sample::select(values).prop_map(move |value| (name, value.to_owned())),
        )
    };
    let truth = &["true", "false"];
    (
        maybe("direction", &["inbound", "outbound", "external"]),
        maybe("status", &["completed", "no-answer", "busy", "failed", "canceled", "ringing", "queued"]),
        maybe("missed", truth),
        maybe("number", &["+15085550100", "+15085550103", OURS, OTHER_LINE, "+4930123456"]),
        maybe(
            "search",
            &[
                "jane",
                "Doe J",
                "100%",
                "%",
                "_",
                "\\",
                "Ünal",
                "(508) 555",
                "0103",
                "508-555-0104",
                "withheld",
                "nobody",
                "1",
            ],
        ),
        maybe("has_recording", truth),
        maybe("from", &["2026-02-03", "2026-02-12T06:11:00Z", "2026-03-01"]),
        maybe("to", &["2026-02-12", "2026-02-28"]),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].into_iter().flatten().collect())
        .prop_filter("a span has a length", |given: &Vec<(&str, String)>| {
            let of = |name| {
                given.iter().find(|(given, _)| *given == name).map(|(_, value)| value[..10].to_owned())
            };
            !matches!((of("from"), of("to")), (Some(from), Some(to)) if from > to)
        })
}

#[test]
fn a_filtered_list_is_the_whole_list_filtered() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (callbook, all, threads) = runtime.block_on(async {
        let callbook = Callbook::start().await;
        calls(&callbook, 60).await;
        let all = whole(&callbook, "/api/calls", "calls", &[]).await;
        let threads = whole(&callbook, "/api/conversations", "conversations", &[]).await;
        (callbook, all, threads)
    });
    assert_eq!((all.len(), threads.len()), (60, 7));
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for call in &all {
        let thread = call["conversation_id"].as_str().unwrap();
        names.entry(thread).or_default().extend(call["metadata"]["caller_name"].as_str());
    }
    let mut runner = TestRunner::new(Config { cases: 120, failure_persistence: None, ..Config::default() });
    runner
        .run(&filters(), |parameters| {
            let thread_of = |call: &Value| call["conversation_id"].as_str().unwrap().to_owned();
            let wanted: Vec<&Value> = all
                .iter()
                .filter(|call| matches(call, &names[thread_of(call).as_str()], &parameters))
                .collect();
            let wanted_threads: HashSet<String> = wanted.iter().copied().map(thread_of).collect();
            let (found, found_threads) = runtime.block_on(async {
                (
                    whole(&callbook, "/api/calls", "calls", &parameters).await,
                    whole(&callbook, "/api/conversations", "conversations", &parameters).await,
                )
            });
            prop_assert_eq!(ids(&found), ids(wanted), "calls with {:?}", &parameters);
            let expected =
                threads.iter().filter(|thread| wanted_threads.contains(thread["id"].as_str().unwrap()));
            prop_assert_eq!(ids(&found_threads), ids(expected), "conversations with {:?}", &parameters);
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        callbook.verify().await;
        callbook.stop().await;
    });
}

#[tokio::test]
async fn a_call_is_listed_as_in_its_thread_with_whom_it_was_exchanged() {
    let callbook = Callbook::start().await;
    calls(&callbook, 4).await;
    let answer = callbook.get("/api/calls?number=%2B15085550100").await;
    assert_eq!((&answer["total"], &answer["page"], &answer["limit"]), (&json!(1), &json!(1), &json!(20)));
    assert!(answer["position"].as_i64().unwrap() > 0);
    let call = &list(&answer, "calls")[0];
    let thread = call["conversation_id"].as_str().unwrap();
    let in_thread = callbook.get(&format!("/api/conversations/{thread}/messages")).await;
    assert_eq!(in_thread["messages"][0], *call);
    assert_eq!((&call["line"], &call["contact"]["handle"]), (&json!(OURS), &json!("+15085550100")));
    let outbound = callbook.get("/api/calls?direction=outbound").await;
    assert_eq!(outbound["calls"][0]["line"], OURS, "the number that the dispatcher called from");
    callbook.stop().await;
}

#[tokio::test]
async fn page_offset_and_cursor_walk_the_same_filtered_list() {
    let callbook = Callbook::start().await;
    calls(&callbook, 30).await;
    for (path, name, total) in [("/api/calls", "calls", 17), ("/api/conversations", "conversations", 7)] {
        let inbound = [("direction", "inbound".to_owned())];
        let all = whole(&callbook, path, name, &inbound).await;
        assert!(all.len() >= total, "{path}: {}", all.len());
        for step in [2, 5] {
            let (mut by_page, mut by_offset) = (Vec::new(), Vec::new());
            for part in 0..=all.len() / step {
                let page =
                    callbook.get(&format!("{path}?direction=inbound&limit={step}&page={}", part + 1)).await;
                by_page.extend(ids(list(&page, name)));
                let offset = part * step;
                let part =
                    callbook.get(&format!("{path}?direction=inbound&limit={step}&offset={offset}")).await;
                assert_eq!((&part["total"], &page["total"]), (&json!(all.len()), &json!(all.len())));
                by_offset.extend(ids(list(&part, name)));
            }
            assert_eq!((by_page, by_offset), (ids(&all), ids(&all)), "{path}");
        }
    }
    callbook.stop().await;
}

/// Archives every other conversation, and reads every third.
async fn some_archived_and_some_read(callbook: &Callbook) {
    for (n, thread) in whole(callbook, "/api/conversations", "conversations", &[]).await.iter().enumerate() {
        let url = format!("{}/api/conversations/{}/state", callbook.url, thread["id"].as_str().unwrap());
        let mut patch = json!({ "archived": n % 2 == 0 });
        if n % 3 == 0 {
            patch["read_up_to"] = "2026-02-28T23:59:59Z".into();
        }
        assert_eq!(http().patch(url).json(&patch).send().await.unwrap().status(), 200);
    }
    callbook.settled().await;
}

#[tokio::test]
async fn archived_and_unread_are_asked_of_the_conversation_whatever_its_calls() {
    let callbook = Callbook::start().await;
    calls(&callbook, 60).await;
    some_archived_and_some_read(&callbook).await;
    for of_calls in [
        &[][..],
        // Of many conversations, of few, and of one that is named.
        &[("direction", "inbound".to_owned())],
        &[("has_recording", "true".to_owned()), ("from", "2026-02-25".to_owned())],
        &[("search", "jane".to_owned())],
        &[("number", "+15085550103".to_owned())],
    ] {
        let all = whole(&callbook, "/api/conversations", "conversations", of_calls).await;
        assert!(!all.is_empty(), "{of_calls:?}");
        for archived in [None, Some(true), Some(false)] {
            for unread in [None, Some(true), Some(false)] {
                let wanted = all.iter().filter(|thread| {
                    archived.is_none_or(|archived| thread["archived"] == archived)
                        && unread.is_none_or(|unread| (thread["unread_count"] != 0) == unread)
                });
                let mut asked = of_calls.to_vec();
                asked.extend(archived.map(|archived| ("archived", archived.to_string())));
                asked.extend(unread.map(|unread| ("unread", unread.to_string())));
                let found = whole(&callbook, "/api/conversations", "conversations", &asked).await;
                assert_eq!(ids(&found), ids(wanted), "{asked:?}");
            }
        }
    }
    let all = whole(&callbook, "/api/conversations", "conversations", &[]).await;
    for (archived, unread) in [(true, true), (true, false), (false, true), (false, false)] {
        let is = |thread: &&Value| thread["archived"] == archived && (thread["unread_count"] != 0) == unread;
        assert!(all.iter().any(|thread| is(&thread)), "archived {archived} and unread {unread}");
    }
    for (query, parameter) in [("archived=yes", "archived"), ("unread=", "unread"), ("unread=1", "unread")] {
        let (status, problem) = callbook.fetch(&format!("/api/conversations?{query}")).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{problem}");
    }
    callbook.stop().await;
}

#[tokio::test]
async fn a_filter_that_makes_no_sense_is_told_which() {
    let callbook = Callbook::start().await;
    for path in ["/api/conversations", "/api/calls", "/api/stats"] {
        for (query, parameter) in [
            ("direction=internal", "direction"),
            ("status=answered", "status"),
            ("missed=maybe", "missed"),
            ("number=Jane", "number"),
            ("from=soon", "from"),
            ("from=2026-02-09&to=2026-02-08", "to"),
            ("has_recording=&page=1", "has_recording"),
            ("missed=true&missed=true", "missed"),
        ] {
            let (found, problem) = callbook.fetch(&format!("{path}?{query}")).await;
            assert_eq!(
                (found, &problem["code"]),
                (400, &json!("bad-parameter")),
                "{path}?{query}: {problem}"
            );
            assert_eq!(problem["parameter"], parameter, "{path}?{query}");
        }
    }
    callbook.stop().await;
}

async fn csv(callbook: &Callbook, query: &str) -> reqwest::Response {
    let url = format!("{}/api/calls{query}", callbook.url);
    http().get(url).header("accept", "text/csv").send().await.unwrap()
}

/// The records of a file, by the names of its header.
fn records(file: &str) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(file.as_bytes()).deserialize().map(Result::unwrap).collect()
}

#[tokio::test]
async fn all_calls_that_match_are_exported() {
    let callbook = Callbook::start().await;
    calls(&callbook, 30).await;
    for query in ["", "?direction=outbound", "?search=jane&missed=true", "?status=queued"] {
        let response = csv(&callbook, query).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8; header=present");
        assert_eq!(response.headers()["vary"], "accept");
        let file = response.text().await.unwrap();
        assert!(file.starts_with("sid,conversation_id,start_time,"), "{file}");
        let and = if query.is_empty() { "?" } else { "&" };
        let listed = callbook.get(&format!("/api/calls{query}{and}limit=200")).await;
        let records = records(&file);
        let sids: Vec<&str> = records.iter().map(|record| &*record["sid"]).collect();
        let expected: Vec<&str> =
            list(&listed, "calls").iter().map(|call| call["external_id"].as_str().unwrap()).collect();
        assert_eq!(sids, expected, "{query}");
        for (record, call) in records.iter().zip(list(&listed, "calls")) {
            for (column, value) in [
                ("start_time", &call["created_at"]),
                ("direction", &call["direction"]),
                ("status", &call["call_status"]),
                ("from", &call["call"]["from"]),
                ("line", &call["line"]),
            ] {
                assert_eq!(record[column], value.as_str().unwrap_or_default(), "{column}");
            }
            for (column, value) in
                [("missed", &call["missed"]), ("talk_time", &call["metadata"]["talk_time"])]
            {
                assert_eq!(record[column], if value.is_null() { String::new() } else { value.to_string() });
            }
        }
    }
    callbook.stop().await;
}

#[tokio::test]
async fn a_link_names_the_form_of_a_list_whatever_the_browser_accepts() {
    let callbook = Callbook::start().await;
    calls(&callbook, 3).await;
    let asked = async |query: &str| {
        let url = format!("{}/api/calls?{query}", callbook.url);
        let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
        http().get(url).header("accept", accept).send().await.unwrap()
    };
    let file = asked("format=csv&direction=inbound").await.text().await.unwrap();
    assert_eq!(file, csv(&callbook, "?direction=inbound").await.text().await.unwrap());
    assert_eq!(asked("format=json").await.headers()["content-type"], "application/json");
    for wrong in ["format=xml", "format=csv&limit=3", "format=csv&format=csv"] {
        assert_eq!(asked(wrong).await.status(), 400, "{wrong}");
    }
    callbook.stop().await;
}

#[tokio::test]
async fn a_caller_cannot_put_a_formula_into_a_spreadsheet() {
    let callbook = Callbook::start().await;
    let mut call = incoming(&call_sid(1), CUSTOMER, OURS);
    call.extend(pairs(&[("CallerName", "=HYPERLINK(\"https://evil.example\",\"a\")")]));
    callbook.twilio().send("voice-inbound", &call).await;
    callbook.settled().await;
    let file = csv(&callbook, "").await.text().await.unwrap();
    let record = &records(&file)[0];
    assert_eq!(record["caller_name"], "'=HYPERLINK(\"https://evil.example\",\"a\")");
    assert_eq!(record["from"], CUSTOMER, "a number is what it looks like");
    callbook.stop().await;
}

#[tokio::test]
async fn a_caller_whose_name_has_no_end_is_found_by_its_beginning() {
    let callbook = Callbook::start().await;
    // Nothing that could be packed.
    let mut name = String::new();
    for n in 0..3_000_u64 {
        name.extend(char::from_u32(0x4e00 + (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51) as u32));
    }
    let mut call = incoming(&call_sid(1), CUSTOMER, OURS);
    call.extend(pairs(&[("CallerName", &name)]));
    callbook.twilio().send("voice-inbound", &call).await;
    callbook.settled().await;
    let beginning: String = name.chars().take(20).collect();
    let found = callbook.get(&asked("/api/calls", &[("search", beginning)])).await;
    assert_eq!((&found["total"], &found["calls"][0]["metadata"]["caller_name"]), (&json!(1), &json!(name)));
    callbook.verify().await;
    callbook.stop().await;
}

/// Puts so many calls where the fold would, without telling of each.
async fn many(pool: &PgPool, count: i32) {
    let columns: Vec<String> = sqlx::query_scalar(
        "select attname::text from pg_attribute
          where attrelid = 'read_model_g1.messages'::regclass and attnum > 0 and not attisdropped
            and attname not in ('id', 'twilio_sid', 'root_call_sid', 'start_time')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let columns = columns.join(", ");
    let query = format!(
        "insert into read_model_g1.messages (id, twilio_sid, root_call_sid, start_time, {columns})
         select n, 'CA' || n, 'CA' || n, start_time - n * interval '1 second', {columns}
           from read_model_g1.messages, generate_series(1, $1) as n where entry"
    );
    sqlx::query(&query).bind(count).execute(pool).await.unwrap();
}

/// More calls than sockets hold, so that who does not read gets no more than a part of them.
async fn more_than_sockets_hold(callbook: &Callbook) {
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    many(&callbook.pool, 60_000).await;
}

#[tokio::test]
async fn an_export_is_read_in_parts_from_one_snapshot() {
    let callbook = Callbook::start().await;
    more_than_sockets_hold(&callbook).await;
    let mut export = csv(&callbook, "").await;
    let mut file = export.chunk().await.unwrap().unwrap().to_vec();
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(2), CUSTOMER, OURS)).await;
    callbook.settled().await;
    while let Some(chunk) = export.chunk().await.unwrap() {
        file.extend(chunk);
    }
    let records = records(std::str::from_utf8(&file).unwrap());
    let sids: HashSet<&str> = records.iter().map(|record| &*record["sid"]).collect();
    assert_eq!((records.len(), sids.len()), (60_001, 60_001), "each once");
    assert!(sids.contains("CA60000") && !sids.contains(&*call_sid(2)), "and none that came later");
    callbook.stop().await;
}

#[tokio::test]
async fn two_exports_are_sent_at_once_and_one_ends_with_its_client() {
    let callbook = Callbook::start().await;
    more_than_sockets_hold(&callbook).await;
    let hangs_up = csv(&callbook, "").await;
    let _reads_nothing = csv(&callbook, "").await;
    let url = format!("{}/api/calls?status=busy", callbook.url);
    let third = tokio::spawn(http().get(url).header("accept", "text/csv").send());
    assert_eq!(callbook.get("/api/conversations").await["total"], 1, "others are answered meanwhile");
    assert!(!third.is_finished(), "a third one waits");
    drop(hangs_up);
    let third = third.await.unwrap().unwrap().text().await.unwrap();
    assert_eq!(records(&third).len(), 0);
    callbook.stop().await;
}

#[tokio::test]
async fn whoever_takes_neither_json_nor_csv_is_told_so() {
    let callbook = Callbook::start().await;
    let url = format!("{}/api/calls", callbook.url);
    let refused = http().get(&url).header("accept", "text/html").send().await.unwrap();
    assert_eq!(refused.status(), 406);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "not-acceptable");
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    let answered = http().get(&url).header("accept", browser).send().await.unwrap();
    assert_eq!(answered.headers()["content-type"], "application/json");
    let paged = csv(&callbook, "?limit=5").await;
    assert_eq!(paged.status(), 400);
    assert_eq!(paged.json::<Value>().await.unwrap()["parameter"], "limit");
    callbook.stop().await;
}

/// As a server whose owner forbids extensions.
async fn without_extensions(pool: &PgPool) {
    sqlx::raw_sql(
        "create function no_extensions() returns event_trigger language plpgsql as $$
         begin raise exception using errcode = '42501', message = 'no extensions here'; end $$;
         create event trigger no_extensions on ddl_command_start when tag in ('CREATE EXTENSION')
            execute function no_extensions();",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn search_finds_the_same_where_the_server_has_no_trigrams() {
    let callbook = Callbook::start().await;
    calls(&callbook, 20).await;
    let extensions = "select count(*) from pg_extension where extname = 'pg_trgm'";
    assert_eq!(callbook.count(extensions).await, 1);
    let found = async || {
        let mut found = Vec::new();
        for text in ["jane", "%", "555-010", "withheld"] {
            let search = [("search", text.to_owned())];
            found.push(ids(&whole(&callbook, "/api/calls", "calls", &search).await));
        }
        found
    };
    let with = found().await;
    assert!(with.iter().all(|calls| !calls.is_empty()), "{with:?}");
    sqlx::raw_sql("drop extension pg_trgm cascade").execute(&callbook.pool).await.unwrap();
    without_extensions(&callbook.pool).await;
    assert_eq!(found().await, with);
    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    assert_eq!(callbook.count(extensions).await, 0);
    assert_eq!(found().await, with);
    callbook.stop().await;
}

#[tokio::test]
async fn callbook_is_set_up_on_a_server_that_allows_no_extensions() {
    let database = TestDatabase::empty().await;
    let pool = installation::connect(database.options(), 2).await.unwrap();
    without_extensions(&pool).await;
    let owner = Owner { account_sid: ACCOUNT_SID.to_owned(), simulated: true };
    installation::prepare(&pool, &owner).await.unwrap();
    pool.close().await;
}
