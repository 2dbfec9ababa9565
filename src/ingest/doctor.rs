//! What a session needs of its surroundings: each part is tried by itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::lookup_host, time::timeout};
use whatsapp_rust::{
    http::HttpClient,
    transport::{TokioWebSocketTransportFactory, TransportFactory as _},
    version::fetch_latest_app_version,
};

use super::media;
use crate::{config, telemetry};

/// How long one part may take.
const PART_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found about one part.
pub struct Finding {
    /// The part.
    pub part: &'static str,
    /// What it is like, or what is wrong and what helps.
    pub result: Result<String, String>,
}

/// Tries the way to WhatsApp: the name, the connection with its TLS, the version, the files.
pub async fn examine(settings: &config::WhatsApp) -> Vec<Finding> {
    vec![
        Finding {
            part: "name",
            result: name(settings).await,
        },
        Finding {
            part: "connection",
            result: connection(settings).await,
        },
        Finding {
            part: "version",
            result: version(settings).await,
        },
        Finding {
            part: "files",
            result: files(settings),
        },
    ]
}

async fn name(settings: &config::WhatsApp) -> Result<String, String> {
    let url: url::Url = settings.url.parse().map_err(|_| {
        format!(
            "{} is no URL: set whatsapp.url right, or leave it out",
            settings.url
        )
    })?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let looking = timeout(PART_TIMEOUT, lookup_host((host.as_str(), port)));
    let addresses: Vec<SocketAddr> = match looking.await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            return Err(format!(
                "{host} has no address ({error}): look at this machine's DNS"
            ));
        }
        Err(_) => return Err(format!("DNS does not answer for {host}: look at it")),
    };
    let [first, ..] = addresses.as_slice() else {
        return Err(format!("{host} has no address: look at this machine's DNS"));
    };
    Ok(format!(
        "{host} is {}, one of {}",
        first.ip(),
        addresses.len()
    ))
}

/// As the client connects, up to the first byte of WhatsApp's own protocol.
async fn connection(settings: &config::WhatsApp) -> Result<String, String> {
    let factory = TokioWebSocketTransportFactory::new().with_url(&settings.url);
    match timeout(PART_TIMEOUT, factory.create_transport()).await {
        Ok(Ok((transport, _events))) => {
            transport.disconnect().await;
            Ok(format!("{} takes connections", settings.url))
        }
        Ok(Err(error)) => Err(format!(
            "{} cannot be connected to ({}): a firewall or proxy that breaks TLS open is the usual \
             cause; wahook connects to WhatsApp without a proxy",
            settings.url,
            telemetry::report(error.as_ref())
        )),
        Err(_) => Err(format!(
            "{} does not answer within {} s: a firewall drops it",
            settings.url,
            PART_TIMEOUT.as_secs()
        )),
    }
}

async fn version(settings: &config::WhatsApp) -> Result<String, String> {
    if let Some(config::WebVersion(major, minor, build)) = settings.version {
        return Ok(format!(
            "{major}.{minor}.{build}, which whatsapp.version sets: WhatsApp refuses old ones"
        ));
    }
    let client = media::http_client(settings).map_err(|error| error.to_string())?;
    let client: Arc<dyn HttpClient> = Arc::new(client);
    match timeout(PART_TIMEOUT, fetch_latest_app_version(&client)).await {
        Ok(Ok((major, minor, build))) => Ok(format!("WhatsApp Web is at {major}.{minor}.{build}")),
        Ok(Err(error)) => Err(format!(
            "the present version of WhatsApp Web cannot be looked up ({}): let this machine reach \
             https://web.whatsapp.com, or set whatsapp.version",
            telemetry::report(error.as_ref())
        )),
        Err(_) => {
            Err("the look-up of the version is not answered: set whatsapp.version".to_owned())
        }
    }
}

/// Whether the folder of the sessions can be written to.
fn files(settings: &config::WhatsApp) -> Result<String, String> {
    if settings.keys == config::KeysHome::JetStream {
        return Ok("not needed: whatsapp.keys is jetstream".to_owned());
    }
    let folder = &settings.sessions_dir;
    let shown = folder.display();
    if !folder.exists() {
        return Ok(format!("{shown} will be made by the first session"));
    }
    match try_to_write(folder) {
        Ok(()) => Ok(format!("{shown} can be written to")),
        Err(error) => Err(format!(
            "{shown} cannot be written to ({error}): give it to the user that runs wahook"
        )),
    }
}

fn try_to_write(folder: &std::path::Path) -> std::io::Result<()> {
    let file = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&file, b"")?;
    std::fs::remove_file(&file)
}
