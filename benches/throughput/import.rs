//! History from Twilio's REST API to projected rows, by `callbook reconcile`'s own job, in a process of its own.

use callbook::clock::Clock;
use callbook::simulator::{Account, RestApi, Script, World};
use secrecy::SecretString;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;

use crate::Sizes;
use crate::child::{self, Subject};
use crate::server::{ACCOUNT_SID, AUTH_TOKEN, OURS, SIP_DOMAIN, Server};
use crate::table::{Figure, Table, Target, thousands};

/// How far back it is asked for.
pub const HISTORY: Duration = Duration::days(30);
/// A day's calls; more calls are more days of them.
const A_DAY: u64 = 400;
/// Requests under way at the same time.
pub const AT_ONCE: usize = 4;

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let mut memory = Vec::new();
    for calls in [sizes.imported / 10, sizes.imported] {
        let world = world(calls);
        let truth = world.truth().len();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let twilio = RestApi::start(world.clone(), listener)?;
        let database = server.database("import").await?;
        server.settle().await?;
        let measured =
            child::measure_asking(Subject::Import, &server.url(&database.name), &twilio.base_url).await?;
        let known: i64 =
            sqlx::query_scalar("select count(*) from call_events where event_type = 'call.created'")
                .fetch_one(&database.pool)
                .await?;
        anyhow::ensure!(usize::try_from(known)? == truth, "{known} of {truth} calls were imported");
        let most = world.traffic().most_at_once;
        anyhow::ensure!(most <= AT_ONCE, "{most} requests were under way at once");
        let count = thousands(truth as f64);
        let what = format!("import of {count} calls over REST");
        let target =
            if calls == sizes.imported { Target::AtMost(Figure::Seconds(30.0)) } else { Target::None };
        table.alone(format!("{what}, to projected rows"), Figure::Seconds(measured.seconds), target);
        memory.push((what, Figure::Mib(measured.memory_mib)));
        server.drop(database).await?;
    }
    if let [(small, few), (large, many)] = &memory[..] {
        table.beside(
            format!("{large}: peak memory of the process"),
            *many,
            format!("the same of {small}"),
            *few,
            Target::AtMostTimes(1.2),
        );
    }
    Ok(())
}

/// As many legs, evenly over days, all ended and priced.
fn world(calls: u64) -> World {
    let account = Account {
        sid: ACCOUNT_SID.to_owned(),
        auth_token: SecretString::from(AUTH_TOKEN),
        owned_numbers: vec![OURS.to_owned()],
        sip_user: "dispatcher".to_owned(),
        sip_domain: SIP_DOMAIN.to_owned(),
    };
    let world = World::new(account.clone(), Clock::System);
    let span = Duration::DAY * (calls as f64 / A_DAY as f64);
    let begun = OffsetDateTime::now_utc() - span;
    // A family has two legs but for one in twenty.
    let families = calls * 20 / 39 + 1;
    for index in 0..families {
        let at = begun + (span - Duration::HOUR) * (index as f64 / families as f64);
        world.place(&Script::generate(1, index, &account, at), at, 1.0);
    }
    world
}
