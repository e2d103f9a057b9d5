//! manual driver
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::allow_attributes
)]
use pyro_runtime::*;
use std::sync::{Arc, Mutex};
use std::time::Instant;
struct P((), Mutex<(String, Instant, u64, u64)>);
impl P {
    fn end(&self) {
        let g = self.1.lock().unwrap();
        if !g.0.is_empty() {
            println!(
                "  {:<24} {:>7.2} s  {} of {} bytes",
                g.0,
                g.1.elapsed().as_secs_f64(),
                g.3,
                g.2
            );
        }
    }
}
impl Progress for P {
    fn phase(&self, n: &str) {
        self.end();
        *self.1.lock().unwrap() = (n.to_owned(), Instant::now(), 0, 0);
    }
    fn total(&self, b: u64) {
        self.1.lock().unwrap().2 += b;
    }
    fn advance(&self, b: u64) {
        self.1.lock().unwrap().3 += b;
    }
}
fn main() {
    let dirs = Dirs::from_env().unwrap();
    let p = Arc::new(P((), Mutex::new((String::new(), Instant::now(), 0, 0))));
    let dynp: Arc<dyn Progress> = p.clone();
    let options = bundle::EnsureOptions {
        refresh: std::env::args().any(|a| a == "--refresh"),
        check: if std::env::args().any(|a| a == "--verify") {
            bundle::Check::Contents
        } else {
            bundle::Check::Presence
        },
        ..Default::default()
    };
    let t = Instant::now();
    let r = Bundle::ensure(&dirs, &options, &dynp);
    p.end();
    let b = match r {
        Ok(b) => b,
        Err(e) => {
            use pyro_protocol::error::Diagnostic;
            println!("ERROR {} hint {:?}", pyro_protocol::error::chain(&e), e.hint());
            std::process::exit(1)
        }
    };
    println!(
        "ensure {:.2} s: {} {}",
        t.elapsed().as_secs_f64(),
        b.id(),
        b.dir().display()
    );
    println!(
        "{} files, {} bytes, {:?}",
        b.manifest().files.len(),
        b.manifest().size(),
        b.manifest().components
    );
    println!(
        "packages: {}",
        b.manifest()
            .packages
            .iter()
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let t = Instant::now();
    Bundle::open(&dirs).unwrap().unwrap();
    println!("open {:.4} s", t.elapsed().as_secs_f64());
    let t = Instant::now();
    println!(
        "initramfs {:?} {:.4} s",
        b.initramfs().unwrap(),
        t.elapsed().as_secs_f64()
    );
    let t = Instant::now();
    println!(
        "scratch {:?} {:.4} s",
        b.scratch_template().unwrap(),
        t.elapsed().as_secs_f64()
    );
    let t = Instant::now();
    println!("verify {:?} {:.4} s", b.verify(), t.elapsed().as_secs_f64());
    let out = b.command(Tool::Qemu).arg("-version").output().unwrap();
    println!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    println!("{:?}", b.command(Tool::Qemu));
    println!("{:?}", host::HostFacts::gather());
}
