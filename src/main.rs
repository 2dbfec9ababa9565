//! The `wahook` command: parse, load the settings, set up logs, run, exit.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser;
use wahook::{
    config::{self, Sources},
    node::{
        self,
        cli::{Cli, Command},
    },
    telemetry,
};

/// Many threads allocate messages and free those of others. With the C library's allocator a fifth
/// of the time is spent on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `EX_CONFIG` of sysexits.h: the settings are wrong.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let sources = Sources::from_process(cli.settings.config, cli.settings.set);
    let loaded = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let roles = match &cli.command {
        Command::DumpConfig => {
            // A reader that closes the pipe early (`| head`) is not an error.
            let _ = write!(io::stdout(), "{}", config::dump(&loaded));
            return ExitCode::SUCCESS;
        }
        Command::CheckConfig | Command::Dev => Some(None),
        Command::Serve { roles } => Some(Some(roles.as_slice())),
        _ => None,
    };
    if let Some(roles) = roles {
        for line in &loaded.ignored {
            eprintln!("{line}");
        }
        if let Err(errors) = node::check(&loaded, roles) {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_CONFIG);
        }
    }
    if matches!(cli.command, Command::CheckConfig) {
        println!("the settings are right");
        return ExitCode::SUCCESS;
    }
    if let Err(error) = telemetry::init(&loaded.config.log) {
        eprintln!("wahook: {error}");
        return ExitCode::from(EXIT_CONFIG);
    }
    match node::run(cli.command, loaded.config) {
        Ok(code) => code,
        Err(error) => {
            // Every cause on one line: this is the last thing an operator sees.
            eprintln!(
                "wahook: {}",
                telemetry::printable(format_args!("{error:#}"))
            );
            ExitCode::FAILURE
        }
    }
}
