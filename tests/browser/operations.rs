//! What engineers do: follow an event into the log, have what was given up tried again, build the read side anew.

use crate::browser::Browser;
use crate::browser::Seen::{Like, Named};
use crate::phone::missed;
use crate::support::{CUSTOMER, Callbook, call_sid};

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_leads_to_its_event_in_the_log() {
    let callbook = Callbook::start().await;
    let head = missed(&callbook, 1, CUSTOMER).await;
    let browser = Browser::open(&callbook.url, &format!("/calls/{}?tab=explain", call_sid(2))).await;
    browser.at_position(head).await;
    browser.click(Named("link", &format!("Event {head}"))).await;
    browser.find(Named("heading", "Events")).await;
    let open = browser.find(Named("region", &format!("What event {head} says"))).await;
    assert!(open.text().await.unwrap().contains("\"completed\""));
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_begun_watched_and_proves_that_live_equals_rebuilt() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    let browser = Browser::open(&callbook.url, "/ops/projections").await;
    browser.click(Named("button", "Dry run…")).await;
    browser.find(Named("dialog", "Begin a dry run?")).await;
    browser.click(Named("button", "Begin the dry run")).await;
    let row = browser.find(Like("button", "live equals rebuilt")).await.text().await.unwrap();
    assert!(row.contains("Dry run 1") && row.contains("Succeeded"), "{row}");
    assert_eq!(callbook.get("/api/rebuilds").await["rebuilds"][0]["state"], "succeeded");
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_tried_again_and_decided() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    // As it is left by something that has been mended since.
    let given_up =
        "update twilio_webhook_inbox set processing_status = 'dead_letter', error = 'the disk was full'
                     where id = (select max(id) from twilio_webhook_inbox)";
    sqlx::query(given_up).execute(&callbook.pool).await.unwrap();
    let browser = Browser::open(&callbook.url, "/ops/inbox?status=dead_letter").await;
    browser.click(Like("button", "Given up")).await;
    browser.says("the disk was full").await;
    browser.click(Named("button", "Try it again now")).await;
    callbook.settled().await;
    let waiting = "select count(*) from twilio_webhook_inbox where processing_status <> 'completed'";
    assert_eq!(callbook.count(waiting).await, 0);
    browser.is_gone(Like("button", "Given up")).await;
    browser.close().await;
    callbook.stop().await;
}
