//! `pyro env` on what is installed.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE};

#[test]
fn the_catalog_is_listed_with_its_state() {
    let home = SUITE.with(DEBIAN);
    let listed = home.pyro(["env", "list", "--json"]).run().expect(0).json();
    assert!(listed["catalog_version"].is_string());
    let environments = listed["environments"].as_array().unwrap();
    let names: Vec<&str> =
        environments.iter().map(|environment| environment["name"].as_str().unwrap()).collect();
    for name in [DEBIAN, "debian:12-base", "debian:12-build", "debian:13"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(environments[0]["name"], DEBIAN, "the default comes first");
    assert_eq!(environments[0]["installed"], true);
    let text = home.pyro(["env", "list"]).run().expect(0);
    assert!(text.text().lines().any(|line| line.starts_with("debian:12 ") && line.contains("installed")));
}

#[test]
fn inspect_shows_where_an_environment_comes_from() {
    let home = SUITE.with(DEBIAN);
    let info = home.pyro(["env", "inspect", DEBIAN, "--json"]).run().expect(0).json();
    let manifest = &info["manifest"];
    assert_eq!(manifest["environment"], DEBIAN);
    assert_eq!(manifest["suite"], "bookworm");
    assert!(manifest["release"].as_str().is_some_and(|release| release.starts_with("12")), "{manifest}");
    assert!(manifest["digest"].as_str().is_some_and(|digest| digest.len() == 64));
    let packages = manifest["packages"].as_array().unwrap();
    assert!(packages.iter().any(|package| package["name"] == "git" && package["sha256"].is_string()));
    let image = std::path::PathBuf::from(info["path"].as_str().unwrap());
    assert_eq!(std::fs::metadata(image).unwrap().len(), manifest["image_bytes"].as_u64().unwrap());
    let text = home.pyro(["env", "inspect", DEBIAN]).run().expect(0);
    for field in ["source:", "packages:", "digest:", "size:", "image:"] {
        assert!(text.text().lines().any(|line| line.starts_with(field)), "{field}:\n{}", text.text());
    }
}

#[test]
fn pulling_what_is_installed_needs_no_mirror() {
    let home = SUITE.with(DEBIAN);
    let pull = home.pyro(["env", "pull", DEBIAN]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(0);
    assert!(pull.text().contains("state:       installed"), "{}", pull.text());
}

#[test]
fn inspecting_what_is_absent_says_so() {
    let home = SUITE.bare();
    let info = home.pyro(["env", "inspect", DEBIAN, "--json"]).run().expect(0).json();
    assert_eq!((&info["state"], &info["installed"]), (&"absent".into(), &false.into()));
    let pruned = home.pyro(["env", "prune"]).run().expect(0);
    assert_eq!(pruned.text(), "nothing to remove\n");
}
