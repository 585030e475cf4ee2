//! Signing in and out, where callbook has to know who looks.

use callbook::access::{Role, tokens};
use secrecy::ExposeSecret;

use crate::browser::Browser;
use crate::browser::Seen;
use crate::browser::Seen::Named;
use crate::phone::Call;
use crate::support::{CUSTOMER, Callbook};

const TOKEN: Seen = Named("textbox", "Token");
const SIGN_IN: Seen = Named("button", "Sign in");

/// Other machines could reach it, so it asks who is there.
async fn reachable() -> (Callbook, String) {
    let callbook = Callbook::with(&[("BIND_ADDRESS", "0.0.0.0")]).await;
    let (_, secret) = tokens::create(&callbook.pool, "anna", Role::Dispatcher).await.unwrap();
    let secret = secret.expose_secret().to_owned();
    (callbook, secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_with_a_token_and_out_again() {
    let (callbook, secret) = reachable().await;
    let call = Call::begins(&callbook, 1, CUSTOMER).await;
    let head = call.rings().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.find(Named("heading", "Sign in")).await;
    browser.fill(TOKEN, &secret).await;
    browser.click(SIGN_IN).await;
    browser.at_position(head).await;
    browser.find(Named("heading", "In progress 1")).await;
    browser.says("anna").await;
    assert_eq!(browser.count(Named("link", "Operations")).await, 0, "a dispatcher has nothing to do there");
    // A page that is loaded anew knows who is there, and so does another one.
    browser.go("/").await;
    browser.find(Named("heading", "In progress 1")).await;
    let first = browser.tab().await;
    browser.new_tab("/").await;
    browser.at_position(head).await;

    browser.click(Named("button", "Sign out")).await;
    browser.find(Named("heading", "Sign in")).await;
    browser.is_gone(Named("heading", "In progress 1")).await;
    // In all tabs, and the stream has ended with the session.
    browser.look_at(&first).await;
    browser.find(Named("heading", "Sign in")).await;
    let nobody_listens =
        async || Ok((callbook.get("/events/stats").await["connected_clients"] == 0).then_some(()));
    browser.until("nobody listens", nobody_listens).await;
    browser.go("/").await;
    browser.find(Named("heading", "Sign in")).await;
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_said_to_be_wrong_and_can_be_corrected() {
    let (callbook, secret) = reachable().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.fill(TOKEN, "callbook_nobody-made-this").await;
    browser.click(SIGN_IN).await;
    let said = browser.by_role("alert", "").await.text().await.unwrap();
    assert!(said.to_lowercase().contains("token"), "{said}");
    assert_eq!(
        browser.by_role("textbox", "Token").await.attr("aria-invalid").await.unwrap().unwrap(),
        "true"
    );
    browser.fill(TOKEN, &secret).await;
    browser.click(SIGN_IN).await;
    browser.find(Named("heading", "In progress 0")).await;
    // A browser notes each refusal by itself.
    browser.close_having_said(&["the server responded with a status of 401"]).await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_a_page_signs_in_first_and_is_then_at_that_page() {
    let (callbook, secret) = reachable().await;
    let browser = Browser::open(&callbook.url, "/calls?missed=true").await;
    browser.fill(TOKEN, &secret).await;
    browser.click(SIGN_IN).await;
    browser.find(Named("heading", "Calls")).await;
    assert_eq!(browser.address().await, "/calls?missed=true");
    browser.close().await;
    callbook.stop().await;
}
