//! What is shipped for deploying is right.

use std::{path::Path, process::Command};

use crate::support::process::wahook;

fn shipped(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file);
    path.display().to_string()
}

#[tokio::test]
async fn settings_of_the_package_are_right() {
    let file = shipped("systemd/wahook.toml");
    let output = wahook(&Vec::new())
        .args(["check-config", "--config", &file])
        .output()
        .await
        .expect("the executable starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Where there is no systemd, its directives cannot be checked.
#[test]
fn unit_of_the_package_is_one_that_systemd_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = std::fs::read_to_string(shipped("systemd/wahook.service")).expect("is there");
    // It looks whether the executable is there.
    let unit = unit.replace("/usr/bin/wahook", env!("CARGO_BIN_EXE_wahook"));
    let file = folder.path().join("wahook.service");
    std::fs::write(&file, unit).expect("writes");
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&file)
        .output();
    match verified {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && !said.contains("wahook.service"),
                "{said}"
            );
        }
        Err(error) => println!("NOT RUN: no systemd-analyze here: {error}"),
    }
}
