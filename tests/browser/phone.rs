//! Calls as Twilio tells of them, now: somebody calls, it rings, it is answered or not, it ends.

use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

use crate::support::client::{Pairs, dial_action, incoming, lasting, status};
use crate::support::{Callbook, DISPATCHER, OURS, call_sid};

/// The customer of the tests, as people read their number.
pub const SHOWN: &str = "+1 (508) 514-0320";
/// Somebody else, and how they are shown.
pub const OTHER: &str = "+15085140321";
pub const OTHER_SHOWN: &str = "+1 (508) 514-0321";

/// A call of somebody to us, which the dispatcher is dialled for.
pub struct Call<'a> {
    callbook: &'a Callbook,
    from: String,
    root: String,
    child: String,
    at: OffsetDateTime,
}

impl<'a> Call<'a> {
    /// Somebody calls now. `n` is a number of the test's.
    pub async fn begins(callbook: &'a Callbook, n: u32, from: &str) -> Self {
        Self::began(callbook, n, from, OffsetDateTime::now_utc()).await
    }

    pub async fn began(callbook: &'a Callbook, n: u32, from: &str, at: OffsetDateTime) -> Self {
        let (root, child) = (call_sid(2 * n), call_sid(2 * n + 1));
        let call = Self { callbook, from: from.to_owned(), root, child, at };
        call.tell("voice-inbound", &incoming(&call.root, from, OURS)).await;
        call.tell("voice-status", &status(&call.root, None, from, OURS, "ringing", 0, &call.time())).await;
        call
    }

    pub fn sid(&self) -> &str {
        &self.root
    }

    /// Gives the position of the log from which on it is so, as all that follow do.
    pub async fn rings(&self) -> i64 {
        self.leg("initiated", 0).await;
        self.leg("ringing", 1).await
    }

    pub async fn is_answered(&self) -> i64 {
        self.tell(
            "voice-status",
            &status(&self.root, None, &self.from, OURS, "in-progress", 1, &self.time()),
        )
        .await;
        self.leg("in-progress", 2).await
    }

    /// After somebody talked for so many seconds.
    pub async fn ends(&self, talk: u32) -> i64 {
        self.came_to("completed", talk).await
    }

    pub async fn is_missed(&self) -> i64 {
        self.came_to("no-answer", 0).await
    }

    async fn came_to(&self, came_to: &str, talk: u32) -> i64 {
        let (root, child, from) = (&self.root, &self.child, &self.from);
        let ended = status(child, Some(root), from, DISPATCHER, came_to, 3, &self.time());
        self.tell("voice-status", &lasting(ended, talk)).await;
        self.tell("dial-action", &dial_action(root, child, from, OURS, came_to, talk)).await;
        let ended = status(root, None, from, OURS, "completed", 4, &self.time());
        self.tell("voice-status", &lasting(ended, talk + 5)).await;
        self.callbook.settled().await
    }

    async fn leg(&self, is: &str, sequence: u32) -> i64 {
        let leg = status(&self.child, Some(&self.root), &self.from, DISPATCHER, is, sequence, &self.time());
        self.tell("voice-status", &leg).await;
        self.callbook.settled().await
    }

    async fn tell(&self, endpoint: &str, params: &Pairs) {
        self.callbook.twilio().send(endpoint, params).await;
    }

    fn time(&self) -> String {
        self.at.format(&Rfc2822).unwrap()
    }
}

/// A call that nobody answered, from its beginning to its end. Of two, that of the higher number was later.
pub async fn missed(callbook: &Callbook, n: u32, from: &str) -> i64 {
    let call = Call::began(callbook, n, from, in_turn(n)).await;
    call.rings().await;
    call.is_missed().await
}

/// A call that was answered, likewise.
pub async fn answered(callbook: &Callbook, n: u32, from: &str, talk: u32) -> i64 {
    let call = Call::began(callbook, n, from, in_turn(n)).await;
    call.rings().await;
    call.is_answered().await;
    call.ends(talk).await
}

/// Twilio tells of whole seconds, in which tests may have several calls.
fn in_turn(n: u32) -> OffsetDateTime {
    OffsetDateTime::now_utc() - Duration::hours(1) + Duration::minutes(n.into())
}
