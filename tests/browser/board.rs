//! The live board: it follows what happens, and after a cut it goes on where it was.

use crate::browser::Browser;
use crate::browser::Seen::Like;
use crate::phone::{Call, SHOWN, missed};
use crate::proxy::Proxy;
use crate::support::{CUSTOMER, Callbook};

/// Others that call, and how they are shown.
const OTHERS: [(&str, &str); 3] = [
    ("+15085140321", "+1 (508) 514-0321"),
    ("+15085140322", "+1 (508) 514-0322"),
    ("+15085140323", "+1 (508) 514-0323"),
];

async fn row(browser: &Browser, shown: &str) -> String {
    browser.find(Like("link", shown)).await.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_appears_rings_is_answered_and_ends_on_the_board_without_a_reload() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.says("No call is in progress").await;
    browser.script("window.sinceTheBeginning = true").await;

    let call = Call::begins(&callbook, 1, CUSTOMER).await;
    browser.at_position(call.rings().await).await;
    let ringing = row(&browser, SHOWN).await;
    assert!(ringing.contains("Ringing") && ringing.contains("Inbound"), "{ringing}");
    browser.at_position(call.is_answered().await).await;
    let talking = row(&browser, SHOWN).await;
    assert!(talking.contains("Talking"), "{talking}");
    let head = call.ends(20).await;
    browser.at_position(head).await;
    assert_eq!(browser.count(Like("link", SHOWN)).await, 0);
    let text = browser.text().await;
    assert!(text.contains("No call is in progress"), "{text}");
    assert!(text.contains(&format!("live · position {head} · 0 behind")), "{text}");

    assert_eq!(
        browser.script("return window.sinceTheBeginning").await,
        true,
        "the page was not loaded again"
    );
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_nothing_is_missing_and_nothing_is_there_twice() {
    let callbook = Callbook::start().await;
    let proxy = Proxy::to(&callbook.url).await;
    let [other, lost, late] = OTHERS;
    let before = Call::begins(&callbook, 1, CUSTOMER).await;
    let stays = Call::begins(&callbook, 2, other.0).await;
    before.rings().await;
    let head = stays.rings().await;
    let browser = Browser::open(&proxy.url, "/").await;
    browser.at_position(head).await;
    browser.are(2, Like("link", "+1 (508)")).await;
    browser.script("window.sinceTheBeginning = true").await;

    proxy.cut();
    browser.says("reconnecting").await;
    before.ends(20).await;
    stays.is_answered().await;
    missed(&callbook, 3, lost.0).await;
    let begun = Call::begins(&callbook, 4, late.0).await;
    let head = begun.rings().await;
    assert!(row(&browser, other.1).await.contains("Ringing"), "what was known is still shown");
    proxy.mend();

    browser.at_position(head).await;
    browser.says(&format!("live · position {head} · 0 behind")).await;
    for (shown, state) in [(other.1, "Talking"), (late.1, "Ringing")] {
        let row = row(&browser, shown).await;
        assert!(row.contains(state), "{row}");
    }
    let missed = row(&browser, lost.1).await;
    assert!(!missed.contains("Ringing"), "it is among the missed, and not in progress: {missed}");
    assert_eq!(browser.count(Like("link", SHOWN)).await, 0, "it has ended meanwhile");
    assert_eq!(
        browser.script("return window.sinceTheBeginning").await,
        true,
        "the page was not loaded again"
    );
    // What comes from now on comes once.
    browser.at_position(begun.ends(5).await).await;
    assert_eq!(browser.count(Like("link", "+1 (508)")).await, 2);
    // The console has what could not be reached.
    browser.leave().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_share_one_connection_to_the_stream_and_both_follow() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/").await;
    let first = browser.tab().await;
    browser.says("live ·").await;
    let second = browser.new_tab("/").await;
    browser.says("live ·").await;
    assert_eq!(callbook.get("/events/stats").await["connected_clients"], 1);

    let call = Call::begins(&callbook, 1, CUSTOMER).await;
    let head = call.rings().await;
    for tab in [&first, &second] {
        browser.look_at(tab).await;
        browser.at_position(head).await;
        assert!(row(&browser, SHOWN).await.contains("Ringing"));
    }
    // The one that began to listen goes, and the other still follows.
    browser.look_at(&first).await;
    browser.driver.close_window().await.unwrap();
    browser.look_at(&second).await;
    browser.at_position(call.is_answered().await).await;
    assert!(row(&browser, SHOWN).await.contains("Talking"));
    let stats = callbook.get("/events/stats").await;
    assert_eq!((&stats["connected_clients"], &stats["total_connections"]), (&1.into(), &1.into()));
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_call_leads_from_the_board_to_its_thread() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.says("Nobody was missed").await;
    browser.at_position(missed(&callbook, 1, CUSTOMER).await).await;
    browser.click(Like("link", SHOWN)).await;
    browser.find(Like("heading", SHOWN)).await;
    let id = callbook.get("/api/conversations").await["conversations"][0]["id"].as_str().unwrap().to_owned();
    assert!(browser.address().await.starts_with(&format!("/inbox/{id}")));
    browser.close().await;
    callbook.stop().await;
}
