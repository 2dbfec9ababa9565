//! One function per command.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};

use super::{
    cli::{BusCommand, Command, Role, TokenCommand},
    dev, drain, import, migrate, roles, secrets, session,
};
use crate::{
    api,
    bus::{Bus, Partition},
    config::Config,
    model::{Scope, Timestamp, Token, TokenHash},
    tasks::Tasks,
    telemetry,
};

/// Runs a command to its end.
///
/// # Errors
/// Whatever stopped it, told for an operator.
pub fn run(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    std::panic::set_hook(Box::new(|panic| {
        // A reader that has seen enough (`| head`) is no fault; printing knows no other way to
        // tell.
        if panic
            .payload_as_str()
            .is_some_and(|text| text.starts_with("failed printing to stdout: Broken pipe"))
        {
            std::process::exit(0);
        }
        telemetry::error("node", "panic");
        // Its place alone: the text may hold what must not be logged.
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panic");
    }));
    // Whoever names no cryptography gets ring, also in a build whose `cql-tls` compiles a second
    // one. Nobody was before.
    let _ = rustls::crypto::ring::default_provider().install_default();
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
                dry_run,
                create_keyspace,
            } => {
                migrate::run(
                    &config,
                    &connect(&config, "wahook-migrate").await?,
                    dry_run,
                    create_keyspace,
                )
                .await
            }
            Command::Import(command) => {
                import::run(&config, &connect(&config, "wahook-import").await?, command).await
            }
            Command::Partitions { json } => partitions(&config, json).await,
            Command::Token(command) => token(&config, command).await,
            Command::Secrets(command) => secrets::run(&config, command).await,
            Command::Session(command) => {
                session::run(connect(&config, "wahook-session").await?, command).await
            }
            Command::CheckConfig | Command::DumpConfig => Ok(ExitCode::SUCCESS),
        }
    });
    // Blocking threads (a name being looked up) must not hold the exit back.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

pub(super) async fn connect(config: &Config, name: &str) -> anyhow::Result<Bus> {
    Bus::connect(&config.nats, &config.bus, name)
        .await
        .with_context(|| {
            format!(
                "connecting to NATS at {} (set nats.url, or start it with `wahook dev`)",
                config.nats.url
            )
        })
}

async fn serve(config: &Config, roles: &[Role]) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "wahook").await?;
    let differences = bus.check().await.context("reading the streams")?;
    if !differences.is_empty() {
        for difference in &differences {
            eprintln!("{difference}");
        }
        bail!("the streams are not as declared: see the lines above, then run `wahook bus apply`");
    }
    let signals = drain::Signals::new()?;
    let node = roles::start(config, bus, Tasks::default(), roles).await?;
    drain::run(node, signals, config).await
}

async fn dev(config: &Config) -> anyhow::Result<ExitCode> {
    let signals = drain::Signals::new()?;
    let tasks = Tasks::default();
    let server = dev::NatsServer::start(config, &tasks).await?;
    let result = async {
        let bus = connect(config, "wahook-dev").await?;
        bus.apply().await.context("declaring the streams")?;
        let node = roles::start(
            config,
            bus,
            tasks.clone(),
            &[Role::Api, Role::Ingest, Role::Deliver, Role::Record],
        )
        .await?;
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
                println!("{change}");
            }
            println!("{} changed; the streams are as declared", changes.len());
            Ok(ExitCode::SUCCESS)
        }
        BusCommand::Check => {
            let differences = bus.check().await?;
            for difference in &differences {
                println!("{difference}");
            }
            if differences.is_empty() {
                println!("the streams are as declared");
                return Ok(ExitCode::SUCCESS);
            }
            println!(
                "{} differences; `wahook bus apply` mends them",
                differences.len()
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn partitions(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let all = connect(config, "wahook-partitions")
        .await?
        .partitions()
        .await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let age =
        |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
    println!(
        "{:>9}  {:<24} {:^28}  {:^28}",
        "", "", "new messages", "due retries"
    );
    println!(
        "{:>9}  {:<24} {:>8} {:>8} {:>10}  {:>8} {:>8} {:>10}",
        "partition", "node", "waiting", "in hand", "oldest", "waiting", "in hand", "oldest"
    );
    for one in &all {
        let node = if one.nodes.is_empty() {
            "nobody".to_owned()
        } else {
            one.nodes.join(", ")
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

async fn token(config: &Config, command: TokenCommand) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "wahook-token").await?;
    let registry = bus.registry();
    match command {
        TokenCommand::Create {
            client,
            scopes,
            name,
            expires_days,
        } => {
            let now = Timestamp::from_system(SystemTime::now());
            let (text, id) = api::token::generate();
            let token = Token {
                id,
                client_id: client,
                scopes: if scopes.is_empty() {
                    Scope::ALL.to_vec()
                } else {
                    scopes
                },
                name,
                created_at: now,
                expires_at: expires_days
                    .map(|days| now.after(Duration::from_secs(u64::from(days) * 86_400))),
            };
            registry.put_token(&TokenHash::of(&text), &token).await?;
            eprintln!(
                "token {} for client {client}; it is shown this once:",
                token.id
            );
            println!("{text}");
        }
        TokenCommand::List => {
            for token in registry.tokens().await? {
                let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
                let expires = token
                    .expires_at
                    .map_or("never".to_owned(), |at| at.to_string());
                println!(
                    "{}\tclient {}\t{}\texpires {expires}\t{}",
                    token.id,
                    token.client_id,
                    scopes.join(","),
                    token.name
                );
            }
        }
        TokenCommand::Revoke { id } => {
            if !registry.revoke_token(&id).await? {
                bail!("no token has the id {id}; `wahook token list` shows them");
            }
            eprintln!("token {id} is revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}
