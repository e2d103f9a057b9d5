//! Transfers while processes in the guest change what is transferred.

use crate::workspace::text;
use crate::workspace::trees::{directory, tree};
use crate::{DEBIAN, SUITE};
use std::fs;

#[test]
fn a_process_that_swaps_directories_gains_nothing_from_transfers() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let root = directory(&home, "evil");
    fs::write(root.join("evil"), "evil").unwrap();
    workspace.sh("find /etc | sort > /root/etc; mkdir d; ln -s /etc l");
    let swap = r#"$end = time + 20; until (time >= $end || -e "/root/enough") {
                  rename "d", "t"; rename "l", "d"; rename "d", "l"; rename "t", "d" }"#;
    let swapping = workspace.call("exec", &["--", "perl", "-e", swap]).spawn();
    for number in 0..15 {
        workspace.call("sync push", &[text(&root), "--dest", "d"]).run();
        let out = home.path().join(format!("out-{number}"));
        workspace.call("export", &["d/passwd", "--output", text(&out)]).run();
        assert!(!out.exists(), "a file of /etc was exported");
        workspace.call("export", &["d", "--output", text(&out)]).run();
        assert!(!out.join("passwd").exists(), "/etc was exported");
    }
    workspace.sh("touch /root/enough");
    swapping.wait().expect(0).text();
    assert_eq!(workspace.sh("find /etc | sort | diff - /root/etc; echo same"), "same\n");
}

#[test]
fn files_that_change_meanwhile_come_out_whole_or_cut() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("mkdir d; for i in $(seq 50); do seq 1000 > d/$i; done");
    let change = "end=$(($(date +%s) + 15)); i=0
        while [ $(date +%s) -lt $end ] && ! [ -e /root/enough ]; do
            i=$((i % 50 + 1)); seq 3000 > d/new; mv d/new d/$i; : > d/$((i % 7 + 1)); echo more >> d/9; rm -f d/$((i % 3 + 20))
        done";
    let changing = workspace.exec(&[], change).spawn();
    for number in 0..8 {
        let out = home.path().join(format!("out-{number}"));
        let exported = workspace.json("export", &["d", "--output", text(&out)]);
        let files = tree(&out);
        assert_eq!(exported["entry_count"], files.len());
        let bytes: u64 =
            fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(exported["bytes_written"], bytes);
    }
    workspace.sh("touch /root/enough");
    changing.wait().expect(0).text();
}
