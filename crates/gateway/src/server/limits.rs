use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use chainflume_core::settings::{KIB, MIB};

/// What callers may use of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CallerLimits {
    /// Connections of one address at the same time.
    #[serde(rename = "max_connections_per_address")]
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000_000, _, _>")]
    pub connections_per_address: usize,
    /// Connections that stay open, of one user at the same time.
    #[serde(rename = "max_connections_per_user")]
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000_000, _, _>")]
    pub connections_per_user: usize,
    /// Requests a second of one user or service.
    #[serde(rename = "requests_per_second")]
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000_000, _, _>")]
    pub requests: u32,
    /// Requests a second of one address, of those without a valid credential in a header.
    #[serde(rename = "requests_per_second_per_address")]
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000_000, _, _>")]
    pub requests_per_address: u32,
    /// How long the head of a request may take, and its body once more.
    #[serde(rename = "header_timeout")]
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 300_000, _>")]
    pub head_timeout: Duration,
    /// Bytes of the head of a request.
    #[serde(rename = "max_header_bytes")]
    #[serde(deserialize_with = "chainflume_core::settings::size::<{ 8 * KIB }, MIB, _>")]
    pub head_bytes: usize,
    /// Bytes of the body of a request.
    #[serde(rename = "max_body_bytes")]
    #[serde(deserialize_with = "chainflume_core::settings::size::<KIB, { 16 * MIB }, _>")]
    pub body_bytes: usize,
    /// How long clients may take to leave when the server stops.
    #[serde(rename = "drain_timeout")]
    #[serde(deserialize_with = "chainflume_core::settings::duration::<0, 300_000, _>")]
    pub drain: Duration,
}

impl Default for CallerLimits {
    fn default() -> Self {
        Self {
            connections_per_address: 5_000,
            connections_per_user: 100,
            requests: 100,
            requests_per_address: 1_000,
            head_timeout: Duration::from_secs(10),
            head_bytes: 32 << 10,
            body_bytes: 1 << 20,
            drain: Duration::from_secs(5),
        }
    }
}

/// A caller may send so many seconds' worth of requests at once: an application that starts again asks for everything.
const BURST_SECONDS: f64 = 20.0;
/// Callers remembered at most, some 100 bytes each. Beyond that those are forgotten who have their whole burst again.
const MAX_CALLERS: usize = 100_000;

/// How many requests each caller may send: a bucket of tokens each, filled at a steady rate.
pub(super) struct Buckets {
    per_second: u32,
    callers: Mutex<Callers>,
}

#[derive(Default)]
struct Callers {
    buckets: HashMap<String, Bucket>,
    /// When those were last looked for who can be forgotten.
    swept_at: Option<Instant>,
}

/// The requests that one caller, or one connection, may still send.
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A whole burst of so many requests a second.
    pub fn full(per_second: u32, now: Instant) -> Self {
        Self { tokens: f64::from(per_second) * BURST_SECONDS, at: now }
    }

    fn filled(&self, per_second: f64, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + since * per_second).min(per_second * BURST_SECONDS)
    }

    /// Takes one request, or returns how long to wait for the next.
    pub fn take(&mut self, per_second: u32, now: Instant) -> Result<(), Duration> {
        let per_second = f64::from(per_second);
        (self.tokens, self.at) = (self.filled(per_second, now), now);
        if self.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.tokens) / per_second));
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

impl Buckets {
    pub fn new(per_second: u32) -> Self {
        Self { per_second, callers: Mutex::default() }
    }

    /// Takes one request of `caller`, or returns how long to wait for the next.
    pub fn take(&self, caller: String, now: Instant) -> Result<(), Duration> {
        let rate = f64::from(self.per_second);
        let is_missing = |bucket: &Bucket| bucket.filled(rate, now) < rate * BURST_SECONDS;
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let Callers { buckets, swept_at } = &mut *callers;
        if buckets.len() >= MAX_CALLERS && !buckets.contains_key(&caller) {
            // At most once a second: a flood of made-up callers must not have all of them looked through for each.
            if swept_at.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1)) {
                buckets.retain(|_, bucket| is_missing(bucket));
                *swept_at = Some(now);
            }
            if buckets.len() >= MAX_CALLERS {
                return Err(Duration::from_secs(1));
            }
        }
        buckets.entry(caller).or_insert_with(|| Bucket::full(self.per_second, now)).take(self.per_second, now)
    }
}

/// Counts what is held at the same time, by name. Clones count together.
#[derive(Clone)]
pub(super) struct ConnectionPlaces<K>(Arc<Mutex<HashMap<K, usize>>>);

/// One place, until it is dropped.
pub(super) struct ConnectionPlace<K: Eq + Hash> {
    places: ConnectionPlaces<K>,
    name: K,
}

impl<K: Eq + Hash + Clone> ConnectionPlaces<K> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// One more of `name`; `None` where it has `most`.
    pub fn take(&self, name: &K, most: usize) -> Option<ConnectionPlace<K>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(name).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        held.insert(name.clone(), count + 1);
        Some(ConnectionPlace { places: self.clone(), name: name.clone() })
    }
}

impl<K: Eq + Hash> Drop for ConnectionPlace<K> {
    fn drop(&mut self) {
        let mut held = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.name);
            }
        }
    }
}

/// Whose connections are counted together: a machine has one address of version 4, and the 2^64 of a network of version 6.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_a_burst_and_then_a_steady_rate() {
        let (buckets, start) = (Buckets::new(2), Instant::now());
        let take =
            |caller: &str, millis| buckets.take(caller.to_owned(), start + Duration::from_millis(millis));
        for _ in 0..40 {
            assert_eq!(take("a", 0), Ok(()));
        }
        assert_eq!(take("a", 0), Err(Duration::from_millis(500)));
        assert_eq!(take("b", 0), Ok(()), "another caller does not notice");
        assert_eq!((take("a", 500), take("a", 500).is_err()), (Ok(()), true));
        for _ in 0..40 {
            assert_eq!(take("a", 3_600_000), Ok(()), "no more than the burst gathers");
        }
        assert!(take("a", 3_600_000).is_err());
    }

    #[test]
    fn made_up_callers_fill_no_memory() {
        let (buckets, now) = (Buckets::new(1), Instant::now());
        let refused = (0..MAX_CALLERS + 5).filter(|n| buckets.take(n.to_string(), now).is_err()).count();
        assert_eq!(refused, 5);
        let later = now + Duration::from_secs(60);
        assert_eq!(buckets.take("new".to_owned(), later), Ok(()));
        assert_eq!(buckets.callers.lock().expect("no panic").buckets.len(), 1, "who was quiet is forgotten");
    }

    #[test]
    fn places_are_given_back() {
        let places = ConnectionPlaces::new();
        let first = places.take(&"a", 2);
        let second = places.take(&"a", 2);
        assert!(first.is_some() && second.is_some() && places.take(&"a", 2).is_none());
        assert!(places.take(&"b", 2).is_some());
        drop(first);
        assert!(places.take(&"a", 2).is_some());
        drop(second);
        assert!(places.0.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let counted = |text: &str| super::counted(text.parse().expect("an address")).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(
            (counted("192.0.2.7"), counted("::ffff:192.0.2.7")),
            ("192.0.2.7".into(), "192.0.2.7".into())
        );
    }
}
