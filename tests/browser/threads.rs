//! Threads: what is unread, what is put aside, what people write down, and what was known before.

use projections::rebuild;
use serde_json::Value;
use thirtyfour::Key;

use crate::browser::Browser;
use crate::browser::Seen::{Like, Named};
use crate::phone::{Call, OTHER, OTHER_SHOWN, SHOWN, answered, missed};
use crate::support::{CUSTOMER, Callbook};

/// As the API has it.
async fn thread(callbook: &Callbook, party: &str) -> Value {
    let list = callbook.get("/api/conversations").await;
    let threads = list["conversations"].as_array().unwrap();
    threads.iter().find(|thread| thread["external_id"] == party).unwrap().clone()
}

/// The address of the page of a thread.
async fn address(callbook: &Callbook, party: &str) -> String {
    format!("/inbox/{}", thread(callbook, party).await["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_call_is_unread_until_somebody_marks_it() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/inbox").await;
    browser.says("No thread is open").await;
    browser.at_position(missed(&callbook, 1, CUSTOMER).await).await;
    let row = browser.find(Like("link", SHOWN)).await;
    assert!(row.text().await.unwrap().contains("1 unread"));
    row.click().await.unwrap();

    browser.click(Named("button", "Mark as read")).await;
    browser.is_gone(Named("button", "Mark as read")).await;
    // Whoever has pressed the wrong button takes it back, and nothing has happened.
    browser.click(Named("button", "Undo")).await;
    browser.find(Named("button", "Mark as read")).await;
    assert_eq!(thread(&callbook, CUSTOMER).await["unread_count"], 1);

    browser.click(Named("button", "Mark as read")).await;
    browser.click(Named("button", "Dismiss")).await;
    browser.is_gone(Like("link", "1 unread")).await;
    browser.at_position(callbook.settled().await).await;
    assert_eq!(thread(&callbook, CUSTOMER).await["unread_count"], 0);
    browser.click(Named("link", "Unread")).await;
    browser.says("Nothing is unread").await;
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_is_archived_taken_back_and_found_among_the_archived() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    let head = missed(&callbook, 2, OTHER).await;
    let browser = Browser::open(&callbook.url, &address(&callbook, CUSTOMER).await).await;
    browser.at_position(head).await;
    let in_list = Like("link", SHOWN);
    browser.are(1, in_list).await;

    browser.click(Named("button", "Archive")).await;
    browser.is_gone(in_list).await;
    browser.are(1, Like("link", OTHER_SHOWN)).await;
    browser.click(Named("button", "Undo")).await;
    browser.are(1, in_list).await;
    browser.at_position(callbook.settled().await).await;
    assert_eq!(thread(&callbook, CUSTOMER).await["archived"], false);

    browser.click(Named("button", "Archive")).await;
    browser.is_gone(in_list).await;
    browser.click(Named("link", "Archived")).await;
    browser.are(1, in_list).await;
    // It comes back by itself when they call.
    browser.click(Named("link", "Open")).await;
    browser.is_gone(in_list).await;
    browser.at_position(missed(&callbook, 3, CUSTOMER).await).await;
    browser.are(1, in_list).await;
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_edited_in_place_shows_in_another_tab_and_survives_a_rebuild() {
    let callbook = Callbook::start().await;
    let head = missed(&callbook, 1, CUSTOMER).await;
    let browser = Browser::open(&callbook.url, "/").await;
    let board = browser.tab().await;
    browser.at_position(head).await;
    browser.script("window.sinceTheBeginning = true").await;

    let place = address(&callbook, CUSTOMER).await;
    let thread = browser.new_tab(&place).await;
    browser.click(Named("button", "Edit name")).await;
    browser.focus_is_on("textbox", "Name").await;
    browser.press("Zoë O’Hara").await;
    browser.press(Key::Enter + "").await;
    // Whoever has saved goes on where they were.
    browser.focus_is_on("button", "Edit name").await;
    browser.find(Like("heading", "Zoë O’Hara")).await;
    let head = callbook.settled().await;
    browser.at_position(head).await;
    assert!(browser.find(Like("link", SHOWN)).await.text().await.unwrap().contains("Zoë O’Hara"));

    browser.look_at(&board).await;
    browser.at_position(head).await;
    browser.find(Like("link", "Zoë O’Hara")).await;
    assert_eq!(
        browser.script("return window.sinceTheBeginning").await,
        true,
        "the page was not loaded again"
    );

    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    browser.look_at(&thread).await;
    browser.go(&place).await;
    browser.find(Like("heading", "Zoë O’Hara")).await;
    let call = Call::begins(&callbook, 2, CUSTOMER).await;
    let head = call.rings().await;
    browser.look_at(&board).await;
    browser.at_position(head).await;
    browser.are(2, Like("link", "Zoë O’Hara")).await;
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_and_tags_are_edited_in_place() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    let browser = Browser::open(&callbook.url, &address(&callbook, CUSTOMER).await).await;
    browser.click(Named("button", "Edit tags")).await;
    browser.focus_is_on("textbox", "Tags").await;
    browser.press("VIP, Boston").await;
    browser.click(Named("button", "Save")).await;
    browser.is_gone(Named("textbox", "Tags")).await;
    browser.click(Named("button", "Edit notes")).await;
    browser.focus_is_on("textbox", "Notes").await;
    browser.press("Calls at night.").await;
    browser.press(Key::Escape + "").await;
    browser.says("No notes").await;
    browser.click(Named("button", "Edit notes")).await;
    browser.focus_is_on("textbox", "Notes").await;
    browser.press("Ask twice.").await;
    browser.click(Named("button", "Save")).await;
    browser.says("Ask twice.").await;
    browser.at_position(callbook.settled().await).await;
    let contact = thread(&callbook, CUSTOMER).await["contact"]["id"].as_str().unwrap().to_owned();
    let contact = callbook.get(&format!("/api/contacts/{contact}")).await;
    assert_eq!(
        (&contact["tags"], &contact["notes"]),
        (&serde_json::json!(["VIP", "Boston"]), &"Ask twice.".into())
    );
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_edit_one_field_are_told_of_one_another_and_of_nothing_else() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    let place = address(&callbook, CUSTOMER).await;
    let browser = Browser::open(&callbook.url, &place).await;
    let one = browser.tab().await;
    let write = async |field: &str, text: &str| {
        browser.click(Named("button", &format!("Edit {}", field.to_lowercase()))).await;
        browser.focus_is_on("textbox", field).await;
        browser.press(text).await;
    };
    let save = async || browser.click(Named("button", "Save")).await;
    write("Notes", "Calls at night.").await;
    let other = browser.new_tab(&place).await;
    write("Notes", "Calls at noon.").await;
    save().await;
    browser.is_gone(Named("textbox", "Notes")).await;
    write("Tags", "VIP").await;
    let head = callbook.settled().await;

    browser.look_at(&one).await;
    browser.at_position(head).await;
    save().await;
    browser.says("changed it meanwhile, to “Calls at noon.”").await;
    save().await;
    browser.is_gone(Named("textbox", "Notes")).await;
    browser.says("Calls at night.").await;
    let head = callbook.settled().await;

    // What they changed is another field.
    browser.look_at(&other).await;
    browser.at_position(head).await;
    save().await;
    browser.is_gone(Named("textbox", "Tags")).await;
    browser.at_position(callbook.settled().await).await;
    let contact = &thread(&callbook, CUSTOMER).await["contact"];
    assert_eq!((&contact["notes"], &contact["tags"][0]), (&"Calls at night.".into(), &"VIP".into()));
    browser.close_having_said(&["412"]).await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_written_is_there_when_somebody_comes_back() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    let head = missed(&callbook, 2, OTHER).await;
    let browser = Browser::open(&callbook.url, &address(&callbook, CUSTOMER).await).await;
    browser.at_position(head).await;
    browser.click(Named("button", "Edit notes")).await;
    browser.focus_is_on("textbox", "Notes").await;
    browser.press("Half a sent").await;
    browser.click(Like("link", OTHER_SHOWN)).await;
    browser.find(Like("heading", OTHER_SHOWN)).await;
    assert_eq!(browser.count(Named("textbox", "Notes")).await, 0);
    browser.driver.back().await.unwrap();
    let field = browser.by_role("textbox", "Notes").await;
    assert_eq!(field.prop("value").await.unwrap().as_deref(), Some("Half a sent"));
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slider_shows_a_thread_as_it_was_known_then() {
    let callbook = Callbook::start().await;
    let then = missed(&callbook, 1, CUSTOMER).await;
    let head = answered(&callbook, 2, CUSTOMER, 20).await;
    let browser = Browser::open(&callbook.url, &address(&callbook, CUSTOMER).await).await;
    browser.at_position(head).await;
    browser.are(1, Like("article", "Missed call")).await;
    browser.are(1, Like("article", "Incoming call")).await;

    browser.click(Named("button", "Look back")).await;
    let slider = browser.by_role("slider", "As it was known").await;
    slider.send_keys(Key::Home + "").await.unwrap();
    browser.are(0, Like("article", "Missed call")).await;
    browser.are(1, Like("article", "Incoming call")).await;
    browser.says("Nothing can be changed in the past").await;
    assert_eq!(browser.count(Named("button", "Archive")).await, 0);
    assert_eq!(browser.count(Named("button", "Edit name")).await, 0);

    // The address says when it is, so a link leads there.
    browser.go(&format!("{}?as_of={then}", address(&callbook, CUSTOMER).await)).await;
    browser.are(1, Like("article", "Missed call")).await;
    assert_eq!(browser.count(Like("article", "Incoming call")).await, 0);
    browser.click(Named("button", "One event later")).await;
    browser.are(1, Like("article", "Incoming call")).await;
    browser.click(Named("button", "Back to now")).await;
    browser.says("talked 20 s").await;
    browser.find(Named("button", "Archive")).await;
    browser.close().await;
    callbook.stop().await;
}
