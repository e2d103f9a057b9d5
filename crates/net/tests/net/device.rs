//! The link of the guest's stack: two queues.

use bytes::Bytes;
use pyro_net::MTU;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;

#[derive(Default)]
pub struct Queues {
    pub received: VecDeque<Bytes>,
    pub sent: VecDeque<Bytes>,
}

pub struct Take(Bytes);
pub struct Give<'a>(&'a mut VecDeque<Bytes>);

impl RxToken for Take {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Give<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push_back(packet.into());
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Take;
    type TxToken<'a> = Give<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Take, Give<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Take(packet), Give(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Give<'_>> {
        (self.sent.len() < 64).then_some(Give(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}
