//! A made-up Twilio that has media, and nothing else.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::client::http;
use super::{ACCOUNT_SID, AUTH_TOKEN};

/// Answers as it is told.
#[derive(Clone)]
pub struct Media {
    pub url: String,
    state: Arc<MediaState>,
}

struct MediaState {
    answer: Mutex<Answer>,
    /// Each request: its path, and the range that it asked for.
    asked: Mutex<Vec<(String, Option<String>)>>,
    /// Whether what is held back may come.
    released: watch::Sender<bool>,
}

#[derive(Clone)]
pub enum Answer {
    Audio(Bytes),
    /// The first bytes, and the rest once it is released.
    HeldBack(Bytes, usize),
    /// The first bytes of more, and once it is released the connection is cut.
    Cut(Bytes, usize),
    Refused(StatusCode),
    Html,
}

impl Media {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let released = watch::Sender::new(false);
        let state = MediaState { answer: Mutex::new(answer), asked: Mutex::default(), released };
        let state = Arc::new(state);
        let routes = Router::new().fallback(any(answer_as_told)).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, state }
    }

    pub fn answer(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    pub fn asked(&self) -> Vec<(String, Option<String>)> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How often a recording was asked for.
    pub fn times(&self) -> usize {
        self.asked().len()
    }

    pub fn release(&self) {
        self.state.released.send_replace(true);
    }
}

async fn answer_as_told(State(state): State<Arc<MediaState>>, request: Request) -> Response {
    if !request.uri().path().ends_with(".wav") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let range = request.headers().get(header::RANGE).map(|range| range.to_str().unwrap().to_owned());
    state.asked.lock().unwrap().push((request.uri().path().to_owned(), range.clone()));
    let signed_in = http().get("http://x").basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).build().unwrap();
    if request.headers().get(header::AUTHORIZATION) != signed_in.headers().get(header::AUTHORIZATION) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let answer = state.answer.lock().unwrap().clone();
    let (status, kind, length, body) = match answer {
        Answer::Refused(status) => return status.into_response(),
        Answer::Html => {
            return ([(header::CONTENT_TYPE, "text/html")], "<html>Log in</html>").into_response();
        }
        Answer::Audio(audio) => match range.as_deref() {
            None => (200, None, audio.len(), Body::from(audio)),
            // The one range that is asked for past the disk.
            Some("bytes=2-4") => {
                (206, Some(format!("bytes 2-4/{}", audio.len())), 3, Body::from(audio.slice(2..5)))
            }
            Some(range) => panic!("{range} is asked for"),
        },
        Answer::HeldBack(audio, first) => {
            let length = audio.len();
            let mut released = state.released.subscribe();
            let body = async_stream::stream! {
                yield Ok::<_, std::io::Error>(audio.slice(..first));
                released.wait_for(|released| *released).await.unwrap();
                yield Ok(audio.slice(first..));
            };
            (200, None, length, Body::from_stream(body))
        }
        Answer::Cut(first, length) => {
            let mut released = state.released.subscribe();
            let body = async_stream::stream! {
                yield Ok(first);
                released.wait_for(|released| *released).await.unwrap();
                yield Err(std::io::Error::other("cut"));
            };
            (200, None, length, Body::from_stream(body))
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "audio/x-wav")
        .header(header::CONTENT_LENGTH, length);
    if let Some(range) = kind {
        response = response.header(header::CONTENT_RANGE, range);
    }
    response.body(body).unwrap()
}
