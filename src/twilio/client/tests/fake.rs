//! A server that answers as a test says, also by cutting the connection.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub enum Reply {
    Json(u16, Value),
    /// Status, further headers (each ended by a line end) and body.
    Text(u16, &'static str, String),
    /// The connection ends without an answer.
    Cut,
    /// It ends in the middle of the body.
    CutInBody,
    /// Between head and body of an empty object, until as many requests have come.
    OnceThereAre(usize),
    /// Before the head.
    HeadOnceThereAre(usize),
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub uri: String,
    /// Lower case but for the values.
    pub headers: String,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

type Handler = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

pub struct Fake {
    pub url: String,
    state: Arc<State>,
}

struct State {
    handler: Handler,
    seen: Mutex<Vec<Seen>>,
    come: watch::Sender<usize>,
    /// Requests whose answer is not whole, now and at most.
    open: Mutex<(usize, usize)>,
}

impl Fake {
    pub async fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            handler: Box::new(handler),
            seen: Mutex::default(),
            come: watch::Sender::new(0),
            open: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&serving);
                tokio::spawn(async move { state.answer(stream).await });
            }
        });
        Self { url, state }
    }

    /// Answers one after another as given, and the last one for ever.
    pub async fn replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: Vec<Reply> = replies.into_iter().collect();
        replies.reverse();
        let replies = Mutex::new(replies);
        Self::start(move |_| {
            let mut replies = replies.lock().unwrap();
            if replies.len() > 1 { replies.pop().unwrap() } else { replies[0].again() }
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub async fn has_come(&self, count: usize) {
        self.state.come.subscribe().wait_for(|come| *come >= count).await.unwrap();
    }

    pub fn most_at_once(&self) -> usize {
        self.state.open.lock().unwrap().1
    }

    /// Method and URI of each request.
    pub fn requests(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect()
    }
}

impl Reply {
    fn again(&self) -> Self {
        match self {
            Self::Json(status, body) => Self::Json(*status, body.clone()),
            Self::Text(status, headers, body) => Self::Text(*status, headers, body.clone()),
            Self::Cut => Self::Cut,
            Self::CutInBody => Self::CutInBody,
            Self::OnceThereAre(count) => Self::OnceThereAre(*count),
            Self::HeadOnceThereAre(count) => Self::HeadOnceThereAre(*count),
        }
    }
}

impl State {
    async fn answer(&self, mut stream: TcpStream) {
        let Some(seen) = read(&mut stream).await else { return };
        {
            let mut open = self.open.lock().unwrap();
            open.0 += 1;
            open.1 = open.1.max(open.0);
        }
        self.seen.lock().unwrap().push(seen.clone());
        self.come.send_modify(|come| *come += 1);
        match (self.handler)(&seen) {
            Reply::Json(status, body) => {
                self.close_one();
                write(&mut stream, status, "content-type: application/json\r\n", &body.to_string()).await;
            }
            Reply::Text(status, headers, body) => {
                self.close_one();
                write(&mut stream, status, headers, &body).await;
            }
            Reply::Cut => self.close_one(),
            Reply::CutInBody => {
                self.close_one();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"calls\":").await;
            }
            Reply::OnceThereAre(count) => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n")
                    .await;
                self.come.subscribe().wait_for(|come| *come >= count).await.unwrap();
                self.close_one();
                let _ = stream.write_all(b"{}").await;
            }
            Reply::HeadOnceThereAre(count) => {
                self.come.subscribe().wait_for(|come| *come >= count).await.unwrap();
                self.close_one();
                write(&mut stream, 200, "", "{}").await;
            }
        }
    }

    fn close_one(&self) {
        self.open.lock().unwrap().0 -= 1;
    }
}

async fn write(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let (first, headers) = text.split_once("\r\n").unwrap();
    let mut words = first.split(' ');
    let mut seen = Seen {
        method: words.next()?.to_owned(),
        uri: words.next()?.to_owned(),
        headers: headers.to_owned(),
        body: String::new(),
    };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = String::from_utf8(bytes[head + 4..].to_vec()).unwrap();
    Some(seen)
}
