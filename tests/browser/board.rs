//! The live board: it follows what happens, and after a cut it goes on where it was.

use crate::browser::Browser;
use crate::browser::Seen::{Like, Named};
use crate::phone::{Call, missed};
use crate::proxy::Proxy;
use crate::support::{CUSTOMER, Callbook};

const CUSTOMER_SHOWN: &str = "+1 (508) 514-0320";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_appears_rings_is_answered_and_ends_on_the_board_without_a_reload() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.says("No call is in progress").await;
    browser.script("window.sinceTheBeginning = true").await;

    let call = Call::begins(&callbook, 1, CUSTOMER).await;
    browser.at_position(call.rings().await).await;
    let row = browser.find(Like("link", CUSTOMER_SHOWN)).await.text().await.unwrap();
    assert!(row.contains("Ringing") && row.contains("Inbound"), "{row}");
    browser.at_position(call.is_answered().await).await;
    let row = browser.find(Like("link", CUSTOMER_SHOWN)).await.text().await.unwrap();
    assert!(row.contains("Talking"), "{row}");
    browser.at_position(call.ends(20).await).await;
    browser.is_gone(Like("link", CUSTOMER_SHOWN)).await;
    browser.says("No call is in progress").await;

    assert_eq!(
        browser.script("return window.sinceTheBeginning").await,
        true,
        "the page was not loaded again"
    );
    browser.close().await;
    callbook.stop().await;
}
