use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.0/8` or one address; `None` for anything else, also where bits behind the prefix are set.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            None => (text.parse::<IpAddr>().ok()?, None),
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse::<u32>().ok()?)),
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        let this = Self { address, bits: bits.unwrap_or(width) };
        let is_whole = |this: &Self| {
            this.bits <= width
                && this.shifted(address).checked_shl(this.rest()).unwrap_or(0) == number(address)
        };
        Some(this).filter(is_whole)
    }

    /// Whether `address` is one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && (self.bits == 0 || self.shifted(address) == self.shifted(self.address))
    }

    fn rest(&self) -> u32 {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        u32::saturating_sub(width, self.bits)
    }

    fn shifted(&self, address: IpAddr) -> u128 {
        number(address).checked_shr(self.rest()).unwrap_or(0)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// Who asks, by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// The address that is counted and logged.
    pub address: IpAddr,
    /// Whether a trusted proxy named it.
    pub is_proxied: bool,
}

impl Client {
    /// The header `X-Forwarded-For` counts only from a proxy that is trusted. Each proxy appends whom it heard from, so the list is read
    /// from its end: the first address that is no trusted proxy is the client, and the addresses before it are the client's own word.
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.has(address));
        let peer = peer.to_canonical();
        let mut this = Self { address: peer, is_proxied: false };
        if !is_trusted(peer) {
            return this;
        }
        let lists = headers.get_all("x-forwarded-for").iter().rev();
        for hop in lists.flat_map(|list| list.to_str().unwrap_or("?").rsplit(',')) {
            // Who comes before a hop that cannot be read is not known.
            let Some(address) = address(hop.trim()) else { break };
            this = Self { address, is_proxied: true };
            if !is_trusted(address) {
                break;
            }
        }
        this
    }
}

/// Some proxies write a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address =
        bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(peer: &str, lists: &[&str]) -> (String, bool) {
        let trusted =
            ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"].map(|text| Network::parse(text).expect("a network"));
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append("x-forwarded-for", HeaderValue::from_str(list).expect("a value"));
        }
        let client = Client::of(peer.parse().expect("an address"), &headers, &trusted);
        (client.address.to_string(), client.is_proxied)
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        assert_eq!(of("203.0.113.9", &["198.51.100.1"]), ("203.0.113.9".into(), false));
        assert_eq!(of("10.1.2.3", &["198.51.100.1"]), ("198.51.100.1".into(), true));
        assert_eq!(of("::ffff:10.1.2.3", &["198.51.100.1"]), ("198.51.100.1".into(), true));
        assert_eq!(of("10.1.2.3", &[]), ("10.1.2.3".into(), false));
    }

    #[test]
    fn what_the_client_wrote_itself_does_not_count() {
        assert_eq!(of("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), ("198.51.100.1".into(), true));
        assert_eq!(of("10.0.0.1", &["1.1.1.1", "198.51.100.1,192.0.2.1"]), ("198.51.100.1".into(), true));
        assert_eq!(of("10.0.0.1", &["1.1.1.1, x, 10.0.0.2"]), ("10.0.0.2".into(), true));
        assert_eq!(of("2001:db8::1", &["[2001:db9::7]:443"]), ("2001:db9::7".into(), true));
        assert_eq!(of("192.0.2.1", &["198.51.100.1:80"]), ("198.51.100.1".into(), true));
    }

    #[test]
    fn networks_are_written_whole() {
        for text in ["10.0.0.1/8", "10.0.0.0/33", "x", "", "10.0.0.0/", "::/129", "1.2.3.4/-1"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        let any = Network::parse("0.0.0.0/0").expect("a network");
        assert!(any.has([1, 2, 3, 4].into()) && !any.has("::1".parse().expect("an address")));
        assert!(Network::parse("::/0").expect("a network").has("::1".parse().expect("an address")));
        assert!(!Network::parse("192.0.2.1").expect("one").has([192, 0, 2, 2].into()));
    }
}
