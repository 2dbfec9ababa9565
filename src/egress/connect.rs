//! Making connections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    failure::{Failure, NotMade, has_no_open_file},
    proxy::{self, Proxy},
    resolver::Guard,
    stage::{Stage, StageCell},
    target::Origin,
    tls,
    watch::{Protocol, Stream},
};
use crate::{config, model::ClientId};

/// How long an address is tried alone before the next one is tried beside it (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);
/// The pause between two warnings of the proxy.
const WARN_INTERVAL: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A new connection.
pub(super) struct Link {
    pub(super) stream: Box<dyn Stream>,
    pub(super) protocol: Protocol,
}

/// Makes connections to judged addresses.
pub(super) struct Connector {
    guard: Guard,
    tls: TlsConnector,
    proxy: Option<Proxy>,
    warned_at: Mutex<Option<Instant>>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(
        guard: Guard,
        tls: rustls::ClientConfig,
        settings: &config::Egress,
        timeout: Duration,
    ) -> Self {
        Self {
            guard,
            tls: TlsConnector::from(Arc::new(tls)),
            proxy: Proxy::new(settings),
            warned_at: Mutex::default(),
            timeout,
        }
    }

    /// A connection to the origin. All its addresses have been judged, also where a proxy makes the
    /// connection: the proxy is given an address, never a name.
    pub(super) async fn connect(
        &self,
        client: ClientId,
        origin: &Origin,
        stage: &StageCell,
    ) -> Result<Link, Failure> {
        let addresses = match (&origin.host, origin.address()) {
            (_, Some(address)) => vec![address],
            (host, None) => {
                let name = host.to_string();
                self.guard.addresses(client, &name, stage).await?
            }
        };
        stage.set(Stage::Connect);
        timeout(self.timeout, self.open(origin, addresses))
            .await
            .unwrap_or(Err(Failure::ConnectTimeout))
    }

    async fn open(&self, origin: &Origin, addresses: Vec<IpAddr>) -> Result<Link, Failure> {
        let addresses = in_turn(addresses, origin.port);
        let tcp = match &self.proxy {
            None => race(addresses)
                .await
                .map_err(|error| Failure::of_connect(&error))?,
            Some(proxy) => self.through(proxy, addresses).await?,
        };
        // It only delays small packets.
        let _ = tcp.set_nodelay(true);
        if !origin.is_tls {
            return Ok(Link {
                stream: Box::new(tcp),
                protocol: Protocol::Http1,
            });
        }
        let name = origin.server_name().ok_or(Failure::Tls(NO_NAME))?;
        let stream = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(|error| Failure::Tls(tls::words(&error)))?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok(Link {
            stream: Box::new(stream),
            protocol,
        })
    }

    /// One address after the other: a proxy has the waiting to do.
    async fn through(
        &self,
        proxy: &Proxy,
        addresses: Vec<SocketAddr>,
    ) -> Result<TcpStream, Failure> {
        let share = self.timeout / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut failure = Failure::Unreachable;
        for address in addresses {
            failure = match timeout(share, proxy.connect(address, share)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(proxy::Error::Unreachable)) => Failure::Unreachable,
                Ok(Err(proxy::Error::Proxy(error))) => {
                    self.warn_of_proxy(&error);
                    return Err(match Failure::of_connect(&error) {
                        Failure::Unreachable => Failure::NotMade(NotMade::Proxy),
                        other => other,
                    });
                }
                Err(_) => Failure::ConnectTimeout,
            };
        }
        Err(failure)
    }

    /// Each request would say the same.
    fn warn_of_proxy(&self, error: &io::Error) {
        let mut warned_at = self
            .warned_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if warned_at.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            *warned_at = Some(Instant::now());
            tracing::warn!(%error, "egress.proxy cannot be used; messages wait");
        }
    }
}

const NO_NAME: &str = "TLS: no certificate can be for this host name";

/// The families take turns, so that one that does not work costs little.
fn in_turn(addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let mut all = Vec::with_capacity(ADDRESSES_MAX);
    let mut second = second.into_iter();
    for address in first {
        all.push(address);
        all.extend(second.next());
    }
    all.extend(second);
    all.truncate(ADDRESSES_MAX);
    all.into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

/// The first connection that stands.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut left = addresses.into_iter();
    let mut tries = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match left.next() {
            Some(address) => tries.push(TcpStream::connect(address)),
            None if tries.is_empty() => return Err(last),
            None => {}
        }
        let has_more = left.len() > 0;
        tokio::select! {
            tried = tries.next() => match tried {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) if has_no_open_file(&error) => return Err(error),
                Some(Err(error)) => last = error,
                None => {}
            },
            () = sleep(HEAD_START), if has_more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ips = |texts: &[&str]| -> Vec<IpAddr> {
            texts
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect()
        };
        let shown = |addresses| -> Vec<String> {
            in_turn(ips(addresses), 1)
                .iter()
                .map(|address| address.ip().to_string())
                .collect()
        };
        assert_eq!(
            shown(&["::1", "::2", "1.1.1.1", "1.1.1.2", "1.1.1.3"]),
            ["::1", "1.1.1.1", "::2", "1.1.1.2", "1.1.1.3"]
        );
        assert_eq!(shown(&["1.1.1.1"; 20]).len(), ADDRESSES_MAX);
        assert!(shown(&[]).is_empty());
    }
}
