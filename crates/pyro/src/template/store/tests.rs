//! The cache, with files that hold a word each.

use super::*;
use crate::template::building::Building;
use crate::template::key::tests::key;

struct Cache {
    _root: tempfile::TempDir,
    store: TemplateStore,
}

impl Cache {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = TemplateStore::new(root.path().join("templates"));
        Self { store, _root: root }
    }

    fn install(&self, content: &[u8]) -> Template {
        let building = self.begin();
        for path in building.files().all() {
            fs::write(path, content).unwrap();
        }
        building.finish().unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.store.manifest_path(&key().name());
        let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut manifest);
        TemplateStore::write(&path, &manifest).unwrap();
    }

    fn begin(&self) -> Building {
        let lock = self.store.lock(&key(), Duration::ZERO).unwrap();
        Building::begin(self.store.clone(), key(), lock).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.store.directory).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }
}

fn how(unusable: Unusable) -> String {
    match unusable {
        Unusable::Damaged { how } => how,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_installed_is_found_and_takes_the_place_of_the_one_before() {
    let cache = Cache::new();
    assert_eq!(cache.store.open(&key()).unwrap_err(), Unusable::Missing);
    let first = cache.install(b"first");
    let second = cache.install(b"second");
    assert!(first.files.all().iter().all(|path| !path.exists()));
    let found = cache.store.open(&key()).unwrap();
    assert_eq!(fs::read(&found.files.ram).unwrap(), b"second");
    assert_eq!(found.files.state, second.files.state);
    assert_eq!(cache.files().len(), 7, "{:?}", cache.files());
}

#[test]
fn whatever_happened_to_the_files_is_noticed() {
    let cache = Cache::new();
    let spoil = |spoil: &dyn Fn(&Template)| {
        let template = cache.install(b"content");
        spoil(&template);
        how(cache.store.open(&key()).unwrap_err())
    };
    let differs = "sha256 differs";
    for at in 0..KINDS.all().len() {
        // Of the same length; what is not hashed each time has its modification time set back.
        let changed = |template: &Template| {
            let path = template.files.all()[at];
            let written = fs::metadata(path).unwrap().modified().unwrap();
            fs::write(path, b"CONTENT").unwrap();
            File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
        };
        assert!(spoil(&changed).contains(differs), "{}", KINDS.all()[at]);
        let cut = |template: &Template| fs::write(template.files.all()[at], b"cont").unwrap();
        assert!(spoil(&cut).contains("4 bytes instead of 7"), "{}", KINDS.all()[at]);
        let removed = |template: &Template| fs::remove_file(template.files.all()[at]).unwrap();
        assert!(spoil(&removed).contains("missing"), "{}", KINDS.all()[at]);
    }
    assert!(
        spoil(&|_| fs::write(cache.store.manifest_path(&key().name()), "{").unwrap()).contains("unreadable")
    );
    // A copy with the same content is fine, whatever its times.
    let template = cache.install(b"content");
    fs::write(&template.files.ram, b"content").unwrap();
    cache.store.open(&key()).unwrap();
}

#[test]
fn states_are_hashed_whatever_their_stamps_say() {
    let cache = Cache::new();
    for (at, always) in ALWAYS_HASHED.all().into_iter().enumerate() {
        let template = cache.install(b"content");
        let path = template.files.all()[at];
        fs::write(path, b"CONTENT").unwrap();
        let stamp = Stamp::of(&fs::metadata(path).unwrap());
        let part = KINDS.all()[at].replace('.', "_");
        cache.edit(|manifest| manifest["files"][&part]["stamp"] = serde_json::to_value(stamp).unwrap());
        assert_eq!(cache.store.open(&key()).is_err(), *always, "{part}");
    }
}

#[test]
fn a_template_of_another_form_is_stale_for_another_key_and_else_damaged() {
    let cache = Cache::new();
    cache.install(b"content");
    cache.edit(|manifest| {
        let files = manifest.as_object_mut().unwrap().remove("files").unwrap();
        for part in ["ram", "state"] {
            manifest[part] = files[part].clone();
        }
    });
    assert!(how(cache.store.open(&key()).unwrap_err()).contains("unreadable"));
    let other = TemplateKey { agent: Sha256Digest::of(b"other"), ..key() };
    let stale = cache.store.open(&other).unwrap_err();
    assert!(matches!(stale, Unusable::Stale { made_for: "another agent", .. }), "{stale:?}");
    assert_eq!(cache.store.count(), 1);
}

#[test]
fn an_install_that_fails_leaves_nothing() {
    let cache = Cache::new();
    let last = cache.install(b"content").files.apart_state;
    let present = cache.install(b"another").files;
    // No file is renamed to where a directory is.
    fs::create_dir(&last).unwrap();
    let building = cache.begin();
    building.files().all().iter().for_each(|path| fs::write(path, b"content").unwrap());
    let failed = building.finish().unwrap_err();
    assert!(failed.to_string().contains("rename"), "{failed}");
    assert_eq!(cache.store.open(&key()).unwrap().files.all(), present.all());
    assert_eq!(cache.files().len(), 7, "{:?}", cache.files());
}

#[test]
fn what_is_being_made_is_said_and_gone_when_it_is_given_up() {
    let cache = Cache::new();
    let building = cache.begin();
    fs::write(&building.files().ram, b"half").unwrap();
    assert!(
        matches!(cache.store.open(&key()), Err(Unusable::Rejected { why, .. }) if why.contains("being made"))
    );
    drop(building);
    assert_eq!(cache.store.open(&key()).unwrap_err(), Unusable::Missing);
    cache.begin().fail(&std::io::Error::other("no room"));
    assert!(
        matches!(cache.store.open(&key()), Err(Unusable::Rejected { why, .. }) if why.ends_with("no room"))
    );
    assert_eq!(cache.files(), ["debian-12-1x1024.lock", "debian-12-1x1024.rejected.json"]);
    cache.install(b"content");
    cache.begin().fail(&std::io::Error::other("no room"));
    cache.store.open(&key()).unwrap();
}

#[test]
fn another_key_is_told_and_a_rejection_counts_for_its_own() {
    let cache = Cache::new();
    cache.install(b"content");
    let other = TemplateKey { agent: Sha256Digest::of(b"other"), ..key() };
    let stale = cache.store.open(&other).unwrap_err();
    assert!(matches!(stale, Unusable::Stale { made_for: "another agent", .. }), "{stale:?}");
    let made = cache.store.open(&key()).unwrap().created_at;
    cache.store.reject_made_at(&key(), Timestamp::UNIX_EPOCH, "another".to_owned()).unwrap();
    cache.store.open(&key()).unwrap();
    cache.store.reject_made_at(&key(), made, "no answer".to_owned()).unwrap();
    assert!(matches!(cache.store.open(&key()), Err(Unusable::Rejected { why, .. }) if why == "no answer"));
    assert_eq!(cache.store.open(&other).unwrap_err(), Unusable::Missing);
    cache.install(b"content");
    cache.store.open(&key()).unwrap();
}

#[test]
fn pruning_leaves_what_is_current_and_what_is_not_ours() {
    let cache = Cache::new();
    cache.install(b"content");
    let before = cache.files();
    fs::write(cache.store.directory.join("notes.json"), "mine").unwrap();
    fs::create_dir(cache.store.directory.join(".build-debian-13-1x512")).unwrap();
    let removed = cache.store.prune(&|_| true).unwrap();
    assert_eq!(
        removed.iter().map(|pruned| pruned.file.as_str()).collect::<Vec<_>>(),
        [".build-debian-13-1x512"]
    );
    assert!(before.iter().all(|file| cache.files().contains(file)));
    let lock = cache.store.lock(&key(), Duration::ZERO).unwrap();
    assert_eq!(cache.store.prune(&|_| false).unwrap(), [], "while it is being built");
    drop(lock);
    assert_eq!(cache.store.prune(&|_| false).unwrap().len(), 6);
    assert!(cache.files().contains(&"notes.json".to_owned()));
}
