//! What the stream does, said plainly and slowly, and compared with it.

use proptest::prelude::*;

use crate::breaks::MAX_BREAK;
use crate::encode::is_base64;
use crate::forms::{self, Form, Kind};
use crate::{MARK, Redactor, Secrets};

/// The end of `form` when it is at `start` in `text`, with what belongs to it behind.
fn end_of(form: &Form, text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    for (index, byte) in form.bytes.iter().enumerate() {
        if index > 0 && matches!(form.kind, Kind::Encoded { .. }) {
            let line_ends = text[at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if line_ends > MAX_BREAK {
                return None;
            }
            at += line_ends;
        }
        if text.get(at) != Some(byte) {
            return None;
        }
        at += 1;
    }
    let digit = match form.kind {
        Kind::Plain => return Some(at),
        Kind::Encoded { mixed } => mixed,
        Kind::Alone => {
            let digit =
                |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|&byte| is_base64(byte));
            if digit(start.checked_sub(1)) || digit(Some(at)) {
                return None;
            }
            false
        }
    };
    at += usize::from(digit && text.get(at).is_some_and(|&byte| is_base64(byte)));
    Some(at + text[at..].iter().take(2).take_while(|&&byte| byte == b'=').count())
}

/// `text` without every occurrence of every form.
fn reference(values: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for value in values {
        forms::add(&mut all, forms::core(value));
    }
    let mut found: Vec<(usize, usize)> = (0..text.len())
        .flat_map(|start| all.iter().filter_map(move |form| Some((start, end_of(form, text, start)?))))
        .collect();
    found.sort_unstable();
    let mut out = Vec::new();
    let mut at = 0;
    let mut found = found.into_iter().peekable();
    while let Some((start, mut end)) = found.next() {
        while let Some((_, further)) = found.next_if(|&(next, _)| next < end) {
            end = end.max(further);
        }
        out.extend_from_slice(&text[at..start]);
        out.extend_from_slice(MARK);
        at = end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

fn stream<'a>(secrets: &Secrets, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut redactor = Redactor::new(secrets);
    let mut out = Vec::new();
    let mut total = 0;
    for piece in pieces {
        total += piece.len();
        redactor.push(piece, &mut out);
        assert!(redactor.pending() <= total);
    }
    redactor.flush(&mut out);
    assert_eq!(redactor.pending(), 0);
    out
}

fn named(values: &[Vec<u8>]) -> Secrets {
    Secrets::new(values.iter().map(|value| ("NAME", value))).expect("values within the bounds")
}

/// A few letters, so that values overlap with themselves and each other, or letters that are escaped.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ab]{4,12}".prop_map(String::into_bytes),
        "[ab]{1,3}[ \n/\"ä]{1,4}[ab+]{3,30}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 8..90)
            .prop_filter("too short", |value| forms::core(value).len() >= crate::MIN_VALUE_BYTES),
    ]
}

/// Text made of forms, whole and broken, and of noise.
fn text(values: &[Vec<u8>]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let mut all = Vec::new();
    for value in values {
        forms::add(&mut all, forms::core(value));
    }
    let forms: Vec<Vec<u8>> = all.into_iter().map(|form| form.bytes).collect();
    let form = proptest::sample::select(forms);
    let piece = prop_oneof![
        form.clone(),
        (form.clone(), any::<prop::sample::Index>())
            .prop_map(|(form, at)| form[..at.index(form.len())].to_vec()),
        (form.clone(), any::<prop::sample::Index>())
            .prop_map(|(form, at)| form[at.index(form.len())..].to_vec()),
        (form, 1_usize..20, "[\r\n]{1,3}")
            .prop_map(|(form, width, end)| form.chunks(width).collect::<Vec<_>>().join(end.as_bytes())),
        "[ab]{0,12}".prop_map(String::into_bytes),
        "[=\r\n A-Z/+_-]{0,4}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn case() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>, Vec<usize>)> {
    proptest::collection::vec(value(), 1..4).prop_flat_map(|values| {
        let text = text(&values);
        (Just(values), text, proptest::collection::vec(1_usize..9, 1..40))
    })
}

/// `text` in pieces of these lengths, again and again.
fn pieces<'a>(mut text: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    lengths.iter().cycle().map_while(move |&len| {
        let piece = text.split_off(..len.min(text.len()))?;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn same_as_the_reference_in_any_pieces((values, text, lengths) in case()) {
        let secrets = named(&values);
        let expected = reference(&values, &text);
        prop_assert_eq!(&*secrets.redact(&text), &expected);
        prop_assert_eq!(&stream(&secrets, pieces(&text, &lengths)), &expected);
        prop_assert_eq!(&stream(&secrets, text.chunks(1)), &expected);
    }

    #[test]
    fn giving_up_keeps_every_mark((values, text, lengths) in case()) {
        let secrets = named(&values);
        let mut redactor = Redactor::new(&secrets);
        let (mut out, mut sure) = (Vec::new(), Vec::new());
        let mut other = Redactor::new(&secrets);
        for piece in pieces(&text, &lengths) {
            redactor.push(piece, &mut out);
            other.push(piece, &mut sure);
            redactor.give_up(&mut out);
            prop_assert_eq!(redactor.pending(), 0);
        }
        redactor.flush(&mut out);
        other.flush(&mut sure);
        prop_assert!(redactor.marks() >= other.marks());
    }

    #[test]
    fn held_is_only_what_begins_like_a_form((values, text, lengths) in case()) {
        let secrets = named(&values);
        let mut all = Vec::new();
        for value in &values {
            forms::add(&mut all, forms::core(value));
        }
        let mut redactor = Redactor::new(&secrets);
        let mut out = Vec::new();
        let mut so_far = Vec::new();
        for piece in pieces(&text, &lengths) {
            redactor.push(piece, &mut out);
            so_far.extend_from_slice(piece);
            let held = &so_far[so_far.len() - redactor.pending()..];
            let unfolded: Vec<u8> = held.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            let begins = |form: &Form| match form.kind {
                Kind::Encoded { .. } => form.bytes.starts_with(&unfolded),
                _ => form.bytes.starts_with(held),
            };
            prop_assert!(held.is_empty() || all.iter().any(begins), "{:?}", held);
        }
    }
}
