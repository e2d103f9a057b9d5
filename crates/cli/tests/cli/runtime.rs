//! `pyro runtime` on a sound bundle.

use crate::{DEBIAN, SUITE};

#[test]
fn status_and_verify_describe_the_bundle() {
    let home = SUITE.with(DEBIAN);
    for command in ["status", "verify"] {
        let status = home.pyro(["runtime", command, "--json"]).run().expect(0).json();
        assert_eq!(status["state"], "ready", "{command}");
        assert_eq!(status["problems"], pyro_testkit::json!([]));
        let bundle = &status["bundle"];
        assert!(bundle["files"].as_u64().is_some_and(|files| files > 10), "{bundle}");
        assert!(bundle["bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{bundle}");
        for component in ["qemu", "kernel", "kernel_release", "e2fsprogs", "erofs_utils"] {
            assert!(bundle["components"][component].is_string(), "{component}: {bundle}");
        }
    }
    let text = home.pyro(["runtime", "status"]).run().expect(0);
    assert!(text.text().starts_with("state:   ready\n"), "{}", text.text());
}
