//! What passes between callbook and Twilio, each part in its own module and none of them knowing a call:
//! which requests are Twilio's, how their bodies read, and what callbook answers.

pub mod form;
pub mod signature;
pub mod twiml;
