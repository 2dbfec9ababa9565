//! Which URLs and addresses wahook calls. Registration, the HTTP client and the resolver all ask
//! here.
//!
//! For IPv4, a list names what is not public. For IPv6, only what is known to be public is allowed,
//! so that unknown forms are refused. Sources: the IANA special-purpose registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// The most bytes of a URL.
pub const URL_BYTES_MAX: usize = 2048;

/// First address and prefix length of ranges that are not public.
const FORBIDDEN_V4: [([u8; 4], u8, &str); 17] = [
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "shared"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([168, 63, 129, 16], 32, "cloud metadata"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "protocol assignments"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
    ([255, 255, 255, 255], 32, "broadcast"),
];
/// Parts of 2000::/3 that are not public.
const FORBIDDEN_V6: [(Ipv6Addr, u8, &str); 4] = [
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "protocol assignments",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "documentation",
    ),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "documentation",
    ),
];

/// Why an address is not called; `None` when it is. Addresses in `allow` are always called.
///
/// # Examples
///
/// ```
/// use wahook::policy::address::forbidden;
///
/// assert_eq!(forbidden("10.0.0.1".parse()?, &[]), Some("private"));
/// assert_eq!(forbidden("10.0.0.1".parse()?, &["10.0.0.0/8".parse()?]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn forbidden(address: IpAddr, allow: &[IpNet]) -> Option<&'static str> {
    let address = address.to_canonical();
    if allow.iter().any(|net| net.contains(&address)) {
        return None;
    }
    match address {
        IpAddr::V4(address) => FORBIDDEN_V4
            .iter()
            .find(|(first, length, _)| {
                prefix(
                    address.to_bits().into(),
                    Ipv4Addr::from(*first).to_bits().into(),
                    *length,
                    32,
                )
            })
            .map(|(_, _, rule)| *rule),
        IpAddr::V6(address) if address.to_bits() >> 125 != 1 => Some("not global unicast"),
        IpAddr::V6(address) => FORBIDDEN_V6
            .iter()
            .find(|(first, length, _)| prefix(address.to_bits(), first.to_bits(), *length, 128))
            .map(|(_, _, rule)| *rule)
            .or_else(|| forbidden(isatap(address)?.into(), allow)),
    }
}

/// The IPv4 address to which an ISATAP interface would send (RFC 5214, section 6.1).
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., flags, marker, high, low] = address.segments();
    let is_isatap = flags & !0x0300 == 0 && marker == 0x5efe;
    let bits = u32::from(high) << 16 | u32::from(low);
    is_isatap.then(|| Ipv4Addr::from(bits))
}

fn prefix(address: u128, first: u128, length: u8, bits: u8) -> bool {
    let shift = u32::from(bits - length);
    address >> shift == first >> shift
}

/// Why a URL is refused. Clients see these texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is not a URL.
    #[error("is not an absolute URL like https://example.com/webhook")]
    Malformed,
    /// It has a character that is written as `%20`, `%0A` and so on.
    #[error(
        "must not contain spaces, line breaks or control characters; write them as %20 and so on"
    )]
    Blank,
    /// It has a backslash, which some read as a slash and others do not.
    #[error("must not contain a backslash; write / or %5C")]
    Backslash,
    /// It has too many bytes.
    #[error("is longer than 2048 bytes")]
    TooLong,
    /// Its scheme is not https.
    #[error("must begin with https://")]
    NotHttps,
    /// It has a user name or password.
    #[error("must not hold a user name or password")]
    Credentials,
    /// It has a part after `#`, which is never sent.
    #[error("must not have a fragment (#…)")]
    Fragment,
    /// No DNS can have its host name.
    #[error(
        "has a host name that cannot exist: a name has at most 253 characters, and 1 to 63 \
             between two dots"
    )]
    HostName,
    /// Nothing can listen on its port.
    #[error("must not have the port 0")]
    Port,
    /// Its address is not public.
    #[error("points to an address that is not public")]
    Forbidden(&'static str),
}

/// Parses and checks a URL that somebody gives. Spaces and line breaks around it are dropped. The
/// result is what is sent, so it is what is to be stored and shown. The addresses of a name are
/// checked when it is resolved.
///
/// # Errors
/// Why it is refused.
///
/// # Examples
///
/// ```
/// use wahook::policy::address::{UrlError, check_url};
///
/// assert!(check_url("https://example.com/hook", false, &[]).is_ok());
/// assert_eq!(check_url("http://example.com/", false, &[]), Err(UrlError::NotHttps));
/// // Every spelling of 127.0.0.1 is refused.
/// assert!(check_url("https://0x7f.1/", false, &[]).is_err());
/// ```
pub fn check_url(text: &str, allow_http: bool, allow: &[IpNet]) -> Result<Url, UrlError> {
    let text = text.trim_matches(is_blank);
    if text.contains(is_blank) {
        return Err(UrlError::Blank);
    }
    if text.contains('\\') {
        return Err(UrlError::Backslash);
    }
    let url = judge_url(text, allow_http, allow)?;
    // The parser adds missing slashes.
    let rest = &text[url.scheme().len()..];
    if !rest.starts_with("://") || rest.starts_with(":///") {
        return Err(UrlError::Malformed);
    }
    if url.port() == Some(0) {
        return Err(UrlError::Port);
    }
    if url.domain().is_some_and(|name| !can_exist(name)) {
        return Err(UrlError::HostName);
    }
    // Escapes make it longer.
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    Ok(url)
}

/// Parses a URL and judges where it leads, before each request. URLs that were stored by older
/// versions pass, however they are written.
///
/// # Errors
/// Why it is not called.
pub fn judge_url(text: &str, allow_http: bool, allow: &[IpNet]) -> Result<Url, UrlError> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        _ => return Err(UrlError::NotHttps),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    // `url` parses every spelling of an IPv4 address (decimal, octal, full-width digits).
    let rule = match url.host().ok_or(UrlError::Malformed)? {
        Host::Ipv4(address) => forbidden(address.into(), allow),
        Host::Ipv6(address) => forbidden(address.into(), allow),
        Host::Domain(name) => {
            let local = IpAddr::from(Ipv4Addr::LOCALHOST);
            let is_allowed = allow.iter().any(|net| net.contains(&local));
            (is_local(name) && !is_allowed).then_some("loopback")
        }
    };
    rule.map_or(Ok(url), |rule| Err(UrlError::Forbidden(rule)))
}

/// What has no place in a URL: blanks, controls, and characters that are not seen or that turn the
/// direction of what is shown.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether DNS can have this name (RFC 1035, section 2.3.4).
fn can_exist(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    // An address with a dot too many is taken for a name by the parser, and for an address by
    // resolvers.
    let is_address = name
        .rsplit('.')
        .find(|label| !label.is_empty())
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    let has_labels = name.split('.').all(|label| (1..=63).contains(&label.len()));
    name.len() <= 253 && has_labels && !is_address
}

/// These names always mean this machine (RFC 6761).
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
