//! A list is gone through to its end, and not round.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake::{Fake, Reply};
use super::*;

fn page(resources: serde_json::Value, next: Option<&str>) -> Reply {
    Reply::Json(200, json!({ "calls": resources, "next_page_uri": next }))
}

async fn read(client: &Client) -> Result<Vec<Value>, ClientError> {
    let mut pages = client.pages(client.calls(&CallFilter::default()).await?);
    let mut read = Vec::new();
    while let Some(page) = pages.next().await? {
        read.extend(page.resources);
    }
    assert_eq!(pages.next().await?, None, "the end stays the end");
    Ok(read)
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let fake = Fake::start(|seen| match seen.uri.as_str() {
        "/b" => page(json!([]), Some("/c")),
        "/c" => page(json!([{ "sid": "c" }]), None),
        _ => page(json!([{ "sid": "a" }]), Some("/b")),
    })
    .await;
    assert_eq!(read(&client(&fake)).await.unwrap(), [json!({ "sid": "a" }), json!({ "sid": "c" })]);
    assert_eq!(fake.requests()[1..], ["GET /b", "GET /c"]);
}

#[tokio::test]
async fn a_list_that_leads_back_in_several_steps_ends_in_an_error_even_if_its_pages_are_empty() {
    let fake = Fake::start(|seen| match seen.uri.as_str() {
        "/b" => page(json!([]), Some("/c")),
        _ => page(json!([]), Some("/b")),
    })
    .await;
    let error = read(&client(&fake)).await.unwrap_err();
    assert!(matches!(&error, ClientError::PageRepeats { path } if path == "/c"), "{error}");
    assert_eq!(fake.requests().len(), 2 + TRIES, "the page that leads back is asked again");
}

#[tokio::test]
async fn a_page_that_leads_back_once_is_read_when_it_is_asked_again() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| match seen.uri.as_str() {
        "/b" => page(json!([]), Some("/c")),
        "/c" if count.fetch_add(1, Ordering::Relaxed) == 0 => page(json!([]), Some("/b")),
        "/c" => page(json!([{ "sid": "c" }]), None),
        _ => page(json!([]), Some("/b")),
    })
    .await;
    assert_eq!(read(&client(&fake)).await.unwrap(), [json!({ "sid": "c" })]);
}

#[tokio::test]
async fn after_an_error_the_same_page_is_asked_for_again() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| match seen.uri.as_str() {
        "/b" if count.fetch_add(1, Ordering::Relaxed) == 0 => refusal(401, 20003, "Authenticate"),
        "/b" => page(json!([{ "sid": "b" }]), None),
        _ => page(json!([]), Some("/b")),
    })
    .await;
    let client = client(&fake);
    let mut pages = client.pages(client.calls(&CallFilter::default()).await.unwrap());
    pages.next().await.unwrap();
    assert!(pages.next().await.unwrap_err().is_credentials());
    assert_eq!(pages.next().await.unwrap().unwrap().resources, [json!({ "sid": "b" })]);
}

#[tokio::test]
async fn a_list_that_never_ends_is_an_error() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |_| {
        let next = format!("/{}", count.fetch_add(1, Ordering::Relaxed));
        page(json!([]), Some(&next))
    })
    .await;
    let client = client(&fake);
    let mut pages = client.pages(client.calls(&CallFilter::default()).await.unwrap());
    assert_eq!(pages.most, 10_000);
    pages.most = 3;
    for _ in 0..3 {
        assert!(pages.next().await.unwrap().is_some());
    }
    let error = pages.next().await.unwrap_err();
    assert!(matches!(&error, ClientError::PagesEndless { pages: 3, .. }), "{error}");
    assert_eq!(fake.requests().len(), 3);
}
