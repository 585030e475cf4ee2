//! What serves the page, without a browser: who gets which file, for how long, and what it may do. What the page does is
//! tested in a browser (`tests/browser`).

use reqwest::Response;
use reqwest::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::support::Callbook;
use crate::support::client::http;

async fn get(callbook: &Callbook, path: &str) -> Response {
    http().get(format!("{}{path}", callbook.url)).send().await.unwrap()
}

fn header(response: &Response, name: impl reqwest::header::AsHeaderName) -> &str {
    response.headers()[name].to_str().unwrap()
}

/// The addresses of files in the document.
fn files(document: &str) -> Vec<String> {
    let quoted = document.split('"').filter(|text| text.starts_with("/ui/"));
    quoted.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_is_one_document_at_all_of_its_addresses() {
    let callbook = Callbook::start().await;
    for path in
        ["/", "/inbox", "/inbox/1", "/calls", "/calls/CA1", "/stats", "/ops", "/ops/events", "/sign-in"]
    {
        let response = get(&callbook, path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(header(&response, CACHE_CONTROL), "no-store");
        let policy = header(&response, CONTENT_SECURITY_POLICY).to_owned();
        assert!(!policy.contains("unsafe"), "{policy}");
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        assert!(response.text().await.unwrap().contains(&format!("nonce=\"{nonce}\"")));
    }
    let nowhere = async |accept: &str| {
        let asked = http().get(format!("{}/elsewhere", callbook.url)).header("accept", accept);
        let response = asked.send().await.unwrap();
        (response.status().as_u16(), header(&response, CONTENT_TYPE).to_owned())
    };
    let page = "text/html; charset=utf-8".to_owned();
    assert_eq!(nowhere("text/html,application/xhtml+xml,*/*;q=0.8").await, (404, page));
    assert_eq!(nowhere("*/*").await, (404, "application/problem+json".to_owned()));
    callbook.stop().await;
}

#[tokio::test]
async fn each_file_that_the_page_names_is_there_for_good_under_this_version_alone() {
    let callbook = Callbook::start().await;
    let files = files(&get(&callbook, "/").await.text().await.unwrap());
    assert!(files.len() > 10, "{files:?}");
    for path in &files {
        let response = get(&callbook, path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, CACHE_CONTROL), "public, max-age=31536000, immutable");
        let kind = header(&response, CONTENT_TYPE);
        let expected = match path.rsplit('.').next().unwrap() {
            "js" => "text/javascript",
            "mjs" => "application/javascript",
            "css" => "text/css",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!(kind, expected, "{path}");
    }
    let [_, _, version, ..] = files[0].split('/').collect::<Vec<_>>()[..] else { panic!("{files:?}") };
    for path in [
        "/ui/0000000000000000/app.js".to_owned(),
        format!("/ui/{version}/nowhere.js"),
        format!("/ui/{version}/index.html"),
        format!("/ui/{version}/jsconfig.json"),
        format!("/ui/{version}/vendor/refresh.mjs"),
        format!("/ui/{version}/..%2f..%2fui.rs"),
    ] {
        assert_eq!(get(&callbook, &path).await.status(), 404, "{path}");
    }
    callbook.stop().await;
}

#[tokio::test]
async fn files_are_compressed_for_whoever_takes_that() {
    let callbook = Callbook::start().await;
    let files = files(&get(&callbook, "/").await.text().await.unwrap());
    let script = files.iter().find(|path| path.ends_with("app.js")).unwrap();
    let plain = get(&callbook, script).await.bytes().await.unwrap();
    for coding in ["br", "gzip"] {
        let url = format!("{}{script}", callbook.url);
        let response = http().get(url).header("accept-encoding", coding).send().await.unwrap();
        assert_eq!(header(&response, "content-encoding"), coding);
        let compressed = response.bytes().await.unwrap();
        assert!(compressed.len() * 2 < plain.len(), "{} of {} bytes", compressed.len(), plain.len());
    }
    callbook.stop().await;
}

#[tokio::test]
async fn the_page_is_served_before_the_book_is_open() {
    let stopped = Callbook::start().await.stop().await;
    let (door, writer) = stopped.open_door().await;
    let url = format!("http://{}", door.address);
    let page = http().get(format!("{url}/inbox")).send().await.unwrap();
    assert_eq!((page.status().as_u16(), header(&page, CONTENT_TYPE)), (200, "text/html; charset=utf-8"));
    for path in files(&page.text().await.unwrap()) {
        assert_eq!(http().get(format!("{url}{path}")).send().await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(http().get(format!("{url}/api/session")).send().await.unwrap().status(), 503);
    stopped.behind((door, writer)).await.stop().await;
}
