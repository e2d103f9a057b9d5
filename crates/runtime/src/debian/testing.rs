//! Test support: keys of our own, release files and packages made with them, and a mirror on the loopback interface.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pgp::composed::{
    CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Password, Timestamp};
use rand08::thread_rng;

use super::keyring::Keyring;
use crate::digest::Sha256Digest;

/// A key pair that signs release files.
pub(crate) struct Signer {
    secret: SignedSecretKey,
    revoked: bool,
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self::made_at(Timestamp::now(), None)
    }

    /// Its key ran out before it signed.
    pub(crate) fn expired() -> Self {
        let long_ago = Timestamp::from_secs(Timestamp::now().as_secs() - 1_000_000);
        Self::made_at(long_ago, Some(pgp::types::Duration::from_secs(1000)))
    }

    /// Its key carries its own revocation.
    pub(crate) fn revoked() -> Self {
        Self { revoked: true, ..Self::new() }
    }

    fn made_at(created: Timestamp, lifetime: Option<pgp::types::Duration>) -> Self {
        let mut subkey = SubkeyParamsBuilder::default();
        subkey
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .created_at(created);
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(created)
            .primary_user_id("Test <test@mirror.example>".to_owned())
            .subkeys(vec![subkey.build().unwrap()]);
        let mut secret = params.build().unwrap().generate(thread_rng()).unwrap();
        if lifetime.is_some() {
            expire(&mut secret, created, lifetime);
        }
        Self { secret, revoked: false }
    }

    pub(crate) fn keyring(&self) -> Keyring {
        let mut public = self.secret.to_public_key();
        if self.revoked {
            let config = config(&self.secret.primary_key, SignatureType::KeyRevocation, Timestamp::now());
            let signature =
                config.sign_key(&self.secret.primary_key, &Password::empty(), &public.primary_key).unwrap();
            public.details.revocation_signatures.push(signature);
        }
        Keyring::of(vec![public])
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        let message =
            CleartextSignedMessage::sign(thread_rng(), text, &self.secret.primary_key, &Password::empty())
                .unwrap();
        message.to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
    }

    pub(crate) fn sign_with_subkey(&self, text: &str) -> String {
        let subkey = &self.secret.secret_subkeys[0].key;
        let message = CleartextSignedMessage::sign(thread_rng(), text, subkey, &Password::empty()).unwrap();
        message.to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
    }
}

fn config(key: &impl pgp::types::SigningKey, kind: SignatureType, at: Timestamp) -> SignatureConfig {
    let mut config = SignatureConfig::from_key(thread_rng(), key, kind).unwrap();
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(at)).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    config
}

/// Replaces the key's certifications by ones with a lifetime.
fn expire(secret: &mut SignedSecretKey, at: Timestamp, lifetime: Option<pgp::types::Duration>) {
    let public = secret.primary_key.public_key().clone();
    for user in &mut secret.details.users {
        let mut config = config(&secret.primary_key, SignatureType::CertPositive, at);
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime.unwrap())).unwrap());
        let signature = config
            .sign_certification(
                &secret.primary_key,
                &public,
                &Password::empty(),
                pgp::types::Tag::UserId,
                &user.id,
            )
            .unwrap();
        user.signatures = vec![signature];
    }
}

/// The text of a release file of trixie that lists one index.
pub(crate) fn release_text(extra: &str, index: &[u8]) -> String {
    format!(
        "Origin: Debian\nSuite: stable\nVersion: 13.7\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n{extra}\
         Acquire-By-Hash: yes\nComponents: main\nSHA256:\n {} {} main/binary-amd64/Packages.xz\n",
        Sha256Digest::of(index),
        index.len()
    )
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One stanza of a package index, its file being `content`.
pub(crate) fn stanza(name: &str, content: &[u8], extra: &str) -> String {
    let mut text = String::new();
    write!(
        text,
        "Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nInstalled-Size: 12\n{extra}Description: a package\n \
         with lines\nFilename: pool/main/{name}_1.0-1_amd64.deb\nSize: {}\nSHA256: {}\n\n",
        content.len(),
        Sha256Digest::of(content)
    )
    .unwrap();
    text
}

/// How the mirror treats requests for one path.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body, this many times.
    pub(crate) cut: Option<(usize, usize)>,
    /// Answer with this status, this many times.
    pub(crate) fail: Option<(u16, usize)>,
    pub(crate) ignore_range: bool,
    /// Leave `Content-Length` out and send so many bytes too many.
    pub(crate) excess: usize,
}

