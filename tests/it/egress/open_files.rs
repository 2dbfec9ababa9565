//! Too few open files: a process of its own reaches its limit.

use std::{fs::File, process::Command};

use wahook::{egress::NotMade, model::Outcome};

use super::{Server, answer_ok, client, names, post, settings, tenant, try_post};

const CHILD: &str = "WAHOOK_TEST_OPEN_FILES";

/// Runs this test alone in a process that may open few files.
fn run_child(test: &str) {
    let executable = std::env::current_exe().expect("a path");
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$@\"", "sh"])
        .arg(executable)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .status()
        .expect("sh runs");
    assert!(status.success(), "{status}");
}

/// Opens files until there are no more.
fn use_up() -> Vec<File> {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(24), "{error}");
                return files;
            }
        }
    }
}

#[test]
fn without_open_files_no_endpoint_is_blamed() {
    if std::env::var_os(CHILD).is_none() {
        return run_child("egress::open_files::without_open_files_no_endpoint_is_blamed");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = Server::start(answer_ok).await;
        let client = client(&settings(true));
        let url = server.url("127.0.0.1");
        let files = use_up();
        let made = try_post(&client, tenant(1), &url).await;
        assert_eq!(made.expect_err("no request"), NotMade::OpenFiles);
        // The system's resolver says that the name is unknown.
        let made = try_post(&client, tenant(1), "http://no-such-host.invalid/").await;
        assert_eq!(made.expect_err("no request"), NotMade::OpenFiles);
        drop(files);
        assert_eq!(post(&client, &url).await.outcome, Outcome::Ok);
    });
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    if std::env::var_os(CHILD).is_none() {
        return run_child("egress::open_files::idle_connections_make_room_for_new_ones");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let first = Server::start(answer_ok).await;
        let second = Server::start(answer_ok).await;
        let lookup = names([("here.example", "127.0.0.1")]);
        let client = super::asking(&settings(true), lookup);
        for _ in 0..2 {
            assert_eq!(
                post(&client, &first.url("127.0.0.1")).await.outcome,
                Outcome::Ok
            );
        }
        // Both ends of the idle connection have a file, and so have those of the new one.
        let files = use_up();
        let answer = post(&client, &second.url("here.example")).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{answer:?}");
        drop(files);
    });
}
