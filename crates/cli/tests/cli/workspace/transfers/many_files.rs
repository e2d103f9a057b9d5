//! Transfers take no more memory for more files.

use crate::workspace::text;
use crate::workspace::trees::directory;
use crate::{DEBIAN, SUITE};
use pyro_testkit::Workspace;
use std::fs;
use std::path::Path;

/// What the process that transfers may grow by, however much it transfers.
const GROWTH_KIB: u64 = 32 << 10;

#[test]
fn twenty_thousand_files_take_no_more_memory_than_a_few() {
    let home = SUITE.with(DEBIAN);
    let (few, many) = (directory(&home, "few"), directory(&home, "many"));
    for number in 0..20_000 {
        let directory = many.join(format!("{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir(&directory).unwrap();
        }
        fs::write(directory.join(format!("file-{number}")), format!("this is file {number}\n")).unwrap();
    }
    fs::write(few.join("file"), "x").unwrap();
    let create = |seed: &Path| {
        let flags = ["workspace", "create", DEBIAN, "--id-only", "--seed-path", text(seed)];
        let created = home.pyro(flags).run().expect(0);
        (Workspace::adopt(&home, created.text().trim()), created.peak_memory_kib)
    };
    let (first, small) = create(&few);
    first.delete();
    let (workspace, large) = create(&many);
    assert_eq!(workspace.status()["workspace_seed"]["entry_count"], 20_200);
    let out = home.path().join("out");
    let exported = workspace.call("export", &[".", "--output", text(&out), "--json"]).run().expect(0);
    assert_eq!(exported.json()["entry_count"], 20_200);
    let listed = workspace.call("file list", &["--recursive", "--json"]).run().expect(0);
    assert_eq!(listed.json()["count"], 20_200);
    for peak in [large, exported.peak_memory_kib, listed.peak_memory_kib] {
        assert!(peak < small + GROWTH_KIB, "{peak} KiB, and {small} KiB for one file");
    }
}
