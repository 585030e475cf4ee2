//! Live, from a backlog: the projection follows a log that is far ahead of it.

use crate::Sizes;
use crate::child::{self, Subject};
use crate::family::{Parties, Story, Template};
use crate::measure::median;
use crate::server::Server;
use crate::table::{Figure, Table, Target};

/// A log that nothing has been folded of; each round follows a copy of it.
const BACKLOG: &str = "catch_up_backlog";

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let template = Template::new(Story::Full)?;
    let backlog = server.database(BACKLOG).await?;
    let families = sizes.backlog / template.events();
    let parties = Parties { count: 5_000, one_is_busy: false };
    let events = template.load(&backlog.pool, families, parties).await?;
    backlog.pool.close().await;
    let (mut rates, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        let database = server.copy(BACKLOG, "catch_up").await?;
        server.settle().await?;
        let measured = child::measure(Subject::CatchUp, &server.url(&database.name)).await?;
        let folded: i64 = sqlx::query_scalar("select position from read_model_generations")
            .fetch_one(&database.pool)
            .await?;
        anyhow::ensure!(u64::try_from(folded)? == events, "live stopped at {folded} of {events}");
        rates.push(events as f64 / measured.seconds);
        memory.push(measured.memory_mib);
        server.drop(database).await?;
    }
    server.drop(backlog).await?;
    let what = format!("live catch-up, {events} events behind");
    table.alone(&what, Figure::PerSecond(median(&rates)), Target::AtLeast(50_000.0));
    table.alone(format!("{what}: peak memory"), Figure::Mib(median(&memory)), Target::None);
    Ok(())
}
