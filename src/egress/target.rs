//! Where a request goes.

use std::{net::IpAddr, sync::Arc};

use hyper::{
    Uri,
    http::{HeaderValue, uri::PathAndQuery},
};
use rustls::pki_types::ServerName;
use url::{Host, Position, Url};

use super::failure::Failure;
use crate::{
    config,
    policy::address::{UrlError, judge_url},
};

/// Where to post, judged once: what its URL says by itself does not change.
#[derive(Debug, Clone, PartialEq)]
pub struct Target(pub(super) Result<Arc<Endpoint>, &'static str>);

impl Target {
    pub(super) fn new(url: &str, settings: &config::Egress) -> Self {
        let judged = judge_url(url, settings.allow_http, &settings.allow_cidrs);
        Self(match judged {
            Ok(url) => Endpoint::new(&url).map(Arc::new).ok_or("url"),
            Err(UrlError::Forbidden(rule)) => Err(rule),
            Err(_) => Err("url"),
        })
    }

    pub(super) fn endpoint(&self) -> Result<&Arc<Endpoint>, Failure> {
        self.0.as_ref().map_err(|rule| Failure::Forbidden(rule))
    }
}

/// What may share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Origin {
    /// The address where the URL has one in place of a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some((*address).into()),
            Host::Ipv6(address) => Some((*address).into()),
        }
    }

    /// What the certificate has to be for. A name is shown without the dot at its end: certificates
    /// have none.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        match &self.host {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                ServerName::try_from(name.to_owned()).ok()
            }
            Host::Ipv4(address) => Some(IpAddr::from(*address).into()),
            Host::Ipv6(address) => Some(IpAddr::from(*address).into()),
        }
    }
}

/// One URL, in the forms that a request needs.
#[derive(Debug, PartialEq)]
pub(super) struct Endpoint {
    pub(super) origin: Arc<Origin>,
    /// `Host`, or `:authority`.
    pub(super) authority: HeaderValue,
    /// For HTTP/1.1.
    pub(super) path: Uri,
    /// For HTTP/2.
    pub(super) whole: Uri,
}

impl Endpoint {
    fn new(url: &Url) -> Option<Self> {
        let origin = Origin {
            is_tls: url.scheme() == "https",
            host: url.host()?.to_owned(),
            port: url.port_or_known_default()?,
        };
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let path: PathAndQuery = path.parse().ok()?;
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let whole = Uri::builder()
            .scheme(url.scheme())
            .authority(authority)
            .path_and_query(path.clone())
            .build()
            .ok()?;
        Some(Self {
            origin: Arc::new(origin),
            authority: authority.parse().ok()?,
            path: path.into(),
            whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_line_and_host_are_those_of_the_url() {
        for (url, authority, path) in [
            ("https://example.com", "example.com", "/"),
            (
                "http://Example.com:8080/a/../b?x=%20|^{}`",
                "example.com:8080",
                "/b?x=%20|^{}`",
            ),
            ("https://[2606:4700::1111]:443/", "[2606:4700::1111]", "/"),
            (
                "https://bücher.example/ü",
                "xn--bcher-kva.example",
                "/%C3%BC",
            ),
        ] {
            let endpoint = Endpoint::new(&url.parse().expect("a URL")).expect("can be sent");
            assert_eq!(endpoint.authority, authority, "{url}");
            assert_eq!(endpoint.path.to_string(), path, "{url}");
            assert!(endpoint.whole.to_string().ends_with(path), "{url}");
        }
    }
}
