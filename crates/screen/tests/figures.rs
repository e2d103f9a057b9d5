//! Figures: `cargo test --release -p pyro-screen --test figures -- --ignored --nocapture`.

use std::time::Instant;

use pyro_screen::{MAX_INPUT_BYTES, render};

#[test]
#[ignore = "prints figures"]
fn figures() {
    for (name, piece) in [
        ("text", "   Compiling pyro-screen v0.1.0 (/tmp/work)\r\nwarning: unused variable: `x`\r\n"),
        ("colours", "\x1b[1m\x1b[32m   Compiling\x1b[0m \x1b[38;5;12mlibc\x1b[m\r\n"),
        ("progress", "\r\x1b[K[=======>        ] 12/345"),
        ("line ends", "\n"),
        ("repeat", "x\x1b[65535b"),
        ("clear", "x\x1b[999b\x1b[2J"),
        ("reset", "\x1bc"),
        ("scroll", "\x1b[1;29r\x1b[999S"),
    ] {
        let bytes = piece.repeat(MAX_INPUT_BYTES / piece.len());
        for (cols, rows) in [(120, 30), (1000, 500), (1000, 2), (2, 500)] {
            let started = Instant::now();
            let rendered = render(bytes.as_bytes(), cols, rows, &[]);
            let (taken, simplified) = (started.elapsed(), rendered.simplified);
            println!("{name:9} {cols:4}x{rows:<3} {:5} ms, simplified: {simplified}", taken.as_millis());
        }
    }
}
