//! What the tests make archives of, and how they compare trees.

use std::ffi::OsStr;
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use pyro_tree::{Limits, Owner, Totals, Tree, TreeError, Unpacker};
use tar::{Builder, EntryType, Header};

/// An archive of entries that no well-behaved writer would make.
pub struct Crafted(Builder<Vec<u8>>);

impl Crafted {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub fn entry(mut self, kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(0o6777);
        header.set_uid(1234);
        header.set_gid(1234);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), b"", b"content")
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name.as_bytes(), b"", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name.as_bytes(), target.as_bytes(), b"")
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn unpack(to: &Path, archive: &[u8]) -> Result<Totals, TreeError> {
    unpack_within(to, archive, Limits::default())
}

pub fn unpack_within(to: &Path, mut archive: &[u8], limits: Limits) -> Result<Totals, TreeError> {
    Unpacker::new(Tree::open(to)?, Owner::Unpacker, limits).unpack(&mut archive)
}

pub fn pack(from: &Path) -> (Vec<u8>, Totals) {
    let mut archive = Vec::new();
    let totals = pyro_tree::pack(from, &mut archive).unwrap();
    (archive, totals)
}

/// Everything that must survive, one line an entry, in order.
pub fn describe(tree: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    describe_in(tree, tree, &mut lines);
    lines
}

fn describe_in(tree: &Path, directory: &Path, lines: &mut Vec<String>) {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let digest = BuildHasherDefault::<DefaultHasher>::new().hash_one(&content);
        let content = &content[..content.len().min(100)];
        let names = if metadata.is_dir() { 0 } else { metadata.nlink() };
        let name = path.strip_prefix(tree).unwrap().as_os_str().as_encoded_bytes();
        let (mode, modified) = (metadata.mode(), metadata.mtime());
        lines.push(format!("{name:?} {mode:o} {modified} {names} {digest} {content:?}"));
        if metadata.is_dir() {
            describe_in(tree, &path, lines);
        }
    }
}

/// A part of a random tree; names may be anything that a file can be called.
#[derive(Debug, Clone)]
pub enum Node {
    File(Vec<u8>, u32),
    Directory(Vec<(Vec<u8>, Node)>),
    Symlink(Vec<u8>),
    HardLink,
}

pub fn any_tree() -> impl Strategy<Value = Vec<(Vec<u8>, Node)>> {
    let byte = any::<u8>().prop_map(|byte| if byte == b'/' || byte == 0 { b'_' } else { byte });
    let name = prop_oneof![
        4 => prop::collection::vec(byte.clone(), 1..12),
        1 => prop::collection::vec(byte.clone(), 90..=255),
    ]
    .prop_filter("dots are taken", |name| name != b"." && name != b"..");
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        (0..200_000_usize, any::<u8>()).prop_map(|(length, last)| {
            let mut content = vec![0; length];
            content.push(last);
            content
        }),
    ];
    let leaf = prop_oneof![
        3 => (content, 0o400..0o777_u32).prop_map(|(content, mode)| Node::File(content, mode)),
        1 => prop::collection::vec(byte, 1..200).prop_map(Node::Symlink),
        1 => Just(Node::HardLink),
    ];
    let node = leaf.prop_recursive(3, 24, 5, {
        let name = name.clone();
        move |inner| prop::collection::vec((name.clone(), inner), 0..5).prop_map(Node::Directory)
    });
    prop::collection::vec((name, node), 0..6)
}

pub fn grow(directory: &Path, nodes: &[(Vec<u8>, Node)]) {
    let mut linkable = None;
    for (name, node) in nodes {
        let path = directory.join(OsStr::from_bytes(name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match node {
            Node::File(content, mode) => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                linkable = Some(path);
            }
            Node::Directory(children) => {
                fs::create_dir(&path).unwrap();
                grow(&path, children);
            }
            Node::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Node::HardLink => {
                if let Some(first) = &linkable {
                    fs::hard_link(first, &path).unwrap();
                }
            }
        }
    }
}
