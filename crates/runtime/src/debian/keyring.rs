//! The keys whose signature on a release file is believed.
//!
//! rPGP checks mathematics; which key may sign, and when, is decided here: the primary key's self-signature and the
//! subkey's binding have to hold, neither may be revoked, both have to be alive when the signature was made, and
//! a subkey must be for signing.

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp};

use super::error::DebianError;

/// Debian's own keys for the releases pyro uses, as `debian-archive-keyring` ships them.
const EMBEDDED: &[(&str, &[u8])] = &[
    ("bookworm-automatic", include_bytes!("../../keys/debian-archive-bookworm-automatic.gpg")),
    ("bookworm-stable", include_bytes!("../../keys/debian-archive-bookworm-stable.gpg")),
    ("trixie-automatic", include_bytes!("../../keys/debian-archive-trixie-automatic.gpg")),
    ("trixie-stable", include_bytes!("../../keys/debian-archive-trixie-stable.gpg")),
];

/// A set of trusted keys.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// The Debian archive's keys, embedded in this binary.
    pub fn debian() -> Result<Self, DebianError> {
        let mut keys = Vec::new();
        for (name, bytes) in EMBEDDED {
            let failed = |source| DebianError::Keyring { name: (*name).to_owned(), source: Box::new(source) };
            keys.push(SignedPublicKey::from_bytes(*bytes).map_err(failed)?);
        }
        Ok(Self { keys })
    }

    /// Other keys, for tests.
    #[cfg(test)]
    pub(crate) fn of(keys: Vec<SignedPublicKey>) -> Self {
        Self { keys }
    }

    /// Whether `signature` over `text` is by one of the keys, or why not.
    pub(crate) fn check(&self, signature: &Signature, text: &[u8]) -> Result<(), String> {
        let made = signature.created().ok_or("a signature without a date")?;
        let binary_or_text = matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text));
        if !binary_or_text {
            return Err("a signature that is not over a document".to_owned());
        }
        if !signature.hash_alg().is_some_and(is_strong) {
            return Err("a signature with a weak hash".to_owned());
        }
        let lifetime = signature.signature_expiration_time().map_or(0, pgp::types::Duration::as_secs);
        if !is_alive(made, lifetime, Timestamp::now()) {
            return Err("a signature that is expired, or from the future".to_owned());
        }
        for key in &self.keys {
            if signature.verify(&key.primary_key, text).is_ok() {
                return primary_is_valid(key, made);
            }
            for subkey in &key.public_subkeys {
                if signature.verify(&subkey.key, text).is_ok() {
                    return primary_is_valid(key, made).and_then(|()| subkey_is_valid(key, subkey, made));
                }
            }
        }
        let issuers: Vec<String> =
            signature.issuer_fingerprint().iter().map(|print| format!("{print:X}")).collect();
        Err(format!("not made by a trusted key, or not over this text: issuer {}", issuers.join(", ")))
    }
}

/// Whether collisions of this hash are out of reach, so that a signature is over one text only.
fn is_strong(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

/// Whether the primary key is certified by itself, not revoked, and alive at `at`.
fn primary_is_valid(key: &SignedPublicKey, at: Timestamp) -> Result<(), String> {
    let name = format!("{:X}", key.primary_key.fingerprint());
    let revoked = |signature: &Signature| signature.verify_key(&key.primary_key).is_ok();
    if key.details.revocation_signatures.iter().any(revoked) {
        return Err(format!("key {name} is revoked"));
    }
    let certifications = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature.verify_certification(&key.primary_key, Tag::UserId, &user.id).is_ok()
        })
    });
    let direct = key
        .details
        .direct_signatures
        .iter()
        .filter(|signature| signature.verify_key(&key.primary_key).is_ok());
    let latest =
        certifications.chain(direct).max_by_key(|signature| signature.created().map(Timestamp::as_secs));
    let Some(latest) = latest else {
        return Err(format!("key {name} does not certify itself"));
    };
    let lifetime = latest.key_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    if is_alive(key.primary_key.created_at(), lifetime, at) {
        Ok(())
    } else {
        Err(format!("key {name} was expired when the signature was made"))
    }
}

/// Whether the subkey is bound to its primary key for signing, not revoked, and alive at `at`.
fn subkey_is_valid(key: &SignedPublicKey, subkey: &SignedPublicSubKey, at: Timestamp) -> Result<(), String> {
    let name = format!("{:X}", subkey.key.fingerprint());
    let holds =
        |signature: &&Signature| signature.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok();
    let of_type = |wanted| {
        subkey.signatures.iter().filter(move |signature| signature.typ() == Some(wanted)).filter(holds)
    };
    if of_type(SignatureType::SubkeyRevocation).next().is_some() {
        return Err(format!("subkey {name} is revoked"));
    }
    let latest = of_type(SignatureType::SubkeyBinding)
        .filter(|signature| {
            // A signing subkey has to agree to be bound, or anyone could claim another's as their own.
            signature.key_flags().sign()
                && signature.embedded_signature().is_some_and(|back| {
                    back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok()
                })
        })
        .max_by_key(|signature| signature.created().map(Timestamp::as_secs));
    let Some(latest) = latest else {
        return Err(format!("subkey {name} is not bound for signing"));
    };
    let lifetime = latest.key_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    if is_alive(subkey.key.created_at(), lifetime, at) {
        Ok(())
    } else {
        Err(format!("subkey {name} was expired when the signature was made"))
    }
}

/// Whether what began at `from` and lasts `lifetime` seconds (0: for ever) is alive at `at`.
fn is_alive(from: Timestamp, lifetime: u32, at: Timestamp) -> bool {
    let (from, at) = (u64::from(from.as_secs()), u64::from(at.as_secs()));
    from <= at && (lifetime == 0 || at < from + u64::from(lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_keys_are_usable() {
        let keyring = Keyring::debian().unwrap();
        assert_eq!(keyring.keys.len(), EMBEDDED.len());
        for key in &keyring.keys {
            primary_is_valid(key, Timestamp::now()).unwrap();
            for subkey in &key.public_subkeys {
                subkey_is_valid(key, subkey, Timestamp::now()).unwrap();
            }
        }
    }

    #[test]
    fn lifetimes() {
        let at = Timestamp::from_secs;
        for (from, lifetime, now, alive) in [
            (10, 0, 10, true),
            (10, 0, 9, false),
            (10, 5, 14, true),
            (10, 5, 15, false),
            (u32::MAX, 9, u32::MAX, true),
        ] {
            assert_eq!(is_alive(at(from), lifetime, at(now)), alive, "{from} {lifetime} {now}");
        }
    }
}
