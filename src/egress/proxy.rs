//! Connections through the operator's proxy: HTTP `CONNECT` (RFC 9110) or SOCKS5 (RFC 1928, 1929).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    config::{self, ProxyAddress, ProxyKind},
    model::Secret,
};

/// Of a proxy's answer to `CONNECT`.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const SOCKS_VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Error {
    /// The proxy could not reach the endpoint, or may not.
    Unreachable,
    /// The proxy itself cannot be used.
    Proxy(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Proxy(error)
    }
}

/// The proxy of `egress.proxy`.
pub(super) struct Proxy {
    address: ProxyAddress,
    credentials: Option<(String, Secret)>,
}

impl Proxy {
    pub(super) fn new(settings: &config::Egress) -> Option<Self> {
        let user = settings.proxy_user.clone();
        let password = settings.proxy_password.clone();
        Some(Self {
            address: settings.proxy.clone()?,
            credentials: user.zip(password),
        })
    }

    /// A connection to this address. Half of `time` is for the proxy's own part, so that a proxy
    /// that does not answer is told from an endpoint that does not.
    pub(super) async fn connect(&self, to: SocketAddr, time: Duration) -> Result<TcpStream, Error> {
        let stream = timeout(time / 2, self.reach())
            .await
            .map_err(|_| faulty("it does not answer"))??;
        match self.address.kind {
            ProxyKind::Http => self.http(stream, to).await,
            ProxyKind::Socks5 => socks5(stream, to).await,
        }
    }

    /// A connection to the proxy, with the log-in of SOCKS5.
    async fn reach(&self) -> Result<TcpStream, Error> {
        let proxy = (self.address.host.as_str(), self.address.port);
        let mut stream = TcpStream::connect(proxy).await?;
        if self.address.kind == ProxyKind::Socks5 {
            self.greet(&mut stream).await?;
        }
        Ok(stream)
    }

    async fn http(&self, mut stream: TcpStream, to: SocketAddr) -> Result<TcpStream, Error> {
        let authorization = self
            .credentials
            .as_ref()
            .map_or(String::new(), |(user, password)| {
                let both = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
                format!("Proxy-Authorization: Basic {both}\r\n")
            });
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        // Byte by byte, since what follows the head is the endpoint's.
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
            if head.len() > HEAD_BYTES_MAX {
                return Err(faulty("its answer is too long"));
            }
        }
        let status = head
            .strip_prefix(b"HTTP/1.")
            .and_then(|rest| std::str::from_utf8(rest.get(2..5)?).ok())
            .and_then(|digits| digits.parse::<u16>().ok());
        match status {
            Some(200..=299) => Ok(stream),
            Some(403 | 404 | 500..=599) => Err(Error::Unreachable),
            Some(407) => Err(faulty("it refuses the user name and password")),
            Some(_) => Err(faulty("it refuses CONNECT")),
            None => Err(faulty("it does not speak HTTP")),
        }
    }

    async fn greet(&self, stream: &mut TcpStream) -> Result<(), Error> {
        let method = match &self.credentials {
            None => NO_AUTHENTICATION,
            Some(_) => USER_AND_PASSWORD,
        };
        stream.write_all(&[SOCKS_VERSION, 1, method]).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        if chosen[0] != SOCKS_VERSION {
            return Err(faulty("it does not speak SOCKS5"));
        }
        if chosen[1] != method {
            return Err(faulty("it wants another authentication"));
        }
        if let Some((user, password)) = &self.credentials {
            log_in(stream, user, password.expose()).await?;
        }
        Ok(())
    }
}

async fn socks5(mut stream: TcpStream, to: SocketAddr) -> Result<TcpStream, Error> {
    let mut request = vec![SOCKS_VERSION, 1, 0];
    match to.ip() {
        IpAddr::V4(address) => {
            request.push(1);
            request.extend(address.octets());
        }
        IpAddr::V6(address) => {
            request.push(4);
            request.extend(address.octets());
        }
    }
    request.extend(to.port().to_be_bytes());
    stream.write_all(&request).await?;
    read_reply(&mut stream).await?;
    Ok(stream)
}

async fn log_in(stream: &mut TcpStream, user: &str, password: &str) -> Result<(), Error> {
    let mut request = vec![1];
    for text in [user, password] {
        let length = u8::try_from(text.len()).map_err(|_| {
            faulty("SOCKS5 has no room for user names and passwords over 255 bytes")
        })?;
        request.push(length);
        request.extend(text.as_bytes());
    }
    stream.write_all(&request).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    if answer[1] != 0 {
        return Err(faulty("it refuses the user name and password"));
    }
    Ok(())
}

async fn read_reply(stream: &mut TcpStream) -> Result<(), Error> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, reply, _, kind] = head;
    if version != SOCKS_VERSION {
        return Err(faulty("it does not speak SOCKS5"));
    }
    // The address that it uses itself.
    let address_bytes = match kind {
        1 => 4,
        3 => usize::from(stream.read_u8().await?),
        4 => 16,
        _ => return Err(faulty("it does not speak SOCKS5")),
    };
    let mut bound = vec![0; address_bytes + 2];
    match reply {
        0 => {
            stream.read_exact(&mut bound).await?;
            Ok(())
        }
        7 | 8 => Err(faulty("it does not make connections to addresses")),
        _ => Err(Error::Unreachable),
    }
}

fn faulty(why: &'static str) -> Error {
    Error::Proxy(io::Error::other(why))
}
