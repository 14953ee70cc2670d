//! Decides which addresses may be called. A URL from another party must not make the daemon reach internal services:
//! the cloud's metadata, the database, the router (server-side request forgery).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::HttpError;

/// The servers that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// All: the operator configured the URL.
    Anywhere,
    /// Servers with public addresses, and the listed hosts whatever they resolve to.
    Public {
        /// As in URLs, in lower case.
        except: BTreeSet<String>,
    },
}

impl AddressPolicy {
    /// Checks whether `address` may be called for `host`.
    ///
    /// # Errors
    /// [`HttpError::Forbidden`]
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), HttpError> {
        let Self::Public { except } = self else { return Ok(()) };
        match special_use(address) {
            Some(kind) if !except.contains(host) => {
                Err(HttpError::Forbidden { host: host.to_owned(), address, kind })
            }
            _ => Ok(()),
        }
    }
}

/// Resolves names for the HTTP client and returns only allowed addresses: the client connects to the address that was
/// checked. A separate check would resolve the name twice, and the second answer may differ (DNS rebinding).
pub(super) struct PolicyResolver(pub(super) AddressPolicy);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let (mut good, mut bad) = (Vec::<SocketAddr>::new(), None);
            for address in found {
                match reach.check(&host, address.ip()) {
                    Ok(()) => good.push(address),
                    Err(error) => bad = Some(error),
                }
            }
            match bad {
                Some(error) if good.is_empty() => Err(error.into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

/// The purpose of an address that is not public: the registries of special-purpose addresses (IANA, RFC 6890), and
/// addresses that embed one of those.
pub fn special_use(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("an address of this network (RFC 791)"),
        [127, ..] => Some("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address (RFC 1918)"),
        // Among them 169.254.169.254, where clouds serve credentials.
        [169, 254, ..] => Some("a link-local address (RFC 3927)"),
        [100, 64..=127, ..] => Some("an address of carrier-grade NAT (RFC 6598)"),
        [192, 0, 0, _] => Some("an address of protocol assignments (RFC 6890)"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("an address for documentation (RFC 5737)")
        }
        [192, 88, 99, _] => Some("a 6to4 relay (RFC 7526)"),
        [198, 18..=19, ..] => Some("an address for benchmarks (RFC 2544)"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address (RFC 1112)"),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        special_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("the loopback address"),
        // IPv4-mapped, and NAT64's well-known prefix: as public as the address inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0, 0, 0, 0, 0, 0, ..] => Some("an IPv4-compatible address (RFC 4291)"),
        [0x64, 0xff9b, ..] => Some("an address of a local NAT64 (RFC 8215)"),
        [0x100, 0, 0, _, ..] => Some("an address that discards (RFC 6666)"),
        // 6to4 contains an IPv4 address; Teredo hides one, and no webhook is served behind it.
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => {
            Some("an address for documentation (RFC 3849, RFC 9637)")
        }
        [0x2001, 0..=0x01ff, ..] => Some("an address of protocol assignments (RFC 2928)"),
        [0x5f00, ..] => Some("an address of segment routing (RFC 9602)"),
        [0xfc00..=0xfdff, ..] => Some("a unique local address (RFC 4193)"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address (RFC 4291)"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address (RFC 3879)"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // All addresses that IANA has ever assigned are in here.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address (RFC 4291)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_public_are_known_in_every_disguise() {
        let special = "0.0.0.0 0.1.2.3 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 \
            172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 \
            198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 \
            :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 64:ff9b::a9fe:a9fe \
            64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2001:10::1 2001:20::1 2002:7f00:1:: 2002:a00:1::1 \
            3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 febf::1 fec0::1 ff02::1 4000::1 1::1 fe00::1";
        for text in special.split_whitespace() {
            let address: IpAddr = text.parse().expect(text);
            assert!(special_use(address).is_some(), "{text}");
        }
        let public = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 \
            169.253.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.0.1 192.169.0.1 198.17.0.1 198.20.0.1 223.255.255.255 \
            2606:4700::1111 2a00:1450:4001::1 2001:4860:4860::8888 ::ffff:1.1.1.1 64:ff9b::101:101 2002:101:101::1";
        for text in public.split_whitespace() {
            let address: IpAddr = text.parse().expect(text);
            assert_eq!(special_use(address), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_resolves_only_to_addresses_that_may_be_called() {
        let resolve = async |reach: AddressPolicy| {
            let resolved = PolicyResolver(reach).resolve("LocalHost".parse().expect("a name")).await;
            resolved.map(|addresses| addresses.count()).map_err(|error| error.to_string())
        };
        let refused = resolve(AddressPolicy::Public { except: BTreeSet::new() }).await.expect_err("loopback");
        assert!(refused.starts_with("localhost resolves to ") && refused.contains("loopback"), "{refused}");
        assert!(
            resolve(AddressPolicy::Public { except: ["localhost".to_owned()].into() })
                .await
                .expect("allowed")
                > 0
        );
        assert!(resolve(AddressPolicy::Anywhere).await.expect("allowed") > 0);
    }
}
