//! What passes between callbook and Twilio, each part in its own module: which requests are Twilio's, how
//! their bodies read, whom a call is sent to, and the TwiML that says so.

pub mod form;
pub mod routing;
pub mod signature;
pub mod twiml;
