//! DNS messages: a guest's question taken apart, and answers put together.
//!
//! The parser reserves memory by the counts of a header, so these are looked at before it is called.

use crate::limits::{DNS_TTL, MAX_DNS_QUERY, MAX_DNS_UDP_ANSWER};
use crate::policy::HostName;
use simple_dns::rdata::{OPT, PTR, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, SimpleDnsError,
};
use std::net::IpAddr;

const HEADER: usize = 12;
/// The least that a record takes: the root's name, type, class, time to live, length.
const RECORD: usize = 11;
/// What a client takes that says nothing about it.
const PLAIN_UDP: usize = 512;
const MAX_TCP: usize = u16::MAX as usize;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A question that is well formed.
#[derive(Debug)]
pub(super) struct Query {
    id: u16,
    pub(super) question: Question<'static>,
    pub(super) kind: QTYPE,
    /// The name as a host's; none when it has other characters than those have, or is the root.
    pub(super) name: Option<HostName>,
    flags: PacketFlag,
    extended: bool,
    limit: usize,
}

/// What a message of the guest's is.
#[derive(Debug)]
pub(super) enum Parsed {
    Query(Query),
    /// No question; this is the answer to it.
    Bad(Vec<u8>),
    /// Nothing that has an answer.
    Nothing,
}

pub(super) fn parse(bytes: &[u8], transport: Transport) -> Parsed {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Parsed::Nothing };
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // An answer to an answer would go on for ever.
    if field(2) & 0x8000 != 0 {
        return Parsed::Nothing;
    }
    if field(2) & 0x7800 != 0 {
        return Parsed::Bad(refuse(header, RCODE::NotImplemented));
    }
    if bytes.len() > MAX_DNS_QUERY || (field(4), field(6), field(8)) != (1, 0, 0) || field(10) > 2 {
        return Parsed::Bad(refuse(header, RCODE::FormatError));
    }
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(SimpleDnsError::InvalidQType(_)) => return Parsed::Bad(refuse(header, RCODE::NotImplemented)),
        Err(_) => return Parsed::Bad(refuse(header, RCODE::FormatError)),
    };
    if packet.opt().is_some_and(|opt| opt.version != 0) {
        return Parsed::Bad(refuse(header, RCODE::FormatError));
    }
    let (extended, offered) =
        (packet.opt().is_some(), packet.opt().map(|opt| usize::from(opt.udp_packet_size)));
    let (id, flags) = (packet.id(), PacketFlag::RECURSION_DESIRED);
    let flags = if packet.has_flags(flags) { flags } else { PacketFlag::empty() };
    let Some(question) = packet.questions.into_iter().next() else { return Parsed::Nothing };
    if question.qclass != QCLASS::CLASS(CLASS::IN) {
        return Parsed::Bad(refuse(header, RCODE::Refused));
    }
    let limit = match transport {
        Transport::Udp => offered.unwrap_or(PLAIN_UDP).clamp(PLAIN_UDP, MAX_DNS_UDP_ANSWER),
        Transport::Tcp => MAX_TCP,
    };
    let question = question.into_owned();
    Parsed::Query(Query {
        id,
        kind: question.qtype,
        name: host_name(&question.qname),
        question,
        flags,
        extended,
        limit,
    })
}

/// An answer that is a header: for messages whose question cannot be repeated.
fn refuse(header: &[u8; HEADER], code: RCODE) -> Vec<u8> {
    let mut answer = header.to_vec();
    answer[2] = header[2] & 0x79 | 0x80;
    answer[3] = 0x80 | code as u8 & 0xf;
    answer[4..].fill(0);
    answer
}

/// Labels may hold anything, dots included; a host's name does not.
fn host_name(name: &Name<'_>) -> Option<HostName> {
    let labels: Option<Vec<&str>> = name.as_bytes().map(|label| std::str::from_utf8(label).ok()).collect();
    let labels = labels?;
    if labels.iter().any(|label| label.contains('.')) {
        return None;
    }
    labels.join(".").parse().ok()
}

impl Query {
    /// An answer without records.
    pub(super) fn empty(&self, code: RCODE) -> Vec<u8> {
        self.finish(self.reply(code))
    }

