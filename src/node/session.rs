//! `wahook session`: linking an account from a terminal.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::cli::SessionCommand;
use crate::{
    api::qr::Qr,
    bus::Bus,
    model::{
        ClientId, Pairing, PairingMethod, Phone, Session, SessionId, SessionState, SessionStatus,
        Timestamp,
    },
};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a session may be without a node that runs it.
const NODE_PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn run(bus: Bus, command: SessionCommand) -> anyhow::Result<ExitCode> {
    match command {
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
            pair(&bus, client, phone, method, own_messages).await
        }
        SessionCommand::List { client } => {
            for session in bus.sessions().list(client).await? {
                let status = bus.sessions().status(client, session.id).await?;
                let status = status.unwrap_or_else(|| SessionStatus::new(0, session.created_at));
                let number = status.phone.as_ref().map_or("-", |phone| phone.as_str());
                let reason = status.reason.as_deref().unwrap_or_default();
                println!("{}\t{}\t{number}\t{reason}", session.id, status.state);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn pair(
    bus: &Bus,
    client: ClientId,
    phone: Option<Phone>,
    method: PairingMethod,
    own_messages: bool,
) -> anyhow::Result<ExitCode> {
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
    bus.sessions().create(&session).await?;
    eprintln!(
        "session {} of client {client}; Ctrl-C leaves it waiting",
        session.id
    );
    let begun = Instant::now();
    let mut shown = None;
    let mut told = None;
    loop {
        match bus.sessions().status(client, session.id).await? {
            None if begun.elapsed() > NODE_PATIENCE => {
                bail!(
                    "no node has taken the session up: run `wahook serve --roles ingest`, or \
                     `wahook dev`"
                )
            }
            None => {}
            Some(status) => {
                if status.pairing != shown {
                    if let Some(pairing) = &status.pairing {
                        show(pairing)?;
                    }
                    shown.clone_from(&status.pairing);
                }
                let news = (status.state, status.reason.clone());
                if told.as_ref() != Some(&news) {
                    eprintln!(
                        "{}{}",
                        news.0,
                        news.1
                            .as_ref()
                            .map_or(String::new(), |why| format!(": {why}"))
                    );
                    told = Some(news);
                }
                if status.state == SessionState::Connected {
                    let number = status.phone.context("a connected session has a number")?;
                    eprintln!("linked to {}", number.as_str());
                    return Ok(ExitCode::SUCCESS);
                }
                if status.state.is_final() {
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        sleep(LOOK_EVERY).await;
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
                pairing.code
            );
        }
    }
    Ok(())
}
