//! The dependency direction: `tests → src → projections → domain`, and nothing points back.

use std::collections::BTreeSet;
use std::path::Path;

/// The direct dependencies that a crate's manifest names.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

fn assert_without(crate_name: &str, found: &BTreeSet<String>, forbidden: &[&str]) {
    for name in forbidden {
        assert!(!found.contains(*name), "{crate_name} must not depend on {name}");
    }
}

#[test]
fn the_domain_knows_no_database_no_network_no_clock_and_no_chance() {
    let found = dependencies("domain/Cargo.toml");
    assert!(found.contains("cqrs-es"), "the manifest was read");
    assert_without(
        "domain",
        &found,
        &[
            "projections",
            "callbook",
            "sqlx",
            "axum",
            "tokio",
            "reqwest",
            "rand",
            "chrono",
            "postgres-es",
            "figment",
        ],
    );
}

#[test]
fn projections_know_the_domain_and_the_database_and_no_surface() {
    let found = dependencies("projections/Cargo.toml");
    assert!(found.contains("domain") && found.contains("sqlx"), "the manifest was read");
    assert_without(
        "projections",
        &found,
        &["callbook", "axum", "reqwest", "cqrs-es", "postgres-es", "figment", "clap", "rand"],
    );
}

#[test]
fn the_domain_reads_no_clock() {
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("domain/src")) {
        let source = std::fs::read_to_string(&file).unwrap();
        for word in ["now_utc", "SystemTime", "Instant::now", "std::env", "std::fs"] {
            assert!(!source.contains(word), "{} uses {word}", file.display());
        }
    }
}

/// A way past `CallEvent::decode` would be a way past the steps from old versions.
#[test]
fn stored_events_are_read_by_one_function() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in rust_files(&root.join("src")).into_iter().chain(rust_files(&root.join("projections/src"))) {
        let source = std::fs::read_to_string(&file).unwrap();
        for word in ["from_str::<CallEvent>", "from_value::<CallEvent>", "EventEnvelope::try_from"] {
            assert!(!source.contains(word), "{} uses {word}", file.display());
        }
    }
}

fn rust_files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}
