//! Output of any size and any bytes.

use crate::{DEBIAN, SUITE, run, sh};
use std::time::Duration;

const LARGE_BYTES: u64 = 200_000_000;
const PEAK_MEMORY_KIB: u64 = 64 * 1024;
const LARGE_SCRIPT: &str = "yes 0123456789abcde | head -c 200000000";
const LARGE_DEADLINE: Duration = Duration::from_mins(5);

#[test]
fn two_hundred_megabytes_are_streamed() {
    let home = SUITE.with(DEBIAN);
    let large = sh(&home, &["--timeout-seconds", "280"], LARGE_SCRIPT);
    let run = large.keep_stdout(1 << 20).deadline(LARGE_DEADLINE).run().expect(0);
    assert_eq!(run.stdout_bytes, LARGE_BYTES);
    assert!(run.stdout.chunks_exact(16).all(|line| line == b"0123456789abcde\n"));
    assert!(run.peak_memory_kib < PEAK_MEMORY_KIB, "pyro took {} KiB", run.peak_memory_kib);
}

#[test]
fn a_document_holds_the_beginning_and_says_that_there_was_more() {
    let home = SUITE.with(DEBIAN);
    let script = "yes 0123456789abcde | head -c 20000000";
    let run = sh(&home, &["--json", "--timeout-seconds", "120"], script).run().expect(0);
    let result = run.json();
    assert_eq!(result["truncated"], true);
    assert_eq!(result["stdout_bytes"], 20_000_000);
    let kept = result["stdout"].as_str().unwrap();
    assert!(kept.len() >= 1 << 20 && kept.starts_with("0123456789abcde\n"), "{} bytes", kept.len());
    assert!(run.peak_memory_kib < PEAK_MEMORY_KIB, "pyro took {} KiB", run.peak_memory_kib);
}

#[test]
fn binary_output_arrives_byte_by_byte() {
    let home = SUITE.with(DEBIAN);
    let script = "binmode STDOUT; print pack('C*', 0..255) x 4096";
    let run = run(&home, &[], &["perl", "-e", script]).run().expect(0);
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(run.stdout.len(), 256 * 4096);
    assert!(run.stdout.chunks_exact(256).all(|chunk| chunk == every_byte));
}

#[test]
fn binary_output_is_named_as_such_in_a_document() {
    let home = SUITE.with(DEBIAN);
    let result = run(&home, &["--json"], &["printf", "\\377\\000x"]).run().expect(0).json();
    assert_eq!(result["binary"], true);
    assert_eq!(result["stdout"], "\u{fffd}\0x");
    assert_eq!(result["stdout_bytes"], 3);
}

#[test]
fn a_command_ends_when_nobody_reads_on() {
    let home = SUITE.with(DEBIAN);
    let endless = run(&home, &["--timeout-seconds", "100"], &["yes"]).close_stdout_after(1 << 16);
    let run = endless.deadline(Duration::from_mins(1)).run();
    assert_ne!(run.code, Some(124), "it ran until its time was up");
}
