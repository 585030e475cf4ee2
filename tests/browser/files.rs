//! How the page comes to a browser: small, and with a policy that keeps out what others write into it.

use serde_json::Value;

use crate::browser::Browser;
use crate::support::Callbook;
use crate::support::client::http;

/// Compressed, with all that the first page needs.
const FIRST_LOAD_BYTES: u64 = 100_000;

/// Each file that the page has loaded, by its whole address.
async fn loaded(browser: &Browser) -> Vec<(String, u64)> {
    let all = browser
        .script(
            "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
               .map(({ name, encodedBodySize }) => [name, encodedBodySize])",
        )
        .await;
    serde_json::from_value(all).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_load_is_less_than_100_kb() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.says("live ·").await;
    let files = loaded(&browser).await;
    let page =
        files.iter().filter(|(name, _)| name.contains("/ui/") || *name == format!("{}/", callbook.url));
    let (count, bytes) = page.fold((0, 0), |(count, bytes), (_, size)| (count + 1, bytes + size));
    println!("the first load has {count} files and {bytes} bytes");
    assert!(count > 10 && bytes > 10_000, "the page and its files are counted: {files:?}");
    assert!(bytes < FIRST_LOAD_BYTES, "{bytes} bytes: {files:#?}");
    let elsewhere: Vec<_> = files.iter().filter(|(name, _)| !name.starts_with(&callbook.url)).collect();
    assert!(elsewhere.is_empty(), "nothing comes from elsewhere: {elsewhere:?}");
    browser.close().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_and_its_files_carry_their_headers() {
    let callbook = Callbook::start().await;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.says("live ·").await;
    for (name, _) in loaded(&browser).await {
        let answer = http().get(&name).send().await.unwrap();
        let header = |header: &str| answer.headers()[header].to_str().unwrap().to_owned();
        if name.contains("/ui/") {
            assert_eq!(header("cache-control"), "public, max-age=31536000, immutable", "{name}");
        } else if name == format!("{}/", callbook.url) {
            assert_eq!(header("cache-control"), "no-store");
        } else {
            continue;
        }
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{name}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{name}");
    }
    // What is written into the page by somebody else does not run.
    let refused = browser
        .script(
            "const script = document.createElement('script');
             script.textContent = 'window.ran = true';
             document.body.append(script);
             return window.ran ?? null",
        )
        .await;
    assert_eq!(refused, Value::Null);
    browser.close_having_said(&["Content Security Policy"]).await;
    callbook.stop().await;
}
