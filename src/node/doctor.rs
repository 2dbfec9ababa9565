//! `wahook session doctor`: what sessions need, tried part by part.

use std::process::ExitCode;

use crate::{
    bus::Bus,
    config::Config,
    model::{ClientId, SessionState},
    telemetry::printable,
};

/// A clock that is off by more makes WhatsApp refuse what is signed with the time.
const CLOCK_OFFSET_MAX_MS: i64 = 30_000;

/// Prints a line for each part.
#[derive(Default)]
struct Report {
    wrong: usize,
}

impl Report {
    fn line(&mut self, part: &str, result: &Result<String, String>) {
        let (verdict, text) = match result {
            Ok(text) => ("ok", text),
            Err(text) => {
                self.wrong += 1;
                ("WRONG", text)
            }
        };
        println!("{verdict:<7}{part:<12}{}", printable(text));
    }
}

pub(super) async fn run(
    config: &Config,
    connected: anyhow::Result<Bus>,
    client: Option<ClientId>,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    let bus = match connected {
        Ok(bus) => {
            report.line("NATS", &Ok("connected".to_owned()));
            Some(bus)
        }
        Err(error) => {
            report.line("NATS", &Err(format!("{error:#}")));
            None
        }
    };
    if let Some(bus) = &bus {
        report.line("clock", &clock(bus).await);
    }
    way_to_whatsapp(config, &mut report).await;
    if let (Some(bus), Some(client)) = (&bus, client) {
        sessions(bus, client, &mut report).await?;
    }
    if report.wrong == 0 {
        eprintln!("nothing is wrong");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} of these are wrong", report.wrong);
    Ok(ExitCode::FAILURE)
}

#[cfg(feature = "whatsapp")]
async fn way_to_whatsapp(config: &Config, report: &mut Report) {
    for finding in crate::ingest::examine(&config.whatsapp).await {
        report.line(finding.part, &finding.result);
    }
}

#[cfg(not(feature = "whatsapp"))]
async fn way_to_whatsapp(_: &Config, report: &mut Report) {
    let missing = "this executable is built without the feature whatsapp: use one that has it";
    report.line("client", &Err(missing.to_owned()));
}

/// This machine's clock beside that of nats-server.
async fn clock(bus: &Bus) -> Result<String, String> {
    bus.read_clock()
        .await
        .map_err(|error| format!("nats-server does not tell its time ({error})"))?;
    let offset = bus.clock_offset_ms().unwrap_or_default();
    let shown = format!("{offset} ms ahead of the clock of nats-server");
    if offset.abs() <= CLOCK_OFFSET_MAX_MS {
        return Ok(shown);
    }
    Err(format!("{shown}: set both by NTP"))
}

/// Sessions that are not connected, with what helps.
async fn sessions(bus: &Bus, client: ClientId, report: &mut Report) -> anyhow::Result<()> {
    for session in bus.sessions().list(client).await? {
        let part = format!("session {}", session.id);
        let result = match bus.sessions().status(client, session.id).await? {
            None => Err(" no node runs it: start one with the role ingest".to_owned()),
            Some(status) if status.state == SessionState::Connected => Ok(" connected".to_owned()),
            Some(status) => {
                let reason = status.reason.unwrap_or_default();
                Err(format!(" {}; {reason}", status.state))
            }
        };
        report.line(&part, &result);
    }
    Ok(())
}
