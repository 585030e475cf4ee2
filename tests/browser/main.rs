//! The page in a real Chromium, on the real application: what somebody who looks at it sees, finds and does.
//!
//! Each test has a callbook with a database of its own, and a browser with a profile of its own. Elements are found
//! as a screen reader finds them, by role and name. Nothing waits for time: `<body data-position>` says up to where
//! in the log the page has come, and everything else is waited for until it is there.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "../it"]
#[expect(dead_code, unused_imports, reason = "what the other tests need besides")]
mod it {
    pub mod support;
}
use it::support;

mod access;
mod board;
mod browser;
mod calls;
mod files;
mod frames;
mod keys;
mod looks;
mod operations;
mod phone;
mod pictures;
mod proxy;
mod recordings;
mod threads;
mod town;
