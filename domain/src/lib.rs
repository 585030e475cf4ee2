//! The language of callbook: what a phone call is and what may be said about one.
//!
//! Everything here is pure: no clock, no randomness, no input or output. Time comes in with a command.
//!
//! - [`call::Call`] is the aggregate: reports about a call are decided into events, and events are applied.
//! - [`contact::Contact`] and [`conversation::Conversation`] are what people enter about a party and its thread.
//! - [`upcast`] reads what stands in the log in whatever version it was written.
//! - [`phone`] and [`sid`] parse what Twilio writes in its fields, once, at the edge.
//! - [`direction`] says which way a call went and who the customer is, by seed 000's priority list.

pub mod call;
pub mod contact;
pub mod conversation;
pub mod decider;
pub mod direction;
pub mod phone;
pub mod sid;
pub mod upcast;
