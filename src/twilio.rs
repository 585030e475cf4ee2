//! What passes between callbook and Twilio, each part in its own module: which requests are Twilio's, how
//! their bodies read, whom a call is sent to, the TwiML that says so, and what Twilio is asked and answers.

pub mod client;
pub mod form;
pub mod resource;
pub mod routing;
pub mod signature;
pub mod timestamp;
pub mod twiml;
