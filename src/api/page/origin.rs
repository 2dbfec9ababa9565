//! Whether a request came from the page: a browser adds the cookie to requests of other sites, too.

use axum::http::{HeaderMap, HeaderName, Method, header};

use super::{
    super::problem::{Code, Problem},
    cookie::Transport,
};

/// A header that a page of another site cannot send without being asked for by CORS, which wahook
/// never allows.
const MARK: HeaderName = HeaderName::from_static("x-wahook-page");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that did not come from the page of this very host.
///
/// # Errors
/// The problem that says what is missing.
pub(in crate::api) fn check(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: &'static str| Err(Problem::new(Code::CrossSite, detail));
    if headers.get(MARK).is_none_or(|mark| mark != "1") {
        return refused("the cookie counts only beside the header `x-wahook-page: 1`");
    }
    // Browsers send this one over TLS and to loopback, and no script can set it.
    if let Some(site) = headers.get(FETCH_SITE) {
        return if site == "same-origin" {
            Ok(())
        } else {
            refused("the request came from another site")
        };
    }
    match text(headers, header::ORIGIN) {
        Some(origin) if host_of(origin) == text(headers, header::HOST) => Ok(()),
        Some(_) => refused("the origin of the request is not this host"),
        None if method.is_safe() => Ok(()),
        None => refused("a change needs the header `origin`, which browsers send"),
    }
}

/// How the browser reached the page, as it says itself: wahook may be behind a proxy that ends TLS.
pub(super) fn transport(headers: &HeaderMap) -> Transport {
    let is_tls = text(headers, header::ORIGIN).is_some_and(|origin| origin.starts_with("https://"));
    if is_tls {
        Transport::Tls
    } else {
        Transport::Plain
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Host and port of an origin.
fn host_of(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, host)| host)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn is_allowed(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        check(method, &headers.collect()).is_ok()
    }

    #[test]
    fn only_the_page_of_this_host_is_let_in() {
        let host = ("host", "hooks.example:8443");
        let mark = ("x-wahook-page", "1");
        let own = ("origin", "https://hooks.example:8443");
        let other = ("origin", "https://evil.example");
        let port = ("origin", "https://hooks.example");
        let null = ("origin", "null");
        let same = ("sec-fetch-site", "same-origin");
        let near = ("sec-fetch-site", "same-site");
        let none = ("sec-fetch-site", "none");
        for (headers, get, post) in [
            (vec![host], false, false),
            (vec![host, own], false, false),
            (vec![host, own, ("x-wahook-page", "0")], false, false),
            (vec![host, mark], true, false),
            (vec![host, mark, own], true, true),
            (vec![host, mark, own, same], true, true),
            (vec![host, mark, other], false, false),
            (vec![host, mark, port], false, false),
            (vec![host, mark, null], false, false),
            (vec![host, mark, own, near], false, false),
            (vec![host, mark, own, none], false, false),
            (vec![mark, own], false, false),
        ] {
            assert_eq!(is_allowed(&Method::GET, &headers), get, "GET {headers:?}");
            let said = is_allowed(&Method::POST, &headers);
            assert_eq!(said, post, "POST {headers:?}");
        }
    }
}
