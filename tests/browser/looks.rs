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

fn root() -> &'static Path {
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

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_read_every_page_in_light_and_dark_and_at_any_width() {
    let axe = axe();
    let town = Town::with(40, 3).await;
    let Town { callbook, head, thread, call } = &town;
    let browser = Browser::open(&callbook.url, "/").await;
    let mut wrong = Vec::new();
    for (name, path, heading) in [
        ("board", "/", "In progress 3"),
        ("threads", "/inbox", "Threads"),
        ("thread", &format!("/inbox/{thread}?call={call}"), "Maria Santos"),
        ("thread-then", &format!("/inbox/{thread}?as_of={}", head / 2), "Maria Santos"),
        ("calls", "/calls", "Calls"),
        ("call", &format!("/calls/{call}"), "Maria Santos"),
        ("call-events", &format!("/calls/{call}?tab=events"), "Maria Santos"),
        ("call-explained", &format!("/calls/{call}?tab=explain"), "Maria Santos"),
        ("statistics", "/stats", "Statistics"),
        ("nowhere", "/calls/CAffffffffffffffffffffffffffffffff", ""),
    ] {
        browser.go(path).await;
        if !heading.is_empty() {
            browser.find(Like("heading", heading)).await;
        }
        browser.at_position(*head).await;
        browser.is_gone(Named("status", "")).await;
        wrong.extend(look(&browser, &axe, name).await);
    }
    browser.go("/").await;
    browser.at_position(*head).await;
    browser.click(Named("button", "Keys")).await;
    browser.find(Named("dialog", "Keys")).await;
    wrong.extend(look(&browser, &axe, "keys").await);
    assert_none(&wrong);
    // What is not there was asked for.
    browser.close_having_said(&["the server responded with a status of 404"]).await;
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
    for (name, path, says) in [
        ("board-empty", "/", "No call is in progress"),
        ("threads-empty", "/inbox", "No thread is open"),
        ("calls-empty", "/calls", "No such call"),
        ("statistics-empty", "/stats", "Statistics"),
    ] {
        browser.go(path).await;
        browser.says(says).await;
        browser.at_position(0).await;
        wrong.extend(look(&browser, &axe, name).await);
    }
    assert_none(&wrong);
    browser.close().await;
    callbook.stop().await;
}
