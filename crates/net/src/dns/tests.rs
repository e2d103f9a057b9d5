//! Properties of what takes messages apart.

use super::message::{Parsed, Query, answer, ask, parse};
use super::{Transport, message};
use proptest::prelude::*;
use simple_dns::rdata::{A, OPT, RData, TXT};
use simple_dns::{CLASS, Name, Packet, Question, ResourceRecord, TYPE};

fn question(name: &str, kind: TYPE, extended: bool) -> Vec<u8> {
    let mut packet = Packet::new_query(1);
    packet.questions.push(Question::new(Name::new(name).unwrap(), kind.into(), CLASS::IN.into(), false));
    if extended {
        *packet.opt_mut() = Some(OPT { opt_codes: vec![], udp_packet_size: 1_232, version: 0 });
    }
    packet.build_bytes_vec().unwrap()
}

fn query(bytes: &[u8]) -> Query {
    match parse(bytes, Transport::Udp) {
        Parsed::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

/// A name server's answer with records of several kinds, compressed.
fn reply(to: &[u8]) -> Vec<u8> {
    let query = Packet::parse(to).unwrap();
    let mut reply = Packet::new_reply(query.id());
    let name = query.questions[0].qname.clone();
    reply.questions.push(query.questions[0].clone());
    let text = TXT::new().with_char_string("some text".try_into().unwrap());
    reply.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, RData::TXT(text)));
    reply.additional_records.push(ResourceRecord::new(name, CLASS::IN, 60, RData::A(A { address: 1 })));
    reply.build_bytes_vec_compressed().unwrap()
}

fn mutated(mut bytes: Vec<u8>, flips: &[(usize, u8)], cut: usize) -> Vec<u8> {
    for (at, to) in flips {
        if let Some(byte) = bytes.get_mut(*at) {
            *byte = *to;
        }
    }
    bytes.truncate(cut);
    bytes
}

fn flips() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((0..100_usize, any::<u8>()), 0..6)
}

proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Parsed::Bad(answer) = parse(&bytes, Transport::Udp) {
            prop_assert_eq!(answer.len(), 12);
        }
    }

    #[test]
    fn mutated_questions_get_answers_that_fit(extended: bool, flips in flips(), cut in 0..120_usize) {
        let bytes = mutated(question("a.example.test", TYPE::TXT, extended), &flips, cut);
        if let Parsed::Query(query) = parse(&bytes, Transport::Udp) {
            let addresses = vec![[203, 0, 113, 1].into(); 200];
            let answer = query.addresses(&addresses);
            prop_assert!(answer.len() <= 4_096 && answer[2] & 0x80 != 0);
            prop_assert!(Packet::parse(&answer).is_ok());
        }
    }

    #[test]
    fn mutated_answers_are_taken_or_left(flips in flips(), cut in 0..200_usize) {
        let query = query(&question("a.example.test", TYPE::TXT, false));
        let asked = ask(&query, 9).unwrap();
        let bytes = mutated(reply(&asked), &flips, cut);
        if let Some(packet) = answer(&bytes, &query, 9) {
            let forwarded = query.forwarded(packet, |_| true);
            prop_assert!(forwarded.len() <= 512);
            prop_assert!(Packet::parse(&forwarded).is_ok());
        }
    }
}

#[test]
fn an_answer_to_another_question_is_none() {
    let query = query(&question("a.test", TYPE::TXT, false));
    let asked = ask(&query, 9).unwrap();
    assert!(message::answer(&reply(&asked), &query, 9).is_some());
    assert!(message::answer(&reply(&asked), &query, 8).is_none());
    assert!(message::answer(&reply(&question("b.test", TYPE::TXT, false)), &query, 1).is_none());
    assert!(message::answer(&asked, &query, 9).is_none(), "a question is no answer");
    let mut many = reply(&asked);
    many[6..8].fill(0xff);
    assert!(message::answer(&many, &query, 9).is_none());
}

#[test]
fn limits_of_clients_hold() {
    for (extended, limit) in [(false, 512), (true, 1_232)] {
        let query = query(&question("a.test", TYPE::A, extended));
        let fits = query.addresses(&vec![[203, 0, 113, 1].into(); 25]);
        assert!(fits.len() <= limit && fits[2] & 2 == 0);
        let truncated = query.addresses(&vec![[203, 0, 113, 1].into(); 100]);
        assert!(truncated.len() <= limit && truncated[2] & 2 != 0, "{}", truncated.len());
    }
}
