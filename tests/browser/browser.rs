//! A browser, and what somebody does and finds in it.

mod driver;

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::error::{WebDriverError, WebDriverResult};
use thirtyfour::{Key, TypingData, WebDriver, WebElement, WindowHandle};
use tokio::sync::{Semaphore, SemaphorePermit};

use Seen::{Like, Named};
use driver::Process;

/// As many as a small machine has room for beside what they look at.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Nothing is timed by this: it turns a test that would hang into one that says what it waits for.
const FOREVER: Duration = Duration::from_secs(60);

/// Answers when the document has changed, and after a while all the same: what is typed, and what has the focus, are
/// no changes of it.
const CHANGED: &str = "
    const done = arguments[0];
    const over = () => { watching.disconnect(); clearTimeout(late); done(); };
    const watching = new MutationObserver(over);
    watching.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    const late = setTimeout(over, 100);";

/// Answers when what is shown has come to a position of the log.
const REACHED: &str = "
    const [wanted, done] = arguments;
    const look = () => {
      if (Number(document.body.dataset.position || -1) < wanted) return;
      watching.disconnect();
      done();
    };
    const watching = new MutationObserver(look);
    watching.observe(document.body, { attributes: true });
    look();";

// In the order in which they go: no browser uses a profile that is not there.
pub struct Browser {
    process: Process,
    pub driver: WebDriver,
    url: String,
    _place: SemaphorePermit<'static>,
    _profile: TempDir,
}

/// What is looked for: a role and a name, or a part of a name.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    Named(&'a str, &'a str),
    Like(&'a str, &'a str),
}

impl Seen<'_> {
    pub fn role(&self) -> &str {
        let (Named(role, _) | Like(role, _)) = self;
        role
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Named(_, wanted) => name == *wanted,
            Like(_, part) => name.contains(part),
        }
    }
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Named(role, name) => write!(out, "{role} {name:?}"),
            Like(role, part) => write!(out, "{role} with {part:?} in its name"),
        }
    }
}

impl Browser {
    /// At a page of the callbook that is at this address, for somebody who has never been there.
    pub async fn open(url: &str, path: &str) -> Self {
        let place = PLACES.acquire().await.unwrap();
        let profile = TempDir::new().unwrap();
        let (process, at) = Process::start().await;
        let driver = driver::session(&at, profile.path()).await;
        driver.set_script_timeout(FOREVER).await.unwrap();
        let browser = Self { process, driver, url: url.to_owned(), _place: place, _profile: profile };
        browser.resize(1440, 900).await;
        browser.go(path).await;
        browser
    }

