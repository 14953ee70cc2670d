use reqwest::Version;
use reqwest::header::{HOST, HeaderMap};

/// What is wrong with the header `Host` of a request that a server of ours gets, in words for its client; `None` if all is well. RFC 9112
/// section 3.2: such a request is answered with 400. Behind it are proxies and caches that would read another host than the server does.
pub fn host_fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Some("HTTP/1.1 needs the header Host; send it"),
        (None, _) => None,
        (Some(_), Some(_)) => Some("the request has the header Host twice; send it once"),
        (Some(host), None) if is_host(host.as_bytes()) => None,
        (Some(_), None) => Some("the header Host is not a name or an address, with or without a port"),
    }
}

/// RFC 3986 section 3.2.2, with a port or without. A URL without a host has an empty one.
fn is_host(host: &[u8]) -> bool {
    let name = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    };
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    match name {
        [b'[', address @ .., b']'] => address.iter().all(|byte| *byte == b':' || of_name(byte)),
        name => name.iter().all(of_name),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn fault(version: Version, hosts: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).expect("a value"));
        }
        host_fault(version, &headers)
    }

    #[test]
    fn a_request_names_one_host_and_an_old_one_may_name_none() {
        assert_eq!(fault(Version::HTTP_10, &[]), None);
        assert!(fault(Version::HTTP_11, &[]).is_some_and(|text| text.contains("needs")));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            for host in ["", "localhost", "a_b.example:8080", "127.0.0.1:1", "[::1]", "[::1]:9464", "x:"] {
                assert_eq!(fault(version, &[host]), None, "{host}");
            }
            assert!(fault(version, &["a", "a"]).is_some_and(|text| text.contains("twice")));
            for host in
                ["a b", "a/b", "user@a", "a:b", "a:1:2", "::1", "\u{e4}.example", "a,b?", "[::1", "a]"]
            {
                assert!(fault(version, &[host]).is_some(), "{host}");
            }
        }
    }
}
