//! The language of callbook: what a phone call is, and what may be said about one. Pure: no clock,
//! no randomness, no input or output.

pub mod phone;
pub mod sid;
