//! Pages of REST by cursor at a million messages: the first, one in the middle, the last.
//!
//! The log has two events a leg, and the read model is filled from it by a rebuild. Every tenth call is of one
//! party, whose thread is the one that is paged through.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;

use crate::Sizes;
use crate::family::{Parties, Story, Template};
use crate::http::{self, Connection};
use crate::measure::{median, quantile_ms};
use crate::server::Server;
use crate::table::{Figure, Table, Target, thousands};

const LIMIT: usize = 50;
const LEGS: u64 = 2;

/// A list, and the paths of three of its pages.
struct List {
    name: String,
    pages: [(&'static str, String); 3],
}

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let template = Template::new(Story::Short)?;
    let database = server.database("pages").await?;
    let parties = Parties { count: 5_000, one_is_busy: true };
    template.load(&database.pool, sizes.messages / LEGS, parties).await?;
    database.fill().await?;
    server.settle().await?;
    let messages: i64 = sqlx::query_scalar("select count(*) from messages").fetch_one(&database.pool).await?;
    anyhow::ensure!(u64::try_from(messages)? == sizes.messages, "there are {messages} messages");

    let app = database.app().await?;
    let address = app.address;
    let (rounds, reads) = (sizes.rounds, sizes.page_reads);
    let measured = http::on_a_thread(async move {
        let mut connection = Connection::open(address).await?;
        let lists = lists(&mut connection, address).await?;
        let mut p99 = lists.iter().map(|_| [const { Vec::new() }; 3]).collect::<Vec<_>>();
        for _ in 0..rounds {
            for (list, p99) in lists.iter().zip(&mut p99) {
                for ((_, path), p99) in list.pages.iter().zip(p99) {
                    let request = http::get(address, path);
                    let mut latencies = Vec::with_capacity(reads);
                    for _ in 0..reads {
                        let began = Instant::now();
                        connection.exchange(&request).await?;
                        latencies.push(began.elapsed());
                    }
                    p99.push(quantile_ms(&latencies, 0.99));
                }
            }
        }
        Ok(lists.into_iter().zip(p99).collect::<Vec<_>>())
    })
    .await?;
    for (list, p99) in measured {
        for ((page, _), p99) in list.pages.iter().zip(p99) {
            table.alone(
                format!("{}, {page} page, p99, {} messages", list.name, thousands(messages as f64)),
                Figure::Ms(median(&p99)),
                Target::AtMost(Figure::Ms(10.0)),
            );
        }
    }
    app.stop().await;
    server.drop(database).await
}

async fn lists(connection: &mut Connection, address: SocketAddr) -> anyhow::Result<Vec<List>> {
    let all = pages(connection, address, "/api/conversations", "conversations").await?;
    // The busy party's thread is the one with the most calls; it has the last call too.
    let answer = json(connection, address, "/api/conversations?limit=200").await?;
    let threads = answer["conversations"].as_array().context("a list of conversations")?;
    let busiest = threads.iter().max_by_key(|thread| thread["metadata"]["total_calls"].as_i64());
    let id = busiest.and_then(|thread| thread["id"].as_str()).context("a conversation has an id")?;
    let thread = pages(connection, address, &format!("/api/conversations/{id}/messages"), "messages").await?;
    Ok(vec![all, thread])
}

/// Finds the cursors of the middle and of the last page by offset.
async fn pages(
    connection: &mut Connection,
    address: SocketAddr,
    path: &str,
    name: &'static str,
) -> anyhow::Result<List> {
    let first = format!("{path}?limit={LIMIT}");
    let total = json(connection, address, &first).await?["total"].as_u64().context("a list has a total")?;
    let limit = LIMIT as u64;
    anyhow::ensure!(total > 3 * limit, "{path} has only {total} rows");
    let mut at = Vec::new();
    for offset in [total / 2, total - limit] {
        // The cursor after the row before that page.
        let before = json(connection, address, &format!("{path}?limit=1&offset={}", offset - 1)).await?;
        let cursor = before["next_cursor"].as_str().context("there is a next page")?;
        let page = format!("{first}&cursor={cursor}");
        let rows = json(connection, address, &page).await?[name].as_array().map_or(0, Vec::len);
        anyhow::ensure!(rows == LIMIT, "a page of {path} has {rows} rows");
        at.push(page);
    }
    let [middle, last] = <[String; 2]>::try_from(at).ok().context("two pages")?;
    let what = format!("REST: {name} by cursor, {} in the list", thousands(total as f64));
    Ok(List { name: what, pages: [("first", first), ("middle", middle), ("last", last)] })
}

async fn json(connection: &mut Connection, address: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let body = connection.exchange(&http::get(address, path)).await?;
    Ok(serde_json::from_slice(body)?)
}
