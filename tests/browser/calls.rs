//! Calls: looked for, and looked into.

use thirtyfour::Key;

use crate::browser::Browser;
use crate::browser::Seen;
use crate::browser::Seen::{Like, Named};
use crate::phone::{Call, OTHER, OTHER_SHOWN, SHOWN, answered, missed};
use crate::support::{CUSTOMER, Callbook};

const SEARCH: Seen = Named("searchbox", "Search by name or number");
const ROWS: Seen = Like("link", "+1 (508)");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_for_is_in_the_address_and_the_back_button_leads_back() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    missed(&callbook, 2, OTHER).await;
    let head = answered(&callbook, 3, OTHER, 20).await;
    let browser = Browser::open(&callbook.url, "/calls").await;
    browser.at_position(head).await;
    browser.are(3, ROWS).await;

    browser.fill(SEARCH, "0321").await;
    browser.are(2, ROWS).await;
    assert_eq!(browser.address().await, "/calls?search=0321");
    browser.driver.execute("document.querySelector('summary').focus()", vec![]).await.unwrap();
    browser.press(Key::Enter + "").await;
    browser.choose("Missed", "Missed").await;
    browser.are(1, ROWS).await;
    assert_eq!(browser.address().await, "/calls?search=0321&missed=true");
    browser.click(ROWS).await;
    browser.find(Named("heading", OTHER_SHOWN)).await;

    browser.driver.back().await.unwrap();
    browser.find(Named("heading", "Calls")).await;
    browser.are(1, ROWS).await;
    assert_eq!(
        browser.by_role(SEARCH.role(), "Search by name or number").await.value().await.unwrap().unwrap(),
        "0321"
    );
    browser.driver.back().await.unwrap();
    browser.are(2, ROWS).await;
    assert_eq!(browser.address().await, "/calls?search=0321");
    browser.driver.back().await.unwrap();
    browser.are(3, ROWS).await;
    assert_eq!(browser.address().await, "/calls");

    // Somebody else who is given the address finds the same.
    for (path, count) in
        [("/calls?search=0321&missed=true", 1), ("/inbox?search=0321", 1), ("/inbox?search=nobody", 0)]
    {
        browser.go(path).await;
        browser.at_position(head).await;
        browser.are(count, ROWS).await;
    }
    browser.says("No thread has such a call").await;
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_for_can_be_taken_away_as_csv() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    let head = missed(&callbook, 2, OTHER).await;
    let browser = Browser::open(&callbook.url, "/calls?search=0321").await;
    browser.at_position(head).await;
    let link = browser.by_role("link", "CSV").await.prop("href").await.unwrap().unwrap();
    let csv = crate::support::client::http().get(link).send().await.unwrap().text().await.unwrap();
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.contains(OTHER) && !csv.contains(CUSTOMER), "{csv}");
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_explained_in_sentences_that_lead_to_its_events() {
    let callbook = Callbook::start().await;
    let call = Call::begins(&callbook, 1, CUSTOMER).await;
    call.rings().await;
    call.is_answered().await;
    let head = call.ends(20).await;
    let browser = Browser::open(&callbook.url, &format!("/calls/{}", call.sid())).await;
    browser.at_position(head).await;
    browser.click(Named("link", "Explain")).await;
    browser.says("The call was heard of for the first time. It is ringing.").await;
    let text = browser.text().await;
    for sentence in [
        &format!("from {SHOWN} to +1 (617) 500-6181, status “ringing”") as &str,
        "The call is now completed, 25 s long.",
        "the two were connected",
        "It told something new, and was recorded.",
    ] {
        assert!(text.contains(sentence), "{sentence}: {text}");
    }
    // Each leads to its event.
    let events = callbook.get(&format!("/api/calls/{}/events", call.sid())).await;
    for event in events["events"].as_array().unwrap() {
        let link = browser.by_role("link", &format!("Event {}", event["position"])).await;
        let to = link.prop("href").await.unwrap().unwrap();
        let expected = format!(
            "/ops/events?call_sid={}&position={}",
            event["call_sid"].as_str().unwrap(),
            event["position"]
        );
        assert!(to.ends_with(&expected), "{to}");
    }
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slider_shows_a_call_as_it_was_known_then() {
    let callbook = Callbook::start().await;
    let call = Call::begins(&callbook, 1, CUSTOMER).await;
    let then = call.rings().await;
    let talking = call.is_answered().await;
    let head = call.ends(20).await;
    let browser = Browser::open(&callbook.url, &format!("/calls/{}", call.sid())).await;
    browser.at_position(head).await;
    browser.says("Answered").await;
    browser.click(Named("button", "Look back")).await;
    let slider = browser.by_role("slider", "As it was known").await;
    slider.send_keys(Key::Home + "").await.unwrap();
    browser.says("You see this call as callbook knew it then").await;
    browser.says("first heard of: ringing").await;
    browser.are(2, Like("row", "")).await;

    browser.go(&format!("/calls/{}?as_of={then}", call.sid())).await;
    browser.says("Ringing").await;
    browser.are(3, Like("row", "")).await;
    browser.go(&format!("/calls/{}?as_of={talking}", call.sid())).await;
    browser.says("Talking").await;
    browser.click(Named("button", "Back to now")).await;
    browser.says("25 s").await;
    browser.close().await;
    callbook.stop().await;
}
