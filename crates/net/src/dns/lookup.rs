//! Addresses of names by the host's own resolver: what the host itself would reach, hosts file and all.
//!
//! A lookup holds a thread and cannot be ended. So there are few at once, equal ones are one, and one that takes too long
//! keeps its place until it is over, while whoever waited for it goes on.

use crate::limits::{
    DNS_CACHE, DNS_CACHE_FOR, DNS_NEGATIVE_CACHE_FOR, LOOKUP_TIMEOUT, LOOKUPS, MAX_ADDRESSES,
};
use crate::policy::HostName;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

/// Who knows the addresses of names.
#[derive(Debug, Clone, Default)]
pub enum Hosts {
    /// The host's resolver.
    #[default]
    System,
    /// This table, and nobody else.
    Fixed(HashMap<HostName, Vec<IpAddr>>),
}

/// What came of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Addresses(Arc<[IpAddr]>),
    NoName,
    Failed,
}

#[derive(Debug)]
pub(super) struct Lookups {
    hosts: Hosts,
    places: Arc<Semaphore>,
    cache: Mutex<HashMap<HostName, Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    made: Instant,
    found: Arc<OnceCell<Found>>,
}

impl Lookups {
    pub(super) fn new(hosts: Hosts) -> Self {
        Self { hosts, places: Arc::new(Semaphore::new(LOOKUPS)), cache: Mutex::default() }
    }

    /// The addresses of `name`, and whether this call is the one that has found them.
    pub(super) async fn find(&self, name: &HostName) -> (Found, bool) {
        let cell = self.cell(name, Instant::now());
        let mut first = false;
        let found = cell.get_or_init(|| {
            first = true;
            self.look_up(name)
        });
        let found = found.await.clone();
        (found, first)
    }

    /// Where the answer for `name` is or will be.
    fn cell(&self, name: &HostName, now: Instant) -> Arc<OnceCell<Found>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cache.get(name).filter(|cached| cached.is_good(now)) {
            return Arc::clone(&cached.found);
        }
        if cache.len() >= DNS_CACHE {
            cache.retain(|_, cached| cached.is_good(now));
        }
        let cached = Cached { made: now, found: Arc::default() };
        // A cache that is full of good entries stays as it is: they are good for half a minute.
        if cache.len() < DNS_CACHE || cache.contains_key(name) {
            cache.insert(name.clone(), cached.clone());
        }
        cached.found
    }

    async fn look_up(&self, name: &HostName) -> Found {
        if let Hosts::Fixed(table) = &self.hosts {
            return table
                .get(name)
                .map_or(Found::NoName, |addresses| Found::Addresses(addresses.as_slice().into()));
        }
        let (places, name) = (Arc::clone(&self.places), name.as_str().to_owned());
        let waited = async move {
            let Ok(place) = places.acquire_owned().await else { return Found::Failed };
            // Ends with the host's resolver; its place bounds how many of them there are.
            let task = tokio::spawn(async move {
                let found = system(&name).await;
                drop(place);
                found
            });
            task.await.unwrap_or(Found::Failed)
        };
        timeout(LOOKUP_TIMEOUT, waited).await.unwrap_or(Found::Failed)
    }
}

impl Cached {
    fn is_good(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.made);
        match self.found.get() {
            // Somebody is looking it up, or has given up on it.
            None => age < LOOKUP_TIMEOUT,
            Some(Found::Addresses(_)) => age < DNS_CACHE_FOR,
            Some(Found::NoName | Found::Failed) => age < DNS_NEGATIVE_CACHE_FOR,
        }
    }
}

async fn system(name: &str) -> Found {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
                    addresses.push(address);
                }
            }
            Found::Addresses(addresses.into())
        }
        Err(error) if is_no_name(&error) => Found::NoName,
        Err(_) => Found::Failed,
    }
}

/// The library's codes come as text only. Those that are not about the name are these.
fn is_no_name(error: &io::Error) -> bool {
    let text = error.to_string();
    let others = ["Temporary failure", "System error", "Non-recoverable", "Memory", "memory"];
    error.raw_os_error().is_none() && !others.iter().any(|other| text.contains(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_kept_and_shared() {
        let name: HostName = "a.test".parse().unwrap();
        let lookups =
            Lookups::new(Hosts::Fixed(HashMap::from([(name.clone(), vec![[203, 0, 113, 1].into()])])));
        let (found, first) = lookups.find(&name).await;
        assert_eq!(found, Found::Addresses(Arc::from([IpAddr::from([203, 0, 113, 1])])));
        assert!(first);
        assert!(!lookups.find(&name).await.1);
        assert_eq!(lookups.find(&"b.test".parse().unwrap()).await, (Found::NoName, true));
    }

    #[tokio::test]
    async fn the_cache_has_an_end() {
        let lookups = Lookups::new(Hosts::Fixed(HashMap::new()));
        for index in 0..DNS_CACHE + 50 {
            lookups.find(&format!("n{index}.test").parse().unwrap()).await;
        }
        assert_eq!(lookups.cache.lock().unwrap().len(), DNS_CACHE);
    }

    #[test]
    fn failures_are_told_from_missing_names() {
        let of = |text: &str| is_no_name(&io::Error::other(text.to_owned()));
        assert!(of("failed to lookup address information: Name or service not known"));
        assert!(of("failed to lookup address information: No address associated with hostname"));
        assert!(!of("failed to lookup address information: Temporary failure in name resolution"));
        assert!(!is_no_name(&io::Error::from_raw_os_error(24)));
    }
}
