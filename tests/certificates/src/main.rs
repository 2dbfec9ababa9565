//! `certificates FOLDER NAME…`: certificates for the servers of a cluster, for trying out.

use std::{path::Path, process::ExitCode};

const USAGE: &str = "usage: certificates FOLDER NAME…, as in: certificates certs n1 n2 n3";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((folder, names)) = arguments
        .split_first()
        .filter(|(folder, names)| !folder.starts_with('-') && !names.is_empty())
    else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Err(error) = certificates::write(Path::new(folder), &names) {
        eprintln!("certificates: {folder}: {error}");
        return ExitCode::FAILURE;
    }
    println!(
        "{folder}: ca.pem, and for each of {} a .crt and a .key; good for a year, and for this \
         machine",
        names.join(", ")
    );
    ExitCode::SUCCESS
}