type Files = Arc<Mutex<HashMap<String, Behaviour>>>;

/// An HTTP server on the loopback interface, with a thread of its own that ends with it.
pub(crate) struct TestMirror {
    address: std::net::SocketAddr,
    files: Files,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TestMirror {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (files, requests, stop) = (Files::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (files, requests, stop) = (Arc::clone(&files), Arc::clone(&requests), Arc::clone(&stop));
            move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (files, requests) = (Arc::clone(&files), Arc::clone(&requests));
                    // A client that goes away in the middle is part of the tests.
                    std::thread::spawn(move || drop(answer(&stream, &files, &requests)));
                }
            }
        });
        Self { address, files, requests, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/debian", self.address)
    }

    pub(crate) fn serve(&self, path: &str, behaviour: Behaviour) {
        self.files.lock().unwrap().insert(format!("/debian/{path}"), behaviour);
    }

    pub(crate) fn put(&self, path: &str, body: &[u8]) {
        self.serve(path, Behaviour { body: body.to_vec(), ..Behaviour::default() });
    }

    /// Request lines with the range asked for, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Publishes a signed release with these packages, as (name, file, extra fields).
    pub(crate) fn publish(&self, signer: &Signer, packages: &[(&str, &[u8], &str)]) {
        let mut index = String::new();
        for (name, content, extra) in packages {
            index.push_str(&stanza(name, content, extra));
            self.put(&format!("pool/main/{name}_1.0-1_amd64.deb"), content);
        }
        let index = xz(index.as_bytes());
        self.put("dists/trixie/InRelease", signer.sign(&release_text("", &index)).as_bytes());
        self.put(
            &format!("dists/trixie/main/binary-amd64/by-hash/SHA256/{}", Sha256Digest::of(&index)),
            &index,
        );
    }
}

impl Drop for TestMirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept; that it fails means the thread is gone already.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(stream: &TcpStream, files: &Files, requests: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.take(1 << 16));
    let (mut line, mut range) = (String::new(), None);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.trim().trim_end_matches('-').parse::<usize>().ok();
        }
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    requests.lock().unwrap().push(range.map_or_else(|| path.clone(), |from| format!("{path}@{from}")));
    respond(stream, plan(files, &path), range)
}

/// What to do this time; uses up one of a limited number of failures.
fn plan(files: &Files, path: &str) -> Option<Behaviour> {
    let mut files = files.lock().unwrap();
    let entry = files.get_mut(path)?;
    let now = entry.clone();
    if let Some((_, left)) = &mut entry.cut {
        *left = left.saturating_sub(1);
    }
    if let Some((_, left)) = &mut entry.fail {
        *left = left.saturating_sub(1);
    }
    Some(now)
}

fn respond(
    mut stream: &TcpStream,
    behaviour: Option<Behaviour>,
    range: Option<usize>,
) -> std::io::Result<()> {
    let Some(behaviour) = behaviour else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if let Some((status, 1..)) = behaviour.fail {
        let head = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return stream.write_all(head.as_bytes());
    }
    let from = range.filter(|from| !behaviour.ignore_range && *from < behaviour.body.len());
    let body = &behaviour.body[from.unwrap_or(0)..];
    let mut head = match from {
        Some(from) => {
            let all = behaviour.body.len();
            format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{all}\r\n", all - 1)
        }
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    if behaviour.excess == 0 {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    match behaviour.cut {
        Some((at, 1..)) => stream.write_all(&body[..at.min(body.len())]),
        _ => stream.write_all(&[body, &vec![b'x'; behaviour.excess]].concat()),
    }
}
