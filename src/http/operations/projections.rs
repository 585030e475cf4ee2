//! How far the read side is, and which builds of it there are.

use ::projections::builds::{self, BuildRow};
use ::projections::generation::FOLD_VERSION;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::http::conversations::unreadable;
use crate::http::problem::ApiError;

/// What follows the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Projections {
    projections: Vec<Projection>,
    /// The last position of the log.
    head: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Projection {
    #[schema(example = "conversations")]
    name: &'static str,
    /// The last position of the log that its rows reflect.
    position: i64,
    head: i64,
    /// Events that they do not reflect yet, at most.
    behind: i64,
    /// Seconds that the oldest of those has waited.
    lag_seconds: f64,
    /// Of the worker lease under which it was folded last.
    epoch: i64,
    /// Which fold its tables were built by, and which one this callbook has.
    fold_version: FoldVersion,
    /// The build that serves.
    generation: i32,
    /// Builds that served before, and one that is being built; the newest first.
    others: Vec<Generation>,
    /// Calls that are not folded any further.
    quarantined: i64,
    /// Why it stands still; null while it does not.
    stopped: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FoldVersion {
    tables: i32,
    binary: i32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Generation {
    generation: i32,
    position: i64,
    fold_version: i32,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    /// When its successor took over; null while it is being built.
    #[serde(with = "rfc3339::option")]
    retired_at: Option<OffsetDateTime>,
}

/// How far each projection is behind the log, and which builds of it there are.
#[utoipa::path(get, path = "/api/projections", tag = "operations", responses((status = 200, body = Projections)))]
pub async fn list(State(state): State<AppState>) -> Result<Json<Projections>, ApiError> {
    let builds::Builds { lag, builds, quarantined } =
        builds::builds(&state.pool).await.map_err(unreadable)?;
    let (serving, others): (Vec<BuildRow>, Vec<BuildRow>) =
        builds.into_iter().partition(|build| build.serves);
    let stopped = state.progress.borrow().stopped.map(|reason| reason.to_string());
    let projections = serving.into_iter().map(|build| Projection {
        name: "conversations",
        position: lag.position,
        head: lag.head,
        behind: lag.events(),
        lag_seconds: lag.seconds,
        epoch: build.epoch,
        fold_version: FoldVersion { tables: build.fold_version, binary: FOLD_VERSION },
        generation: build.generation,
        others: others.iter().map(Generation::from).collect(),
        quarantined,
        stopped: stopped.clone(),
    });
    Ok(Json(Projections { projections: projections.collect(), head: lag.head }))
}

impl From<&BuildRow> for Generation {
    fn from(build: &BuildRow) -> Self {
        let BuildRow { generation, position, fold_version, created_at, retired_at, .. } = *build;
        Self { generation, position, fold_version, created_at, retired_at }
    }
}
