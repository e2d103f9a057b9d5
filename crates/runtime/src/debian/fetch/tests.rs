//! Downloads from a mirror on the loopback interface: whole, broken off, tampered with, refused.

use std::time::Duration;

use pyro_protocol::error::{Diagnostic, ErrorKind};

use super::*;
use crate::debian::testing::{Behaviour, Signer, TestMirror};
use crate::debian::{Archive, MirrorOrigin};
use crate::progress::Silent;

const QUICK: Patience = Patience {
    connect: Duration::from_secs(5),
    stall: Duration::from_secs(5),
    total: Duration::from_secs(20),
    backoff: Duration::from_millis(1),
    attempts: 3,
};

struct Setup {
    mirror: TestMirror,
    signer: Signer,
    dir: tempfile::TempDir,
}

impl Setup {
    fn new(packages: &[(&str, &[u8], &str)]) -> Self {
        let setup =
            Self { mirror: TestMirror::new(), signer: Signer::new(), dir: tempfile::tempdir().unwrap() };
        setup.mirror.publish(&setup.signer, packages);
        setup
    }

    fn fetcher_with(&self, progress: Arc<dyn Progress>) -> Fetcher {
        let mirror = Mirror::new(&self.mirror.url(), MirrorOrigin::Environment).unwrap();
        let cache = self.dir.path().join("debian");
        Fetcher::with_parts(mirror, self.signer.keyring(), cache, QUICK, progress).unwrap()
    }

    fn fetcher(&self) -> Fetcher {
        self.fetcher_with(Arc::new(Silent))
    }

    fn package(&self, name: &str) -> Package {
        let archive = Archive::open("trixie", &self.fetcher()).unwrap();
        archive.resolve(&[name], &[]).unwrap().remove(0)
    }

    fn fetch(&self, package: &Package) -> Result<Vec<u8>, DebianError> {
        let files = self.fetcher().packages(std::slice::from_ref(package))?;
        Ok(std::fs::read(&files[0]).unwrap())
    }

    fn pool(&self) -> Vec<String> {
        let dir = std::fs::read_dir(self.dir.path().join("debian/pool")).unwrap();
        dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

const PATH: &str = "pool/main/big_1.0-1_amd64.deb";

#[test]
fn a_package_travels_from_the_release_to_the_cache() {
    let big = content(300_000);
    let setup = Setup::new(&[("big", &big, "Depends: small\n"), ("small", b"s", "")]);
    let progress = Arc::new(Counter::default());
    let fetcher = setup.fetcher_with(progress.clone());
    let archive = Archive::open("trixie", &fetcher).unwrap();
    assert_eq!(archive.info().codename, "trixie");
    let packages = archive.resolve(&["big"], &[]).unwrap();
    let before = progress.advanced();
    let files = fetcher.packages(&packages).unwrap();
    assert_eq!(progress.advanced() - before, 300_001);
    assert_eq!(std::fs::read(&files[0]).unwrap(), big);
    let requests = setup.mirror.requests().len();
    // Everything is there: only the release file is asked for again.
    let archive = Archive::open("trixie", &fetcher).unwrap();
    fetcher.packages(&archive.resolve(&["big"], &[]).unwrap()).unwrap();
    assert_eq!(setup.mirror.requests().len(), requests + 1);
    fetcher.forget(&packages).unwrap();
    assert_eq!(setup.pool(), Vec::<String>::new());
}

#[test]
fn an_interrupted_download_is_continued() {
    let big = content(300_000);
    for ignore_range in [false, true] {
        let setup = Setup::new(&[("big", &big, "")]);
        let package = setup.package("big");
        let cut =
            Behaviour { body: big.clone(), cut: Some((100_000, 1)), ignore_range, ..Behaviour::default() };
        setup.mirror.serve(PATH, cut);
        assert_eq!(setup.fetch(&package).unwrap(), big);
        let requests = setup.mirror.requests();
        assert!(requests.last().unwrap().ends_with("_amd64.deb@100000"), "{requests:?}");
    }
}

#[test]
fn what_is_left_survives_the_process() {
    let big = content(300_000);
    let setup = Setup::new(&[("big", &big, "")]);
    let package = setup.package("big");
    let cut = Behaviour { body: big.clone(), cut: Some((1000, 3)), ..Behaviour::default() };
    setup.mirror.serve(PATH, cut);
    let error = setup.fetch(&package).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("broke off after 3000 of 300000 bytes"), "{error}");
    assert_eq!(setup.pool().len(), 1);
    assert_eq!(setup.fetch(&package).unwrap(), big);
    // A part that is not a beginning of the file costs one more download, not a failure.
    let target = setup.fetcher().pool_file(package.sha256);
    std::fs::rename(&target, target.with_extension("deb.part")).unwrap();
    std::fs::write(target.with_extension("deb.part"), vec![0; 5000]).unwrap();
    assert_eq!(setup.fetch(&package).unwrap(), big);
    // So does one that is too long.
    std::fs::remove_file(&target).unwrap();
    std::fs::write(target.with_extension("deb.part"), vec![0; 300_001]).unwrap();
    assert_eq!(setup.fetch(&package).unwrap(), big);
}

#[test]
fn a_tampered_package_is_named_and_not_kept() {
    let big = content(300_000);
    let setup = Setup::new(&[("big", &big, "")]);
    let package = setup.package("big");
    let mut tampered = big.clone();
    tampered[77] ^= 1;
    setup.mirror.put(PATH, &tampered);
    let error = setup.fetch(&package).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains("big_1.0-1_amd64.deb has the wrong checksum"), "{error}");
    assert_eq!(setup.pool(), Vec::<String>::new());
}