    /// Loads a page of this callbook.
    pub async fn go(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.url)).await.unwrap();
    }

    /// What is in the address behind the host.
    pub async fn address(&self) -> String {
        let url = self.driver.current_url().await.unwrap();
        url.as_str().strip_prefix(&self.url).unwrap().to_owned()
    }

    /// Ends, and insists that the browser had nothing to say on its console.
    pub async fn close(self) {
        self.close_having_said(&[]).await;
    }

    /// Ends, and insists that the console has nothing but lines with these words.
    pub async fn close_having_said(self, expected: &[&str]) {
        let said = self.driver.browser_log().await.unwrap();
        let said = said.into_iter().map(|line| format!("{}: {}", line.level, line.message));
        let odd: Vec<String> = said.filter(|line| !expected.iter().any(|part| line.contains(part))).collect();
        assert!(odd.is_empty(), "on the console: {odd:#?}");
        self.leave().await;
    }

    /// Ends, whatever is on the console.
    pub async fn leave(self) {
        let Self { process, driver, .. } = self;
        driver.quit().await.unwrap();
        drop(process);
    }

    /// Waits until the page shows the log up to there.
    pub async fn at_position(&self, position: i64) {
        let begun = Instant::now();
        // Whoever waits while another page is being loaded is told that what they waited in is gone.
        while let Err(error) = self.driver.execute_async(REACHED, vec![json!(position)]).await {
            let at = self.attribute("position").await;
            assert!(
                begun.elapsed() < FOREVER,
                "{position} is not reached ({error}): {at}\n{}",
                self.text().await
            );
        }
    }

    async fn attribute(&self, name: &str) -> Value {
        let script = "return document.body.dataset[arguments[0]] ?? null";
        let found = self.driver.execute(script, vec![json!(name)]).await;
        found.map(|found| found.json().clone()).unwrap_or_default()
    }

    /// Waits until there is one such element.
    pub async fn find(&self, seen: Seen<'_>) -> WebElement {
        self.until(&format!("there is one {seen}"), async || match &*self.all(seen).await? {
            [one] => self.element(*one).await.map(Some),
            _ => Ok(None),
        })
        .await
    }

    pub async fn by_role(&self, role: &str, name: &str) -> WebElement {
        self.find(Named(role, name)).await
    }

    /// Waits until there are as many.
    pub async fn are(&self, count: usize, seen: Seen<'_>) {
        let what = format!("there are {count} of {seen}");
        self.until(&what, async || Ok((self.all(seen).await?.len() == count).then_some(()))).await;
    }

    /// Waits until there is none.
    pub async fn is_gone(&self, seen: Seen<'_>) {
        self.are(0, seen).await;
    }

    /// How many there are now.
    pub async fn count(&self, seen: Seen<'_>) -> usize {
        self.all(seen).await.unwrap().len()
    }

    pub async fn click(&self, seen: Seen<'_>) {
        self.until(&format!("{seen} can be clicked"), async || {
            let [one] = self.all(seen).await?[..] else { return Ok(None) };
            self.element(one).await?.click().await.map(Some)
        })
        .await;
    }

    /// Writes into a field what is to be in it.
    pub async fn fill(&self, seen: Seen<'_>, text: &str) {
        let field = self.find(seen).await;
        field.click().await.unwrap();
        field.send_keys(Key::Control + "a").await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Chooses in a list of choices.
    pub async fn choose(&self, list: &str, option: &str) {
        // A list that is shown as a menu has what the browser lets one type.
        let list = self.by_role("combobox", list).await;
        list.send_keys(option).await.unwrap();
    }

    /// As somebody who does not look where the focus is.
    pub async fn press(&self, keys: impl Into<TypingData>) {
        self.driver.action_chain().send_keys(keys).perform().await.unwrap();
    }

    /// What has the focus: its role and its name.
    async fn focused(&self) -> (String, String) {
        let object = self.evaluate("document.activeElement").await.unwrap();
        let tree = self
            .cdp("Accessibility.getPartialAXTree", json!({ "objectId": object, "fetchRelatives": false }));
        let node = tree.await.unwrap()["nodes"][0].clone();
        let text = |field: &str| node[field]["value"].as_str().unwrap_or_default().to_owned();
        (text("role"), text("name"))
    }

    /// Waits until the focus is on such an element, whose name has this part.
    pub async fn focus_is_on(&self, role: &str, part: &str) {
        let what = format!("the focus is on {role} {part:?}");
        self.until(&what, async || {
            let (found, name) = self.focused().await;
            Ok((found == role && name.contains(part)).then_some(()))
        })
        .await;
    }

    /// Waits until the page says something to whoever reads it.
    pub async fn says(&self, text: &str) {
        let what = format!("the page says {text:?}");
        self.until(&what, async || Ok(self.text().await.contains(text).then_some(()))).await;
    }

    /// Waits until nothing is being loaded any more.
    pub async fn has_loaded(&self) {
        self.until("nothing is being loaded", async || {
            Ok((!self.text().await.contains("Loading")).then_some(()))
        })
        .await;
    }

    /// All that can be read.
    pub async fn text(&self) -> String {
        match self.driver.execute("return document.body.innerText", vec![]).await {
            Ok(text) => text.json().as_str().unwrap_or_default().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", size).await.unwrap();
    }

    /// `light` or `dark`, as the machine of whoever looks has it.
    pub async fn prefers(&self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            // What moves is at its end.
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await.unwrap();
    }

    /// Waits until what is there has been drawn.
    pub async fn drawn(&self) {
        let script =
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))";
        self.script_with(script, vec![]).await;
    }

    /// Another tab of the same browser, which is looked at from now on.
    pub async fn new_tab(&self, path: &str) -> WindowHandle {
        let tab = self.driver.new_tab().await.unwrap();
        self.look_at(&tab).await;
        self.resize(1440, 900).await;
        self.go(path).await;
        tab
    }

    pub async fn tab(&self) -> WindowHandle {
        self.driver.window().await.unwrap()
    }

    pub async fn look_at(&self, tab: &WindowHandle) {
        self.driver.switch_to_window(tab.clone()).await.unwrap();
    }

    /// What a script gives that is written as the inside of a function.
    pub async fn script(&self, script: &str) -> Value {
        self.driver.execute(script, vec![]).await.unwrap().json().clone()
    }

    /// What a script gives once it calls its last argument.
    pub async fn script_with(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.driver.execute_async(script, arguments).await.unwrap().json().clone()
    }

    /// Asks again after each change of the document until there is an answer.
    pub async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> WebDriverResult<Option<T>>) -> T {
        let begun = Instant::now();
        loop {
            // An element may go between being found and being asked, and is then looked for again.
            let said = match ask().await {
                Ok(Some(answer)) => return answer,
                Ok(None) => String::new(),
                Err(error) => format!(" ({})", first_line(&error)),
            };
            if begun.elapsed() > FOREVER {
                let log = self.driver.browser_log().await.unwrap_or_default();
                panic!("not so after {FOREVER:?}: {what}{said}\n{}\nconsole: {log:?}", self.text().await);
            }
            // There may be no document for a while.
            let _ = self.driver.execute_async(CHANGED, vec![]).await;
        }
    }

    /// The nodes of all such elements, as the browser tells assistive technology of them.
    async fn all(&self, seen: Seen<'_>) -> WebDriverResult<Vec<u64>> {
        let document = self.evaluate("document").await?;
        let wanted = json!({ "objectId": document, "role": seen.role() });
        let tree = self.cdp("Accessibility.queryAXTree", wanted).await?;
        let nodes = tree["nodes"].as_array().into_iter().flatten();
        let found = nodes.filter(|node| {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            node["ignored"] == false && seen.is(&name.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        Ok(found.filter_map(|node| node["backendDOMNodeId"].as_u64()).collect())
    }

    /// A node as WebDriver knows it, which the two protocols have no common word for.
    async fn element(&self, node: u64) -> WebDriverResult<WebElement> {
        let resolved = self.cdp("DOM.resolveNode", json!({ "backendNodeId": node })).await?;
        let keep = json!({
            "objectId": resolved["object"]["objectId"],
            "functionDeclaration": "function() { window.foundByTest = this; }",
        });
        self.cdp("Runtime.callFunctionOn", keep).await?;
        let take = "const found = window.foundByTest; delete window.foundByTest; return found;";
        self.driver.execute(take, vec![]).await?.element()
    }

    async fn evaluate(&self, expression: &str) -> WebDriverResult<Value> {
        let found = self.cdp("Runtime.evaluate", json!({ "expression": expression })).await?;
        Ok(found["result"]["objectId"].clone())
    }

    pub async fn cdp(&self, method: &str, parameters: Value) -> WebDriverResult<Value> {
        self.driver.cdp().send_raw(method, parameters).await
    }
}

fn first_line(error: &WebDriverError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(200).collect()
}
