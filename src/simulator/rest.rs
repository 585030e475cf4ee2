//! Twilio's REST API of the simulated account (CONTRACT §4): what webhooks missed can be asked for here, as at
//! Twilio, with pages, filters, late prices and, when a test asks for it, everything that goes wrong.

mod auth;
mod calls;
mod dates;
mod envelope;
mod error;
mod listener;
mod media;
mod messages;
mod numbers;
mod recordings;
mod trouble;

use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::header::DATE;
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::error::ApiError;
use self::listener::{Cuttable, Line};
use super::script::rfc_2822;
use super::world::World;
use crate::twilio::form::Form;

const VERSION: &str = "2010-04-01";

/// A running API. Dropped, it takes no further request.
#[derive(Debug)]
pub struct RestApi {
    /// What stands in place of `https://api.twilio.com`, without a trailing slash.
    pub base_url: String,
    stop: CancellationToken,
}

impl RestApi {
    /// Serves what `world` knows, within the runtime that this is called in.
    pub fn start(world: World, listener: TcpListener) -> io::Result<RestApi> {
        let base_url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let service = router(world).into_make_service_with_connect_info::<Line>();
        let server =
            axum::serve(Cuttable(listener), service).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(error = error.to_string(), "the simulated Twilio's REST API has ended");
            }
        });
        Ok(RestApi { base_url, stop })
    }
}

impl Drop for RestApi {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(world: World) -> Router {
    // Whole paths and no nesting, so that pages can say where they are.
    let of_account = |path: &str| format!("/{VERSION}/Accounts/{{account}}/{path}");
    Router::new()
        .route(&of_account("Calls.json"), get(calls::list).post(calls::create))
        .route(&of_account("Calls/{call}"), get(calls::fetch))
        .route(&of_account("Calls/{call}/Recordings.json"), get(recordings::list_of_call))
        .route(&of_account("Recordings.json"), get(recordings::list))
        .route(&of_account("Recordings/{recording}"), get(recordings::fetch))
        .route(&of_account("Messages.json"), get(messages::list).post(messages::create))
        .route(&of_account("Messages/{message}"), get(messages::fetch))
        .route(&of_account("IncomingPhoneNumbers.json"), get(numbers::list))
        .fallback(async |uri: Uri| ApiError::not_found(uri.path()))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(axum::middleware::from_fn_with_state(world.clone(), trouble::answer))
        .layer(axum::middleware::map_response_with_state(world.clone(), dated))
        .with_state(world)
}

/// The time of this Twilio, which may have a clock of its own.
async fn dated(State(world): State<World>, mut response: Response) -> Response {
    let now = rfc_2822(world.now()).replace("+0000", "GMT");
    if let Ok(now) = HeaderValue::from_str(&now) {
        response.headers_mut().insert(DATE, now);
    }
    response
}

/// `/2010-04-01/Accounts/{AC}/{path}`.
fn resource_uri(world: &World, path: &str) -> String {
    format!("/{VERSION}/Accounts/{}/{path}", world.account().sid)
}

/// A query or a body.
fn parse_form(raw: &[u8]) -> Result<Form, ApiError> {
    Form::parse(raw).map_err(|error| ApiError::invalid(20001, error.to_string()))
}
