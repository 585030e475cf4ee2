//! The simulated account: a local Twilio that places calls and sends the signed webhooks a real one would.
//!
//! It is the demo of a callbook without credentials, the fixture of the tests and the load generator, so it is
//! honest in two ways. What is sent has the shape and the timing of real traffic, repeats, delays and swapped
//! neighbours included. And each family of calls comes with what callbook must show in the end
//! ([`ExpectedCall`]), worked out from the story of the call rather than from callbook's own code.
//!
//! The story is pure ([`Script::generate`] has no clock and no I/O); the [`Driver`] only waits, signs and sends.

mod account;
mod cast;
mod command;
mod disturbance;
mod driver;
mod report;
mod rest;
mod script;
mod service;
mod traffic;
mod twiml;
mod world;

pub use account::{Account, AccountError, FILE_NAME as ACCOUNT_FILE};
pub use command::{CommandError, SimulateArgs, command};
pub use disturbance::{Delivery, Disturbance};
pub use driver::{Driver, DriverError, Options};
pub use report::{Report, Sent};
pub use rest::RestApi;
pub use script::{Endpoint, ExpectedCall, LegInFlight, Request, Scenario, Script, Status};
pub use service::{Service, ServiceError};
pub use traffic::Traffic;
pub use world::{ApiTraffic, Faults, JournalError, Kind, TrueRecording, Truth, World};
