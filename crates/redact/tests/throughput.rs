//! Figures: `cargo test --release -p pyro-redact --test throughput -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use pyro_redact::{Redactor, Secrets};

const SIZE: usize = 64 << 20;

/// Time that this thread has run, whatever else the machine does.
fn cpu_nanoseconds() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "prints figures"]
fn throughput() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_be_bytes()
    };
    let line = b"   Compiling pyro-redact v0.1.0 (/tmp/work)\nwarning: unused variable: `x`, 0x7f3a\n";
    let text: Vec<u8> = line.iter().copied().cycle().take(SIZE).collect();
    let noise: Vec<u8> = (0..SIZE / 4).flat_map(|_| random()[4..].to_vec()).collect();
    let values: Vec<String> = (0..20)
        .map(|_| format!("{:x}", u128::from_be_bytes([random(), random()].concat().try_into().unwrap())))
        .collect();
    for count in [0, 1, 8, 20] {
        let secrets = Secrets::new(values[..count].iter().map(|value| ("TOKEN", value))).unwrap();
        for (name, data) in [("text", &text), ("random", &noise)] {
            let mut out = Vec::new();
            let mut len = 0;
            let mut redactor = Redactor::new(&secrets);
            let started = cpu_nanoseconds();
            for piece in data.chunks(32 * 1024) {
                redactor.push(piece, &mut out);
                len += out.len();
                out.clear();
            }
            redactor.flush(&mut out);
            let nanoseconds = cpu_nanoseconds() - started;
            assert_eq!(len + out.len(), SIZE);
            println!("{count:2} secrets, {name:6}: {} MB/s", SIZE as u64 * 1000 / nanoseconds);
        }
    }
}
