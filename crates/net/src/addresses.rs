//! Which name an address stands for: what DNS has answered, and the virtual addresses of names that go through a proxy.
//!
//! Both tables are bounded. A full one loses its oldest entry: the guest then has to ask again, which programs do.

use crate::addressing::{VIRTUAL_BASE, VIRTUAL_PREFIX};
use crate::limits::{REMEMBERED_ADDRESSES, REMEMBERED_FOR, VIRTUAL_NAMES};
use crate::policy::HostName;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// The tables. `now` is given, so that time can be tested.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    answered: HashMap<IpAddr, Answered>,
    behind: HashMap<Ipv4Addr, Answered>,
    by_name: HashMap<HostName, Ipv4Addr>,
    next: u32,
}

#[derive(Debug)]
struct Answered {
    name: HostName,
    used: Instant,
}

impl Addresses {
    /// Takes note that `address` was answered for `name`. Of two names with one address the later counts: they cannot be
    /// told apart by what a connection shows.
    pub(crate) fn remember(&mut self, address: IpAddr, name: HostName, now: Instant) {
        if !self.answered.contains_key(&address) && self.answered.len() >= REMEMBERED_ADDRESSES {
            self.answered.retain(|_, answered| now.duration_since(answered.used) < REMEMBERED_FOR);
            if self.answered.len() >= REMEMBERED_ADDRESSES
                && let Some(oldest) = oldest(&self.answered)
            {
                self.answered.remove(&oldest);
            }
        }
        self.answered.insert(address, Answered { name, used: now });
    }

    /// The name `address` was answered for not long ago. A use counts as one more answer.
    pub(crate) fn name(&mut self, address: IpAddr, now: Instant) -> Option<HostName> {
        let answered = self.answered.get_mut(&address)?;
        if now.duration_since(answered.used) >= REMEMBERED_FOR {
            self.answered.remove(&address);
            return None;
        }
        answered.used = now;
        Some(answered.name.clone())
    }

    /// The virtual address of `name`, a new one where it has none.
    pub(crate) fn virtual_address(&mut self, name: &HostName, now: Instant) -> Ipv4Addr {
        if let Some(address) = self.by_name.get(name) {
            if let Some(answered) = self.behind.get_mut(address) {
                answered.used = now;
            }
            return *address;
        }
        if self.behind.len() >= VIRTUAL_NAMES
            && let Some(oldest) = oldest(&self.behind)
            && let Some(answered) = self.behind.remove(&oldest)
        {
            self.by_name.remove(&answered.name);
        }
        let address = self.free();
        self.behind.insert(address, Answered { name: name.clone(), used: now });
        self.by_name.insert(name.clone(), address);
        address
    }

    /// The name behind a virtual address.
    pub(crate) fn virtual_name(&mut self, address: Ipv4Addr, now: Instant) -> Option<HostName> {
        let answered = self.behind.get_mut(&address)?;
        answered.used = now;
        Some(answered.name.clone())
    }

    /// Addresses go round, so that one that was given up is not another name's at once. There are 32 times as many as names.
    fn free(&mut self) -> Ipv4Addr {
        let size = 1_u32 << (32 - VIRTUAL_PREFIX);
        loop {
            self.next = (self.next + 1) % size;
            let address = Ipv4Addr::from_bits(VIRTUAL_BASE.to_bits() | self.next);
            let [.., last] = address.octets();
            if last != 0 && last != 255 && !self.behind.contains_key(&address) {
                return address;
            }
        }
    }
}

fn oldest<K: Copy>(table: &HashMap<K, Answered>) -> Option<K> {
    table.iter().min_by_key(|(_, answered)| answered.used).map(|(key, _)| *key)
}

/// Whether `address` is one that names behind a proxy get.
pub(crate) fn is_virtual(address: Ipv4Addr) -> bool {
    (address.to_bits() ^ VIRTUAL_BASE.to_bits()) >> (32 - VIRTUAL_PREFIX) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_virtual_addresses() {
        let (mut table, now) = (Addresses::default(), Instant::now());
        let (one, two): (HostName, HostName) = ("one.test".parse().unwrap(), "two.test".parse().unwrap());
        let first = table.virtual_address(&one, now);
        let second = table.virtual_address(&two, now);
        assert_ne!(first, second);
        assert!(is_virtual(first) && is_virtual(second));
        assert_eq!(table.virtual_address(&one, now), first);
        assert_eq!(table.virtual_name(first, now), Some(one));
        assert_eq!(table.virtual_name(Ipv4Addr::new(198, 19, 255, 254), now), None);
    }

    #[test]
    fn tables_do_not_grow_beyond_their_limits() {
        let (mut table, start) = (Addresses::default(), Instant::now());
        for index in 0..u32::try_from(VIRTUAL_NAMES).unwrap() + 100 {
            let now = start + std::time::Duration::from_millis(index.into());
            let name: HostName = format!("n{index}.test").parse().unwrap();
            table.virtual_address(&name, now);
            table.remember(Ipv4Addr::from_bits(0x0100_0000 + index).into(), name, now);
        }
        assert_eq!(table.behind.len(), VIRTUAL_NAMES);
        assert_eq!(table.by_name.len(), VIRTUAL_NAMES);
        assert_eq!(table.answered.len(), REMEMBERED_ADDRESSES);
        assert_eq!(table.name(Ipv4Addr::from_bits(0x0100_0000).into(), start), None, "the oldest went");
    }

    #[test]
    fn what_was_answered_is_forgotten() {
        let (mut table, now) = (Addresses::default(), Instant::now());
        let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
        table.remember(address, "a.test".parse().unwrap(), now);
        assert!(table.name(address, now + REMEMBERED_FOR / 2).is_some());
        assert!(table.name(address, now + REMEMBERED_FOR).is_some(), "used in between");
        assert!(table.name(address, now + REMEMBERED_FOR * 3).is_none());
    }
}
