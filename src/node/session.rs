//! `wahook session`: links an account from a terminal.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{cli::SessionCommand, connect::connect, doctor, keys};
use crate::{
    api::qr::Qr,
    bus::Bus,
    config::Config,
    model::{Pairing, PairingMethod, Session, SessionId, SessionState, SessionStatus, Timestamp},
    telemetry::printable,
};

const STATUS_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait for a node with the ingest role to start the session.
const FIRST_STATUS_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn run(config: &Config, command: SessionCommand) -> anyhow::Result<ExitCode> {
    let connected = connect(config, "wahook-session").await;
    if let SessionCommand::Doctor { client } = command {
        return doctor::run(config, connected, client).await;
    }
    let bus = connected?;
    match command {
        SessionCommand::Doctor { .. } => unreachable!("it is run above"),
        SessionCommand::Pair {
            client,
            phone,
            code,
            own_messages,
        } => {
            let method = if code {
                PairingMethod::Code
            } else {
                PairingMethod::Qr
            };
            // The code that is shown is stored sealed.
            bus.load_keys(keys::keyring(config, &bus).await?).await?;
            let session = Session {
                id: SessionId(Uuid::now_v7()),
                client_id: client,
                phone,
                method,
                own_messages,
                generation: 0,
                is_deleted: false,
                created_at: Timestamp::from_system(SystemTime::now()),
            };
            pair(&bus, &session).await
        }
        SessionCommand::List { client } => {
            for session in bus.sessions().list(client).await? {
                let status = bus.sessions().status(client, session.id).await?;
                let status = status.unwrap_or_else(|| SessionStatus::new(0, session.created_at));
                let number = status.phone.as_ref().map_or("-", |phone| phone.as_str());
                let reason = printable(status.reason.as_deref().unwrap_or_default());
                println!("{}\t{}\t{number}\t{reason}", session.id, status.state);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn pair(bus: &Bus, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client_id;
    bus.sessions().create(session).await?;
    eprintln!(
        "session {} of client {client}; Ctrl-C leaves it waiting",
        session.id
    );
    let started = Instant::now();
    let mut progress = Progress::default();
    loop {
        match bus.sessions().status(client, session.id).await? {
            None if started.elapsed() > FIRST_STATUS_TIMEOUT => {
                bail!(
                    "no node has started the session: run `wahook serve --roles ingest`, or \
                     `wahook dev`"
                )
            }
            None => {}
            Some(status) => {
                if let Some(code) = progress.update(status)? {
                    return Ok(code);
                }
            }
        }
        sleep(STATUS_POLL_INTERVAL).await;
    }
}

/// What `session pair` has printed so far, so that it prints each change once.
#[derive(Default)]
struct Progress {
    pairing: Option<Pairing>,
    state: Option<(SessionState, Option<String>)>,
}

impl Progress {
    /// Prints what changed; the exit code once the session is connected or has ended.
    fn update(&mut self, status: SessionStatus) -> anyhow::Result<Option<ExitCode>> {
        if status.pairing != self.pairing {
            if let Some(pairing) = &status.pairing {
                show(pairing)?;
            }
            self.pairing.clone_from(&status.pairing);
        }
        let state = Some((status.state, status.reason.clone()));
        if state != self.state {
            match &status.reason {
                Some(reason) => eprintln!("{}: {}", status.state, printable(reason)),
                None => eprintln!("{}", status.state),
            }
            self.state = state;
        }
        if status.state == SessionState::Connected {
            let number = status.phone.context("a connected session has a number")?;
            eprintln!("linked to {}", number.as_str());
            return Ok(Some(ExitCode::SUCCESS));
        }
        Ok(status.state.is_final().then_some(ExitCode::FAILURE))
    }
}

fn show(pairing: &Pairing) -> anyhow::Result<()> {
    match pairing.method {
        PairingMethod::Qr => {
            let qr = Qr::new(&pairing.code).context("the code does not fit a QR code")?;
            println!(
                "{}scan it with WhatsApp: Linked devices, Link a device",
                qr.text()
            );
        }
        PairingMethod::Code => {
            println!(
                "{}\ntype it in: Linked devices, Link a device, Link with phone number instead",
                printable(&pairing.code)
            );
        }
    }
    Ok(())
}
