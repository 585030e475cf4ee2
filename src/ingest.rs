//! From a webhook to the log: the inbox takes what Twilio says, the worker decides what it means.

pub mod inbox;
pub mod report;
pub mod worker;

pub use inbox::{Delivery, Endpoint, Inbox};
pub use worker::{WorkError, Worker};
