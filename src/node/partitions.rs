//! `wahook partitions`: which node runs each partition, and how many messages wait there.

use std::process::ExitCode;

use super::connect::connect;
use crate::{bus::Partition, config::Config, telemetry::printable};

async fn partitions(config: &Config) -> anyhow::Result<Vec<Partition>> {
    let bus = connect(config, "wahook-partitions").await?;
    Ok(bus.partitions().await?)
}

pub(super) async fn print_json(config: &Config) -> anyhow::Result<ExitCode> {
    let all = partitions(config).await?;
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn print_table(config: &Config) -> anyhow::Result<ExitCode> {
    let all = partitions(config).await?;
    let age =
        |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
    println!(
        "{:>9}  {:<24} {:^28}  {:^28}",
        "", "", "new messages", "due retries"
    );
    println!(
        "{:>9}  {:<24} {:>8} {:>8} {:>10}  {:>8} {:>8} {:>10}",
        "partition", "node", "waiting", "unacked", "oldest", "waiting", "unacked", "oldest"
    );
    for one in &all {
        let node = if one.nodes.is_empty() {
            "none".to_owned()
        } else {
            printable(one.nodes.join(", "))
        };
        let Partition {
            number,
            messages,
            retries,
            ..
        } = one;
        println!(
            "{number:>9}  {node:<24} {:>8} {:>8} {:>10}  {:>8} {:>8} {:>10}",
            messages.waiting,
            messages.in_hand,
            age(messages.oldest_ms),
            retries.waiting,
            retries.in_hand,
            age(retries.oldest_ms)
        );
    }
    Ok(ExitCode::SUCCESS)
}