#[test]
fn a_server_that_sends_too_much_is_cut_off() {
    let big = content(300_000);
    let setup = Setup::new(&[("big", &big, "")]);
    let package = setup.package("big");
    let announced = Behaviour { body: content(300_001), ..Behaviour::default() };
    let endless = Behaviour { body: big, excess: 1 << 20, ..Behaviour::default() };
    for behaviour in [announced, endless] {
        setup.mirror.serve(PATH, behaviour);
        let error = setup.fetch(&package).unwrap_err();
        assert!(matches!(error, DebianError::Fetch(FetchError::Oversize { size: 300_000, .. })), "{error}");
        assert_eq!(setup.pool(), Vec::<String>::new());
    }
}

#[test]
fn failures_of_the_server_are_retried_a_few_times() {
    let big = content(3000);
    let setup = Setup::new(&[("big", &big, "")]);
    let package = setup.package("big");
    let fail =
        |status, times| Behaviour { body: big.clone(), fail: Some((status, times)), ..Behaviour::default() };
    for (status, times, requests) in [(503, 2, 3), (503, 3, 3), (404, 1, 1)] {
        setup.mirror.serve(PATH, fail(status, times));
        let before = setup.mirror.requests().len();
        let result = setup.fetch(&package);
        assert_eq!(setup.mirror.requests().len() - before, requests, "{status} {times}");
        if times == 2 {
            result.unwrap();
            setup.fetcher().forget(std::slice::from_ref(&package)).unwrap();
        } else {
            let error = result.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{}/{PATH} was answered with status {status}", setup.mirror.url())
            );
            assert_eq!(error.kind(), ErrorKind::Unreachable);
        }
    }
}

#[test]
fn a_mirror_that_is_not_there_is_named_with_a_way_out() {
    let setup = Setup::new(&[]);
    let gone = Mirror::new("http://127.0.0.1:9/debian", MirrorOrigin::Environment).unwrap();
    let cache = setup.dir.path().join("debian");
    let fetcher = Fetcher::with_parts(gone, setup.signer.keyring(), cache, QUICK, Arc::new(Silent)).unwrap();
    let error = Archive::open("trixie", &fetcher).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(error.to_string(), "cannot reach http://127.0.0.1:9/debian/dists/trixie/InRelease");
    assert!(error.hint().unwrap().contains("PYRO_DEBIAN_MIRROR"));
}

#[test]
fn a_tampered_index_is_refused() {
    let setup = Setup::new(&[("big", b"b", "")]);
    Archive::open("trixie", &setup.fetcher()).unwrap();
    let requests = setup.mirror.requests();
    let path = requests.iter().find(|path| path.contains("by-hash")).unwrap().trim_start_matches("/debian/");
    // What is in the cache was lost, and the mirror has another index of the same size.
    let lists = setup.dir.path().join("debian/lists");
    let cached = std::fs::read_dir(&lists).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&cached).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&cached, &bytes).unwrap();
    Archive::open("trixie", &setup.fetcher()).unwrap();
    std::fs::remove_file(&cached).unwrap();
    setup.mirror.put(path, &bytes);
    let error = Archive::open("trixie", &setup.fetcher()).unwrap_err();
    assert!(matches!(error, DebianError::Fetch(FetchError::Mismatch { .. })), "{error}");
}

#[test]
fn two_at_once_end_with_one_file() {
    let big = content(2_000_000);
    let setup = Setup::new(&[("big", &big, "")]);
    let package = setup.package("big");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| setup.fetch(&package))).collect();
        for run in runs {
            assert_eq!(run.join().unwrap().unwrap(), big);
        }
    });
    let full = setup.mirror.requests().iter().filter(|request| request.contains("_amd64.deb")).count();
    assert_eq!(full, 1);
}

#[derive(Default)]
struct Counter(std::sync::atomic::AtomicU64);

impl Counter {
    fn advanced(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Progress for Counter {
    fn phase(&self, _: &str) {}

    fn total(&self, _: u64) {}

    fn advance(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::SeqCst);
    }
}
