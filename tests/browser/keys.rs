//! Everything by keyboard.

use thirtyfour::Key;

use crate::browser::Browser;
use crate::browser::Seen::{Like, Named};
use crate::phone::{OTHER, OTHER_SHOWN, SHOWN, missed};
use crate::support::{CUSTOMER, Callbook};

#[tokio::test(flavor = "multi_thread")]
async fn a_question_mark_lists_the_keys() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.says("live ·").await;
    browser.press("?").await;
    browser.find(Named("dialog", "Keys")).await;
    let text = browser.text().await;
    for does in ["Go to threads", "Search", "Undo what was just done", "Show or hide this list"] {
        assert!(text.contains(does), "{does}: {text}");
    }
    browser.press(Key::Escape + "").await;
    browser.is_gone(Named("dialog", "Keys")).await;
    browser.press("?").await;
    browser.find(Named("dialog", "Keys")).await;
    browser.press("?").await;
    browser.is_gone(Named("dialog", "Keys")).await;
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lead_into_a_thread_and_through_it() {
    let callbook = Callbook::start().await;
    missed(&callbook, 1, CUSTOMER).await;
    let head = missed(&callbook, 2, OTHER).await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.says("live ·").await;
    browser.press("gt").await;
    browser.find(Named("heading", "Threads")).await;
    browser.at_position(head).await;
    browser.are(2, Like("link", "+1 (508)")).await;
    browser.press("j").await;
    browser.focus_is_on("link", OTHER_SHOWN).await;
    browser.press("j").await;
    browser.focus_is_on("link", SHOWN).await;
    browser.press("k").await;
    browser.focus_is_on("link", OTHER_SHOWN).await;
    browser.press("j").await;
    browser.focus_is_on("link", SHOWN).await;
    browser.press(Key::Enter + "").await;
    browser.find(Like("heading", SHOWN)).await;

    browser.press("e").await;
    browser.is_gone(Like("link", SHOWN)).await;
    browser.press("z").await;
    browser.are(1, Like("link", SHOWN)).await;
    browser.press("/").await;
    browser.focus_is_on("searchbox", "Search").await;
    // What is typed there is no key of the page.
    browser.press("e?").await;
    browser.says("No thread has such a call").await;
    assert_eq!(browser.count(Named("dialog", "Keys")).await, 0);
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_focus_stays_where_it_is_while_things_happen() {
    let callbook = Callbook::start().await;
    let head = missed(&callbook, 1, CUSTOMER).await;
    let browser = Browser::open(&callbook.url, "/inbox").await;
    browser.at_position(head).await;
    browser.are(1, Like("link", SHOWN)).await;
    browser.press("j").await;
    browser.focus_is_on("link", SHOWN).await;
    // It is above the other one now.
    browser.at_position(missed(&callbook, 2, OTHER).await).await;
    browser.are(2, Like("link", "+1 (508)")).await;
    browser.focus_is_on("link", SHOWN).await;
    browser.close().await;
    callbook.stop().await;
}
