//! URLs and addresses that are refused, and those that are not.

use proptest::prelude::*;

use super::*;

#[test]
fn url_with_any_spelling_of_a_private_address_is_refused() {
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "①②⑦.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "[::]",
        "0.0.0.0",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "168.63.129.16",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[ff02::1]",
        "224.0.0.1",
        "255.255.255.255",
        "localhost",
        "a.localhost",
        "localhost.",
        "localhost..",
        "[2001:470::5efe:a00:1]",
        "[2001:470::200:5efe:7f00:1]",
        "[2001:470::300:5efe:a9fe:a9fe]",
    ] {
        let refused = check_url(&format!("https://{host}/hook"), false, &[]);
        assert!(
            matches!(refused, Err(UrlError::Forbidden(_))),
            "{host}: {refused:?}"
        );
    }
}

#[test]
fn url_with_a_public_address_or_name_is_accepted() {
    for host in [
        "example.com",
        "8.8.8.8",
        "[2606:4700::1111]",
        "example.com:8443",
        "172.32.0.1",
        "[2001:470::5efe:808:808]",
        "example.com.",
        "xn--bcher-kva.example",
        "1.2.3.4.example",
        "a_b.example",
        "bücher.example",
    ] {
        assert!(
            check_url(&format!("https://{host}/hook?key=1"), false, &[]).is_ok(),
            "{host}"
        );
    }
}

#[test]
fn url_with_another_fault_gets_the_error_for_it() {
    let fault = |text: &str| check_url(text, false, &[]).expect_err("refused");
    assert_eq!(fault("http://example.com/"), UrlError::NotHttps);
    assert_eq!(fault("ftp://example.com/"), UrlError::NotHttps);
    assert_eq!(fault("https://user:pw@example.com/"), UrlError::Credentials);
    assert_eq!(fault("https://example.com/#top"), UrlError::Fragment);
    assert_eq!(fault("example.com/hook"), UrlError::Malformed);
    assert_eq!(
        fault(&format!("https://example.com/{}", "x".repeat(2048))),
        UrlError::TooLong
    );
    assert!(check_url("http://example.com/", true, &[]).is_ok());
}

#[test]
fn url_that_is_shown_is_the_one_that_is_sent() {
    for (given, sent) in [
        (" https://example.com/\r\n", "https://example.com/"),
        ("\u{feff}https://example.com\u{a0}", "https://example.com/"),
        ("https://example.com/a/../b", "https://example.com/b"),
        ("HTTPS://Example.COM:443/A", "https://example.com/A"),
        (
            "https://bücher.example/ü",
            "https://xn--bcher-kva.example/%C3%BC",
        ),
        (
            "https://example.com/%2e%2e/x?a=b c"
                .replace(' ', "%20")
                .as_str(),
            "https://example.com/x?a=b%20c",
        ),
    ] {
        let url = check_url(given, false, &[]).expect("accepted");
        assert_eq!(url.as_str(), sent, "{given:?}");
    }
}

#[test]
fn url_that_cannot_be_meant_is_refused() {
    use UrlError::{Backslash, Blank, HostName, Malformed, Port};
    let label = "a".repeat(64);
    let name = vec!["abc"; 64].join(".");
    for (host, error) in [
        ("example.com:0", Port),
        ("example.com..", HostName),
        ("a..example.com", HostName),
        (".example.com", HostName),
        ("127.0.0.1..", HostName),
        ("8.8.8.8..", HostName),
        (&format!("{label}.example"), HostName),
        (&name, HostName),
        ("exa mple.com", Blank),
        ("example.com/a\nb", Blank),
        ("example.com/a\tb", Blank),
        ("example.com/a\u{202e}b", Blank),
        ("example.com\\x", Backslash),
        ("/example.com/", Malformed),
    ] {
        let refused = check_url(&format!("https://{host}"), false, &[]);
        assert_eq!(refused, Err(error), "{host}");
    }
    for text in [
        "https:example.com",
        "https:/example.com",
        "https:\\example.com\\x",
        "//a.b/",
        "",
    ] {
        assert!(check_url(text, false, &[]).is_err(), "{text}");
    }
    // What older versions stored still goes out.
    assert!(judge_url("https://example.com/\n", false, &[]).is_ok());
}

#[test]
fn address_in_an_allowed_range_is_accepted_and_others_are_not() {
    let allow = ["127.0.0.0/8".parse().expect("a range")];
    assert!(check_url("http://127.0.0.1:80/", true, &allow).is_ok());
    assert!(check_url("https://10.0.0.1/", true, &allow).is_err());
    assert_eq!(
        forbidden("::ffff:127.0.0.1".parse().expect("an address"), &allow),
        None
    );
}

proptest! {
    #[test]
    fn address_that_std_calls_special_is_forbidden(bits: u32) {
        let address = Ipv4Addr::from(bits);
        let special = address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_unspecified();
        prop_assert!(!special || forbidden(address.into(), &[]).is_some());
    }

    #[test]
    fn mapped_address_is_judged_like_its_ipv4_address(bits: u32) {
        let address = Ipv4Addr::from(bits);
        let mapped = forbidden(address.to_ipv6_mapped().into(), &[]);
        prop_assert_eq!(mapped, forbidden(address.into(), &[]));
    }
}
