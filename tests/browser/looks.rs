//! How every page looks: readable by everybody in light and dark, from a phone's width to a wide screen.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::browser::Browser;
use crate::browser::Seen::{Like, Named};
use crate::support::Callbook;
use crate::town::Town;

/// The widths of a phone and of a wide screen, and how much of a page is seen there.
const SCREENS: [(u32, u32); 2] = [(390, 844), (1440, 900)];

/// What `node src/ui/vendor/refresh.mjs --tools target/ui-tools` fetches.
const AXE: &str = "target/ui-tools/node_modules/axe-core/axe.min.js";

const RUN_AXE: &str = "
    const done = arguments[0];
    axe.run(document, { resultTypes: ['violations'] }).then(
      ({ violations, passes }) => done({
        passes: passes.length,
        violations: violations.flatMap(({ id, help, nodes }) => nodes.map(({ html, failureSummary }) =>
          `${id}: ${help}\\n  ${html.slice(0, 300)}\\n  ${failureSummary}`)),
      }),
      (error) => done({ passes: 0, violations: [String(error)] }));";

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn axe() -> String {
    let file = root().join(AXE);
    std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; it comes with `node src/ui/vendor/refresh.mjs --tools target/ui-tools`",
            file.display()
        )
    })
}

fn screenshots() -> PathBuf {
    let folder = root().join("target/screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Looks at what is on the page now, in light and dark, at both widths. Gives what is wrong.
async fn look(browser: &Browser, axe: &str, name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (width, height) in SCREENS {
        browser.resize(width, height).await;
        for scheme in ["light", "dark"] {
            browser.prefers(scheme).await;
            browser.drawn().await;
            let picture = screenshots().join(format!("{name}-{width}-{scheme}.png"));
            browser.driver.screenshot(&picture).await.unwrap();
            browser.driver.execute(axe, vec![]).await.unwrap();
            let found = browser.script_with(RUN_AXE, vec![]).await;
            assert!(found["passes"].as_u64() > Some(10), "it is looked at: {found}");
            let at = |wrong: &Value| format!("{name} at {width} px, {scheme}: {}", wrong.as_str().unwrap());
            wrong.extend(found["violations"].as_array().unwrap().iter().map(at));
            let wide = browser.script("return document.documentElement.scrollWidth").await;
            if wide.as_u64() > Some(width.into()) {
                wrong.push(format!("{name} at {width} px, {scheme}: it is {wide} px wide"));
            }
        }
    }
    wrong
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where a page is, and the heading that it has once it is there.
type Page<'a> = (&'a str, &'a str, &'a str);

/// Looks at each of these pages of a callbook that has had calls.
async fn look_at_all(browser: &Browser, town: &Town, pages: &[Page<'_>]) -> Vec<String> {
    let axe = axe();
    let mut wrong = Vec::new();
    for (name, path, heading) in pages {
        browser.resize(1440, 900).await;
        browser.go(path).await;
        browser.find(Like("heading", heading)).await;
        browser.at_position(town.head).await;
        browser.has_loaded().await;
        wrong.extend(look(browser, &axe, name).await);
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_read_the_pages_of_dispatchers() {
    let town = Town::with(40, 3, 3).await;
    let Town { callbook, head, thread, name, call, .. } = &town;
    let browser = Browser::open(&callbook.url, "/").await;
    let mut wrong = look_at_all(
        &browser,
        &town,
        &[
            ("board", "/", "In progress 3"),
            ("threads", "/inbox", "Threads"),
            ("thread", &format!("/inbox/{thread}?call={call}"), name),
            ("thread-then", &format!("/inbox/{thread}?as_of={}", head / 2), "+1 ("),
            ("calls", "/calls?missed=true", "Calls"),
            ("call", &format!("/calls/{call}"), name),
            ("call-events", &format!("/calls/{call}?tab=events"), name),
            ("call-explained", &format!("/calls/{call}?tab=explain"), name),
            ("statistics", "/stats", "Statistics"),
        ],
    )
    .await;
    // What is open only when somebody wants it.
    browser.resize(1440, 900).await;
    browser.go("/").await;
    browser.find(Named("heading", "In progress 3")).await;
    browser.click(Named("button", "Keys")).await;
    browser.find(Named("dialog", "Keys")).await;
    wrong.extend(look(&browser, &axe(), "keys").await);
    browser.resize(1440, 900).await;
    browser.go(&format!("/inbox/{thread}")).await;
    browser.click(Named("button", "Edit notes")).await;
    browser.find(Named("textbox", "Notes")).await;
    wrong.extend(look(&browser, &axe(), "thread-edited").await);
    assert_none(&wrong);
    browser.close().await;
    town.callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_read_the_pages_of_engineers() {
    let town = Town::with(20, 1, 1).await;
    let browser = Browser::open(&town.callbook.url, "/").await;
    let wrong = look_at_all(
        &browser,
        &town,
        &[
            ("operations", "/ops", "Operations"),
            ("operations-inbox", "/ops/inbox", "Inbox"),
            ("operations-events", "/ops/events", "Events"),
            ("operations-event", &format!("/ops/events?call_sid={}", town.call), "Events"),
            ("operations-projections", "/ops/projections", "Projections"),
            ("operations-quarantine", "/ops/quarantine", "Quarantine"),
            ("operations-reconcile", "/ops/reconcile", "Reconcile"),
            ("operations-tokens", "/ops/tokens", "Tokens"),
            ("operations-nowhere", "/ops/nowhere", "There is no such part"),
        ],
    )
    .await;
    assert_none(&wrong);
    browser.close().await;
    town.callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_read_what_there_is_before_the_first_call_and_before_signing_in() {
    let axe = axe();
    let callbook = Callbook::with(&[("BIND_ADDRESS", "0.0.0.0")]).await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.find(Named("heading", "Sign in")).await;
    let mut wrong = look(&browser, &axe, "sign-in").await;
    browser.fill(Named("textbox", "Token"), crate::support::ADMIN_TOKEN).await;
    browser.click(Named("button", "Sign in")).await;
    browser.find(Named("heading", "In progress 0")).await;
    for (name, path, says) in [
        ("board-empty", "/", "No call is in progress"),
        ("threads-empty", "/inbox", "No thread is open"),
        ("calls-empty", "/calls", "There is no call yet"),
        ("statistics-empty", "/stats", "Statistics"),
    ] {
        browser.go(path).await;
        browser.says(says).await;
        browser.has_loaded().await;
        wrong.extend(look(&browser, &axe, name).await);
    }
    assert_none(&wrong);
    browser.close().await;
    callbook.stop().await;
}