    /// The addresses of the kind that was asked for; they may be none.
    pub(super) fn addresses(&self, addresses: &[IpAddr]) -> Vec<u8> {
        let mut reply = self.reply(RCODE::NoError);
        for address in addresses {
            let data = match address {
                IpAddr::V4(address) => RData::A((*address).into()),
                IpAddr::V6(address) => RData::AAAA((*address).into()),
            };
            reply.answers.push(self.record(data));
        }
        self.finish(reply)
    }

    /// The name of an address.
    pub(super) fn pointer(&self, name: &HostName) -> Vec<u8> {
        let Ok(target) = Name::new(name.as_str()) else { return self.empty(RCODE::ServerFailure) };
        let mut reply = self.reply(RCODE::NoError);
        reply.answers.push(self.record(RData::PTR(PTR(target))));
        self.finish(reply)
    }

    /// What a name server has answered, as an answer to this question, without addresses that `refused` names.
    pub(super) fn forwarded(&self, mut answer: Packet<'_>, refused: impl Fn(IpAddr) -> bool) -> Vec<u8> {
        let mut reply = self.reply(answer.rcode());
        let keep = |record: &ResourceRecord<'_>| match &record.rdata {
            RData::A(data) => !refused(IpAddr::V4(data.address.into())),
            RData::AAAA(data) => !refused(IpAddr::V6(data.address.into())),
            RData::OPT(_) => false,
            _ => true,
        };
        for section in [&mut answer.answers, &mut answer.name_servers, &mut answer.additional_records] {
            section.retain(&keep);
        }
        reply.answers = answer.answers.into_iter().map(ResourceRecord::into_owned).collect();
        reply.name_servers = answer.name_servers.into_iter().map(ResourceRecord::into_owned).collect();
        reply.additional_records =
            answer.additional_records.into_iter().map(ResourceRecord::into_owned).collect();
        self.finish(reply)
    }

    fn reply(&self, code: RCODE) -> Packet<'static> {
        let mut reply = Packet::new_reply(self.id);
        reply.set_flags(self.flags | PacketFlag::RECURSION_AVAILABLE);
        *reply.rcode_mut() = code;
        reply.questions.push(self.question.clone());
        if self.extended {
            let udp_packet_size = u16::try_from(MAX_DNS_UDP_ANSWER).unwrap_or(u16::MAX);
            *reply.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size, version: 0 });
        }
        reply
    }

    fn record<'a>(&self, data: RData<'a>) -> ResourceRecord<'a> {
        ResourceRecord::new(self.question.qname.clone(), CLASS::IN, DNS_TTL, data)
    }

    /// As bytes. What is too long for the way it goes is left out whole, and said to be.
    fn finish(&self, mut reply: Packet<'_>) -> Vec<u8> {
        if let Ok(bytes) = reply.build_bytes_vec_compressed()
            && bytes.len() <= self.limit
        {
            return bytes;
        }
        reply.set_flags(PacketFlag::TRUNCATION);
        reply.answers.clear();
        reply.name_servers.clear();
        reply.additional_records.clear();
        reply.build_bytes_vec_compressed().unwrap_or_default()
    }
}

/// The question of `query` for a name server, under an id of our own.
pub(super) fn ask(query: &Query, id: u16) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(query.question.clone());
    let udp_packet_size = u16::try_from(MAX_DNS_UDP_ANSWER).unwrap_or(u16::MAX);
    *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size, version: 0 });
    packet.build_bytes_vec().ok()
}

/// A name server's answer to [`ask`]; none when it is something else.
pub(super) fn answer<'a>(bytes: &'a [u8], query: &Query, id: u16) -> Option<Packet<'a>> {
    let header = bytes.first_chunk::<HEADER>()?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let records = [6, 8, 10].into_iter().map(|at| usize::from(field(at))).sum::<usize>();
    if field(4) != 1 || records * RECORD > bytes.len() {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    let [question] = packet.questions.as_slice() else { return None };
    let same = question.qname == query.question.qname && question.qtype == query.kind;
    let answers = packet.has_flags(PacketFlag::RESPONSE) && packet.opcode() == OPCODE::StandardQuery;
    (packet.id() == id && same && answers).then_some(packet)
}
