//! Which numbers are ours, where nobody configured them: those that the account has at Twilio (contract section 4.6).

use std::collections::BTreeSet;
use std::time::Duration;

use domain::phone::PhoneNumber;
use projections::chain;
use serde_json::json;
use sqlx::PgPool;
use sqlx::types::Json;
use tokio::sync::watch;

use super::list::List;
use super::state::{self, OWNED_NUMBERS};
use super::{ReconcileError, Reconciler};
use crate::twilio::resource::IncomingNumber;
use crate::twilio::routing::Routing;

/// How often they are looked up: a number may be bought.
const EVERY: Duration = Duration::from_secs(3_600);
/// How long after a failure.
const AGAIN: Duration = Duration::from_secs(15);

impl Reconciler {
    /// Keeps the lines of `routing` as Twilio has them. Says so in `known` when there is something to judge by.
    pub async fn learn_numbers(self, routing: watch::Sender<Routing>, known: watch::Sender<bool>) {
        let mut said = String::new();
        loop {
            let again = match self.look_up_numbers().await {
                Ok(numbers) => {
                    said.clear();
                    if numbers.is_empty() {
                        tracing::warn!(
                            "OWNED_PHONE_NUMBERS is not set, and the account has no numbers: nobody can be called"
                        );
                    }
                    take(&routing, numbers);
                    known.send_replace(true);
                    EVERY
                }
                Err(error) => {
                    let said_now = chain(&error);
                    if said_now != said {
                        tracing::error!(
                            error = said_now,
                            "OWNED_PHONE_NUMBERS is not set, and Twilio does not tell them"
                        );
                        said = said_now;
                    }
                    if let Err(lost) =
                        state::failed(&self.pool, OWNED_NUMBERS, &error, self.clock.now()).await
                    {
                        tracing::warn!(
                            error = chain(&lost),
                            "why the numbers are not known could not be kept"
                        );
                    }
                    AGAIN
                }
            };
            tokio::time::sleep(again).await;
        }
    }

    /// The same once, for somebody who waits for it. Those of the last time do where Twilio does not tell them.
    pub async fn learn_numbers_once(&self, routing: &watch::Sender<Routing>) -> Result<(), ReconcileError> {
        let numbers = match self.look_up_numbers().await {
            Ok(numbers) => numbers,
            Err(error) => {
                let known = remembered(&self.pool).await?;
                if known.is_empty() {
                    return Err(error);
                }
                tracing::warn!(
                    error = chain(&error),
                    "Twilio does not tell our numbers; those of last time do"
                );
                known
            }
        };
        take(routing, numbers);
        Ok(())
    }

    /// Asks Twilio, and keeps what it says.
    async fn look_up_numbers(&self) -> Result<Vec<PhoneNumber>, ReconcileError> {
        let mut list = List::of("numbers", &self.client, self.client.incoming_numbers().await?);
        let mut numbers = BTreeSet::new();
        while let Some(resources) = list.next().await? {
            for resource in &resources {
                let number = IncomingNumber::try_from(resource).ok().map(|number| number.phone_number);
                match number.and_then(|number| PhoneNumber::try_new(&number).ok()) {
                    Some(number) => drop(numbers.insert(number)),
                    None => tracing::warn!("the account has a number that is none, and it is left out"),
                }
            }
        }
        // In the order in which they were learnt: the first is what customers see, also after a restart.
        let mut owned = remembered(&self.pool).await?;
        owned.retain(|number| numbers.contains(number));
        numbers.retain(|number| !owned.contains(number));
        owned.extend(numbers);
        let kept: Vec<&str> = owned.iter().map(PhoneNumber::as_str).collect();
        state::succeeded(&self.pool, OWNED_NUMBERS, &json!({ "numbers": kept }), None, self.clock.now())
            .await?;
        Ok(owned)
    }
}

/// Says so where it is news.
fn take(routing: &watch::Sender<Routing>, numbers: Vec<PhoneNumber>) {
    if numbers.is_empty() {
        return;
    }
    let count = numbers.len();
    let changed = routing.send_if_modified(|routing| routing.own(numbers));
    if changed {
        tracing::info!(
            numbers = count,
            "OWNED_PHONE_NUMBERS is not set; {count} numbers of the account at Twilio are taken for ours. What was \
             judged without them stays so until `callbook reclassify`"
        );
    }
}

/// Those that were learnt the last time, the caller id of calls out first.
pub async fn remembered(pool: &PgPool) -> sqlx::Result<Vec<PhoneNumber>> {
    let kept: Option<Json<Vec<String>>> =
        sqlx::query_scalar("select cursor -> 'numbers' from sync_state where job_name = $1")
            .bind(OWNED_NUMBERS)
            .fetch_optional(pool)
            .await?;
    let kept = kept.map(|Json(numbers)| numbers).unwrap_or_default();
    Ok(kept.iter().filter_map(|number| PhoneNumber::try_new(number).ok()).collect())
}
