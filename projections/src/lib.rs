//! The read side: reading the log in order, folding it into rows, and the queries of each read model.
//!
//! - [`log`] reads `call_events` by position; the database guarantees that position order is commit order.
//!   [`lint`] finds what stands there and cannot be read, and [`search`] what somebody looks for.
//! - [`generation`] names the tables of one build of the read side and its checkpoint.
//! - [`conversations`] is the fold (legs, families, messages, threads) and [`queries`] what REST asks of it.
//! - [`people`] is what they see of what they have entered.
//! - [`history`] replays the log up to a position: what a thread was, and what each event changed.
//! - [`runner`] keeps the current generation up with the log, by way of a [`projector`], and [`lag`] says how far
//!   it is behind, [`builds`] which builds there are; what cannot be folded is set aside in [`quarantine`].
//! - [`unsettled`] and [`scorecard`] are what reconcile asks: of which calls more is expected, and how well webhooks
//!   tell of calls.
//! - [`stats`] is what calls came to, by hour and day, by line and direction.
//! - [`rebuild`] builds the next generation beside the current one.

pub mod begin;
pub mod builds;
pub mod conversations;
mod copy;
pub mod generation;
pub mod history;
pub mod ids;
pub mod lag;
pub mod lint;
pub mod log;
pub mod people;
pub mod projector;
pub mod quarantine;
pub mod queries;
pub mod rebuild;
pub mod runner;
pub mod scorecard;
pub mod search;
pub mod stats;
pub mod unsettled;

/// An error with its causes, as a log line has it: some formatters print only the outermost.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
