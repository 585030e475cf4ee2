//! The README's pictures of the page. `.ci/screenshots` takes them.

use crate::browser::Browser;
use crate::browser::Seen::{Like, Named};
use crate::looks::root;
use crate::town::Town;

/// Whoever clones the repository fetches all that they ever were.
const MOST_BYTES: usize = 250_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes into .readme: .ci/screenshots"]
async fn the_readme_has_a_picture_of_the_board_a_thread_and_the_statistics() {
    let town = Town::with(400, 7, 8).await;
    let Town { callbook, thread, name, call, .. } = &town;
    let browser = Browser::open(&callbook.url, "/").await;
    browser.prefers("light").await;
    let folder = root().join(".readme");
    std::fs::create_dir_all(&folder).unwrap();
    for (picture, path, heading) in [
        ("board", "/", Named("heading", "In progress 8")),
        ("thread", &format!("/inbox/{thread}?call={call}"), Like("heading", name)),
        ("statistics", "/stats", Named("heading", "Statistics")),
    ] {
        browser.go(path).await;
        browser.find(heading).await;
        browser.at_position(town.head).await;
        browser.has_loaded().await;
        // The call that is named is in the middle, and a picture begins at the top.
        browser.script("scrollTo(0, 0)").await;
        browser.drawn().await;
        let png = browser.driver.screenshot_as_png().await.unwrap();
        assert!(png.len() < MOST_BYTES, "{picture} has {} bytes", png.len());
        std::fs::write(folder.join(format!("{picture}.png")), png).unwrap();
    }
    browser.close().await;
    town.callbook.stop().await;
}
