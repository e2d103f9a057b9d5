//! Streams as programs and people see them.

#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use pyro_redact::{MAX_SECRETS, MAX_VALUE_BYTES, Redactor, Secrets, SecretsError};

fn secrets(values: &[&str]) -> Secrets {
    Secrets::new(values.iter().map(|value| ("TOKEN", value))).expect("values within the bounds")
}

fn redacted(values: &[&str], text: &str) -> String {
    String::from_utf8(secrets(values).redact(text.as_bytes()).into_owned()).expect("text stays text")
}

#[test]
fn what_programs_print() {
    let token = "hunter2-longer\n";
    for (text, expected) in [
        ("nothing here", "nothing here"),
        ("", ""),
        ("token=hunter2-longer\r\n", "token=[REDACTED]\r\n"),
        ("hunter2-longerhunter2-longer", "[REDACTED][REDACTED]"),
        ("hunter2-longe", "hunter2-longe"),
        // printf %s "$TOKEN" | base64; echo "$TOKEN" | base64
        ("aHVudGVyMi1sb25nZXI=\n", "[REDACTED]\n"),
        ("aHVudGVyMi1sb25nZXIK\n", "[REDACTED]K\n"),
        // Basic authentication: user:hunter2-longer
        ("Authorization: Basic dXNlcjpodW50ZXIyLWxvbmdlcg==", "Authorization: Basic dXNlcjp[REDACTED]"),
        ("Basic dXNlcjpo\r\ndW50ZXIyLWxv\nbmdlcg==", "Basic dXNlcjp[REDACTED]"),
    ] {
        assert_eq!(redacted(&[token], text), expected, "{text:?}");
    }
}

#[test]
fn odd_values_in_urls_and_json() {
    let value = "pä ss/\"w\"+\n2";
    for text in [
        "pä ss/\"w\"+\r\n2",
        "p%C3%A4%20ss%2F%22w%22%2B%0A2",
        "p%c3%a4%20ss/%22w%22%2b%0a2",
        "p%C3%A4+ss%2F%22w%22%2B%0A2",
        r#"pä ss/\"w\"+\n2"#,
        r#"p\u00e4 ss/\"w\"+\n2"#,
    ] {
        assert_eq!(redacted(&[value], &format!("<{text}>")), "<[REDACTED]>", "{text:?}");
    }
}

#[test]
fn short_values_are_encoded_only_alone() {
    for (text, expected) in [
        ("YWJjZA==", "[REDACTED]"),
        ("x=YWJjZA\n", "x=[REDACTED]\n"),
        ("YWJjZAo= ", "[REDACTED] "),
        ("xYWJjZA==", "xYWJjZA=="),
        ("YWJjZAx", "YWJjZAx"),
        ("xabcdx", "x[REDACTED]x"),
    ] {
        assert_eq!(redacted(&["abcd"], text), expected, "{text:?}");
    }
}

#[test]
fn secrets_that_overlap_show_nothing_of_each_other() {
    for (text, expected) in [
        ("abcdefgh", "[REDACTED]"),
        ("abcdefghij", "[REDACTED]"),
        ("abcdef", "[REDACTED]"),
        ("defghix", "[REDACTED]x"),
        ("defghij", "[REDACTED]"),
        ("abcdabcdef", "abcd[REDACTED]"),
    ] {
        assert_eq!(redacted(&["abcdef", "defghi", "abcdefgh", "efghij", "abcdef"], text), expected, "{text}");
    }
}

#[test]
fn a_prompt_is_not_held() {
    let mut redactor = Redactor::new(&secrets(&["$ecret-value"]));
    let mut out = Vec::new();
    redactor.push(b"user@host:~# ", &mut out);
    assert_eq!((out.as_slice(), redactor.pending()), (b"user@host:~# ".as_slice(), 0));
    redactor.push(b"$", &mut out);
    assert_eq!((out.len(), redactor.pending()), (13, 1), "it may be the secret");
    redactor.push(b" ", &mut out);
    assert_eq!((out.as_slice(), redactor.pending()), (b"user@host:~# $ ".as_slice(), 0));
}

