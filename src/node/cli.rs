//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::{parse_size, show_size},
    model::{ClientId, Limit, Phone, Scope},
};

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
    /// Run some roles. NATS must run, and `wahook bus apply` must have created its streams.
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
    /// Update the schema of the CQL store. Run it after each update of wahook, before its roles
    /// start. It needs NATS, for a lease: only one migration runs at a time.
    Migrate {
        /// Only print the missing steps; exit 1 when there are any.
        #[arg(long)]
        dry_run: bool,
        /// Create the keyspace too, if it is missing, with so many copies of all data. For
        /// trying out; in production create it yourself, with copies per datacenter.
        #[arg(long, value_name = "COPIES", value_parser = clap::value_parser!(u8).range(1..=9))]
        create_keyspace: Option<u8>,
    },
    /// Import webhooks and events from the tables of an earlier service; see docs/store.md.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Show which node runs each partition, and how many messages wait there.
    Partitions {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show what clients store and may store, and set limits for one client.
    #[command(subcommand)]
    Clients(ClientsCommand),
    /// Make, list and revoke API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Link WhatsApp accounts, and list them. A node with the ingest role must run.
    #[command(subcommand)]
    Session(SessionCommand),
    /// The keys that stored secrets are sealed with.
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Ask the node of this machine that listens at `admin.listen` how it is; exit 1 when it is not
    /// well, or does not answer.
    Healthcheck {
        /// Whether it can work, or only whether it answers.
        #[arg(long, value_enum, default_value = "ready")]
        probe: Probe,
    },
    /// Check the settings and exit: 0 when they are right, 78 when they are not.
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

/// What a node is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// `/readyz`: whether it can do its work now.
    Ready,
    /// `/livez`: whether it answers.
    Live,
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
    /// Register webhooks and print the signing secret of each. Numbers that have a webhook already
    /// are skipped.
    Webhooks {
        /// CSV with a header, or JSON objects: `.csv`, `.json`, `.jsonl`.
        file: PathBuf,
        /// Only look for rows that are wrong.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write events to the audit. Events older than `store.retention` are skipped.
    Events {
        /// CSV with a header, or JSON objects: `.csv`, `.json`, `.jsonl`.
        file: PathBuf,
        /// Only look for rows that are wrong.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `wahook clients …`
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// List all clients: what each has stored, and may. Marks those over a quota.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show one client: each limit, where it comes from, and what is used of it.
    Show {
        /// The client.
        client: ClientId,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Set limits of one client, on all nodes within a second.
    Set {
        /// The client.
        client: ClientId,
        /// Like `waiting_bytes_max=512MiB` or `messages_per_second=50`. `NAME=default` goes back to
        /// the setting `quota.NAME`.
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = limit_change)]
        limits: Vec<LimitChange>,
    },
}

/// One limit to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitChange {
    /// Which.
    pub limit: Limit,
    /// What it becomes; `None`: as the setting says.
    pub value: Option<u64>,
}

/// `wahook token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it once; only its hash is kept.
    Create {
        /// The client that it belongs to.
        #[arg(long)]
        client: ClientId,
        /// What it may do, separated by commas; all scopes if left out.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// A name for `token list`, like the program that uses it.
        #[arg(long, default_value = "")]
        name: String,
        /// Days after which it expires; if left out, it does not expire.
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
        /// The id of the key; random if left out.
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
    /// Create a session, show the code that links it, and wait until it is connected.
    Pair {
        /// The client it belongs to.
        #[arg(long)]
        client: ClientId,
        /// The phone's number. If it is given, no other phone can link the session.
        #[arg(long)]
        phone: Option<Phone>,
        /// Show a code to type on the phone instead of a QR code.
        #[arg(long, requires = "phone")]
        code: bool,
        /// Also publish what the account itself sends from other devices.
        #[arg(long)]
        own_messages: bool,
    },
    /// Try what sessions need on this machine, and say what is wrong: NATS and its clock, the way
    /// to WhatsApp, the version of WhatsApp Web, the files. Exit code 1 if anything is.
    Doctor {
        /// Show this client's sessions that are not connected, too.
        #[arg(long)]
        client: Option<ClientId>,
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

fn limit_change(text: &str) -> Result<LimitChange, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write NAME=VALUE, like messages_per_second=50")?;
    let Some(limit) = Limit::parse(name.trim()) else {
        let names = Limit::ALL.map(Limit::as_str).join(", ");
        return Err(format!("there is no such limit: write one of {names}"));
    };
    let value = value.trim();
    if value == "default" {
        return Ok(LimitChange { limit, value: None });
    }
    let bounds = limit.bounds();
    let (parsed, expected) = if limit.is_in_bytes() {
        let [min, max] = [bounds.start(), bounds.end()].map(|bytes| show_size(*bytes));
        let expected = format!("a size from {min} to {max}, like 256MiB");
        (parse_size(value), expected)
    } else {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        (value.parse().ok(), expected)
    };
    match parsed.filter(|value| bounds.contains(value)) {
        Some(value) => Ok(LimitChange {
            limit,
            value: Some(value),
        }),
        None => Err(format!("{name} must be {expected}, or `default`")),
    }
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
    #[test]
    fn limits_are_read_and_a_wrong_one_names_what_would_be_right() {
        let read = |text| limit_change(text).map(|change| (change.limit, change.value));
        assert_eq!(
            read("waiting_bytes_max=512MiB"),
            Ok((Limit::WaitingBytes, Some(512 << 20)))
        );
        assert_eq!(
            read("messages_per_second = default"),
            Ok((Limit::MessagesPerSecond, None))
        );
        for (wrong, remedy) in [
            ("waiting_bytes_max", "NAME=VALUE"),
            ("waiting=1MiB", "waiting_bytes_max, dead_letter_bytes_max"),
            ("waiting_bytes_max=1", "from 64KiB to 16TiB"),
            ("waiting_bytes_max=", "from 64KiB to 16TiB"),
            ("waiting_bytes_max=-1MiB", "or `default`"),
            ("dead_letter_bytes_max=5MB", "like 256MiB"),
            ("messages_per_second=0", "from 1 to 100000"),
            ("messages_per_second=1.5", "a whole number"),
            ("messages_per_second=100001", "messages_per_second must be"),
        ] {
            let error = limit_change(wrong).expect_err(wrong);
            assert!(error.contains(remedy), "{wrong}: {error}");
        }
    }
}
