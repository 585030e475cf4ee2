//! From a webhook to the log: the inbox takes what Twilio says, the spool keeps it while the inbox cannot, and the
//! worker decides what it means.

pub mod inbox;
pub mod report;
pub mod spool;
pub mod worker;

pub use inbox::{Delivery, Endpoint, Inbox};
pub use spool::Spool;
pub use worker::{WorkError, Worker};