#[test]
fn what_was_given_up_is_still_known() {
    let mut redactor = Redactor::new(&secrets(&["secret-value"]));
    let mut out = Vec::new();
    redactor.push(b"a sec", &mut out);
    redactor.give_up(&mut out);
    assert_eq!(out, b"a sec");
    redactor.push(b"ret-", &mut out);
    assert_eq!((out.as_slice(), redactor.pending()), (b"a sec".as_slice(), 4));
    redactor.give_up(&mut out);
    redactor.push(b"value, and secret-value", &mut out);
    assert_eq!(out, b"a secret-[REDACTED], and [REDACTED]");
    redactor.push(b" sec", &mut out);
    redactor.flush(&mut out);
    redactor.push(b"ret-value", &mut out);
    redactor.flush(&mut out);
    assert!(out.ends_with(b" secret-value"), "the end of a stream is the end of what may be a secret");
    assert_eq!(redactor.marks(), 2);
}

#[test]
fn values_out_of_bounds_are_refused() {
    let error = |value: &[u8]| Secrets::new([("TOKEN", value)]).expect_err("refused");
    assert_eq!(error(b"abc\n"), SecretsError::TooShort { name: "TOKEN".into(), len: 3 });
    assert_eq!(error(b""), SecretsError::TooShort { name: "TOKEN".into(), len: 0 });
    let long = vec![b'a'; MAX_VALUE_BYTES + 1];
    assert_eq!(error(&long), SecretsError::TooLong { name: "TOKEN".into(), len: long.len() });
    let many = |count| Secrets::new((0..count).map(|number| ("TOKEN", format!("value-{number}"))));
    assert!(many(MAX_SECRETS).is_ok());
    assert_eq!(many(MAX_SECRETS + 1).expect_err("refused"), SecretsError::TooMany);
    assert!(
        !format!("{:?} {:?}", secrets(&["hunter2"]), Redactor::new(&secrets(&["hunter2"])))
            .contains("hunter")
    );
}

#[test]
fn no_secrets_change_nothing() {
    let secrets = Secrets::new::<&str, &[u8]>([]).expect("none");
    assert!(secrets.is_empty());
    let mut out = Vec::new();
    let mut redactor = Redactor::new(&secrets);
    redactor.push(b"abc", &mut out);
    assert_eq!((out.as_slice(), redactor.pending()), (b"abc".as_slice(), 0));
}

#[test]
fn the_longest_value_in_all_its_forms() {
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let value: Vec<u8> = (0..MAX_VALUE_BYTES).map(|_| random() | 1).collect();
    let secrets = Secrets::new([("KEY", &value)]).expect("as long as may be");
    let mut redactor = Redactor::new(&secrets);
    let mut out = Vec::new();
    for piece in [b"<", value.as_slice(), b">"].concat().chunks(7) {
        redactor.push(piece, &mut out);
    }
    redactor.flush(&mut out);
    assert_eq!(out, b"<[REDACTED]>");
}

/// Would not end if any byte were looked at more than a few times: the stream is always in the middle of the value.
#[test]
fn hostile_input_takes_linear_time() {
    let mut periodic = "a".repeat(MAX_VALUE_BYTES - 1);
    periodic.push('b');
    let input = vec![b'a'; 1 << 20];
    for secrets in [secrets(&[&periodic]), secrets(&[&"a".repeat(MAX_VALUE_BYTES)]), secrets(&["aaaa"])] {
        for len in [1, 4096, input.len()] {
            let mut redactor = Redactor::new(&secrets);
            let mut out = Vec::new();
            for piece in input[..input.len().min(len << 18)].chunks(len) {
                redactor.push(piece, &mut out);
                out.clear();
            }
            assert!(redactor.pending() < MAX_VALUE_BYTES);
        }
    }
    // Base64 of zeros, in lines: each byte ends an occurrence, and lines end inside it.
    let zeros = Secrets::new([("ZEROS", vec![0; MAX_VALUE_BYTES])]).expect("as long as may be");
    let lines = [b"A".repeat(76), b"\r\n".to_vec()].concat().repeat(5_000);
    assert_eq!(&*zeros.redact(&lines), b"[REDACTED]\r\n");
}
