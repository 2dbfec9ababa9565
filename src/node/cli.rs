//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{ClientId, Phone, Scope};

/// WhatsApp messages in, signed webhooks out, with nothing lost between.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Settings that apply to every command.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where settings come from, beside the defaults and the environment.
#[derive(Debug, Args)]
pub struct Settings {
    /// A TOML file; see docs/configuration.md.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, over all other sources: --set deliver.timeout=5s. May be repeated.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run some roles against a NATS server that runs already and on which `wahook bus apply` was
    /// called.
    Serve {
        /// Roles of this process, separated by commas.
        #[arg(long, value_enum, value_delimiter = ',', required = true)]
        roles: Vec<Role>,
    },
    /// Run everything on this machine: all roles, SQLite, and a nats-server child.
    Dev,
    /// Create, update or check the streams, consumers and buckets.
    #[command(subcommand)]
    Bus(BusCommand),
    /// Bring the schema of the CQL store up to date: once after each update of wahook, before its
    /// roles start. NATS must run: it lets one do this at a time.
    Migrate {
        /// Only print what would be done; exit 1 when that is something.
        #[arg(long)]
        dry_run: bool,
        /// Make the keyspace, too, if it is missing, with so many copies of everything: for trying
        /// out. In production create it yourself, per datacenter.
        #[arg(long, value_name = "COPIES", value_parser = clap::value_parser!(u8).range(1..=9))]
        create_keyspace: Option<u8>,
    },
    /// Take over webhooks and events from the tables of a service that came before; see
    /// docs/store.md.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Show which node runs each partition, and how far behind it is.
    Partitions {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Make, list and revoke API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Link WhatsApp accounts, and list them. Some node with the ingest role must run.
    #[command(subcommand)]
    Session(SessionCommand),
    /// The keys that stored secrets are sealed with.
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Check the settings and exit: 0 when they are right, 78 when not.
    CheckConfig,
    /// Print the settings in force, each with its source; secrets are masked.
    DumpConfig,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// The admin API.
    Api,
    /// WhatsApp sessions to messages.
    Ingest,
    /// Messages to webhooks.
    Deliver,
    /// Results to the store.
    Record,
}

/// `wahook bus …`
#[derive(Debug, Subcommand)]
pub enum BusCommand {
    /// Create what is missing and update what differs.
    Apply,
    /// Print how the server differs from the declarations; exit 1 when it does.
    Check,
}

/// `wahook import …`
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Register webhooks; prints the signing secret that each gets. Numbers that have one already
    /// are passed over.
    Webhooks {
        /// CSV with a header, or JSON objects: `.csv`, `.json`, `.jsonl`.
        file: PathBuf,
        /// Only look for rows that are wrong.
        #[arg(long)]
        dry_run: bool,
    },
    /// Put events into the audit. Those older than `store.retention` are passed over.
    Events {
        /// CSV with a header, or JSON objects: `.csv`, `.json`, `.jsonl`.
        file: PathBuf,
        /// Only look for rows that are wrong.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `wahook token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it once; only its hash is kept.
    Create {
        /// The client it can see.
        #[arg(long)]
        client: ClientId,
        /// What it may do, separated by commas; everything when left out.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// What it is for, in your words.
        #[arg(long, default_value = "")]
        name: String,
        /// Days until it is refused; never when left out.
        #[arg(long)]
        expires_days: Option<u32>,
    },
    /// List all tokens: id, client, scopes, name.
    List,
    /// Refuse a token from now on.
    Revoke {
        /// The token's id, as `token list` shows it.
        id: String,
    },
}

/// `wahook secrets …`
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Print a line for `secrets.keys_file` with a new key.
    NewKey {
        /// What the key is called; drawn by chance when left out.
        #[arg(long)]
        id: Option<String>,
    },
    /// Seal every stored secret with the first key of `secrets.keys_file`. Every node must have it
    /// by then.
    Rotate,
}

/// `wahook session …`
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Ask for a session, show what links it, and follow it until it is connected.
    Pair {
        /// The client it belongs to.
        #[arg(long)]
        client: ClientId,
        /// The phone's number: no other phone can link it then.
        #[arg(long)]
        phone: Option<Phone>,
        /// Show a code to type in on the phone, in place of a QR code.
        #[arg(long, requires = "phone")]
        code: bool,
        /// Publish what the account itself sends, too.
        #[arg(long)]
        own_messages: bool,
    },
    /// List a client's sessions: id, state, number, reason.
    List {
        /// The client.
        #[arg(long)]
        client: ClientId,
    },
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write KEY=VALUE, like deliver.timeout=5s")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn roles_and_settings_are_read() {
        let cli = Cli::try_parse_from([
            "wahook",
            "serve",
            "--roles",
            "api,record",
            "--set",
            "api.listen=127.0.0.1:0",
        ]);
        let cli = cli.expect("valid");
        assert_eq!(
            cli.settings.set,
            [("api.listen".to_owned(), "127.0.0.1:0".to_owned())]
        );
        assert!(
            matches!(cli.command, Command::Serve { roles } if roles == [Role::Api, Role::Record])
        );
        assert!(Cli::try_parse_from(["wahook", "serve", "--roles", "cook"]).is_err());
    }
}
