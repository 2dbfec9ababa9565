//! One function per command.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};

use super::{
    cli::{BusCommand, Command, Role},
    clients,
    connect::connect,
    data_dir::DataDir,
    dev, drain, healthcheck, import, migrate, open_files, partitions, roles, secrets, session,
    token, whatsapp,
};
use crate::{
    bus::IncompleteCopy,
    config::Config,
    tasks::Tasks,
    telemetry::{self, Metrics, printable},
};

/// How long new copies may take to get what there is.
const COPIES_MAX: Duration = Duration::from_secs(30);
/// How long a copy may be behind while messages come in.
const COPIES_LAG_MAX: Duration = Duration::from_secs(2);

/// Incomplete copies that are named; a server that is away has one of each stream and consumer.
const COPIES_SHOWN: usize = 8;

/// Runs a command to its end.
///
/// # Errors
/// What stopped it, in words for an operator.
pub fn run(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    std::panic::set_hook(Box::new(|panic| {
        // The reader closed the pipe (`| head`), which is not an error. `println!` can only panic
        // then.
        if panic
            .payload_as_str()
            .is_some_and(|text| text.starts_with("failed printing to stdout: Broken pipe"))
        {
            std::process::exit(0);
        }
        telemetry::error("node", "panic");
        // Only the location, because the text may contain what must not be logged.
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panic");
    }));
    // ring is the default also in a build with `cql-tls`, which compiles a second provider. An
    // error would mean that a default was set before, and nothing does that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    keep_files_private();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let code = runtime.block_on(async {
        match command {
            Command::Serve { roles } => serve(&config, &roles).await,
            Command::Dev => dev(&config).await,
            Command::Bus(command) => bus(&config, &command).await,
            Command::Migrate {
                dry_run: true,
                create_keyspace,
            } => migrate::dry_run(&config, create_keyspace).await,
            Command::Migrate {
                dry_run: false,
                create_keyspace,
            } => {
                let bus = connect(&config, "wahook-migrate").await?;
                migrate::run(&config, &bus, create_keyspace).await
            }
            Command::Import(command) => {
                import::run(&config, &connect(&config, "wahook-import").await?, command).await
            }
            Command::Partitions { json: true } => partitions::print_json(&config).await,
            Command::Partitions { json: false } => partitions::print_table(&config).await,
            Command::Clients(command) => clients::run(&config, command).await,
            Command::Token(command) => token::run(&config, command).await,
            Command::Secrets(command) => secrets::run(&config, command).await,
            Command::Session(command) => session::run(&config, command).await,
            Command::Healthcheck { probe } => healthcheck::run(&config, probe).await,
            Command::CheckConfig | Command::DumpConfig => Ok(ExitCode::SUCCESS),
        }
    });
    // A blocking thread, like a DNS look-up, must not delay the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// Files of this process and of its children are for its user alone, whatever the shell says: they
/// hold keys, phone numbers and texts.
fn keep_files_private() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

async fn serve(config: &Config, roles: &[Role]) -> anyhow::Result<ExitCode> {
    open_files::raise_limit();
    let known = whatsapp::roles();
    if let Some(unknown) = roles.iter().find(|role| !known.contains(role)) {
        bail!(
            "this wahook was built without the feature `whatsapp`, so it has no role \
             {unknown:?}: leave it out of --roles, or use a build with the default features"
        );
    }
    // Before the connection, which counts.
    Metrics::install();
    let bus = connect(config, "wahook").await?;
    let differences = bus.check().await.context("reading the streams")?;
    if !differences.is_empty() {
        for difference in &differences {
            eprintln!("{}", printable(difference));
        }
        bail!("the streams are not as declared: see the lines above, then run `wahook bus apply`");
    }
    let signals = drain::Signals::new()?;
    let node = roles::start(config, bus, Tasks::default(), roles).await?;
    drain::run(node, signals, config).await
}

async fn dev(config: &Config) -> anyhow::Result<ExitCode> {
    open_files::raise_limit();
    let signals = drain::Signals::new()?;
    // Before anything is written or ended in the folder.
    let data_dir = DataDir::lock(&config.node.data_dir).await?;
    Metrics::install();
    let tasks = Tasks::default();
    let server = dev::NatsServer::start(config, &data_dir, &tasks).await?;
    let result = async {
        let bus = connect(config, "wahook-dev").await?;
        server.watch_jetstream(&bus, &tasks);
        bus.apply().await.context("declaring the streams")?;
        let node = roles::start(config, bus, tasks.clone(), &whatsapp::roles()).await?;
        drain::run(node, signals, config).await
    }
    .await;
    server.stop().await;
    result
}

async fn bus(config: &Config, command: &BusCommand) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "wahook-bus").await?;
    match command {
        BusCommand::Apply => {
            let changes = bus.apply().await?;
            for change in &changes {
                println!("{}", printable(change));
            }
            println!("{} changed; the streams are as declared", changes.len());
            // All that can be done is done: whether they are complete is for `check` to judge.
            print_incomplete(&bus.incomplete_copies(COPIES_MAX).await?);
            Ok(ExitCode::SUCCESS)
        }
        BusCommand::Check => {
            let differences = bus.check().await?;
            for difference in &differences {
                println!("{}", printable(difference));
            }
            if !differences.is_empty() {
                println!(
                    "{} differences; `wahook bus apply` corrects them",
                    differences.len()
                );
                return Ok(ExitCode::FAILURE);
            }
            println!("the streams are as declared");
            let incomplete = bus.incomplete_copies(COPIES_LAG_MAX).await?;
            print_incomplete(&incomplete);
            if incomplete.is_empty() {
                Ok(ExitCode::SUCCESS)
            } else {
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

fn print_incomplete(copies: &[IncompleteCopy]) {
    for copy in copies.iter().take(COPIES_SHOWN) {
        println!("{}", printable(copy));
    }
    if copies.len() > COPIES_SHOWN {
        println!("and {} more", copies.len() - COPIES_SHOWN);
    }
    if !copies.is_empty() {
        println!(
            "{} copies are not complete: stop no other server of NATS until `wahook bus check` \
             finds them complete",
            copies.len()
        );
    }
}
