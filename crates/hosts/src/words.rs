//! Command lines as they are shown: on terminals, in reports, in what people paste into issues.

use serde::{Serialize, Serializer};

/// What stands for a password.
const HIDDEN: &str = "[REDACTED]";

/// The words without the passwords in their URLs.
pub fn without_passwords(words: &[String]) -> Vec<String> {
    words.iter().map(|word| without_password(word).unwrap_or_else(|| word.clone())).collect()
}

/// A word without its password, where it is a URL that has one.
fn without_password(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (who, _) = authority.rsplit_once('@')?;
    let (user, password) = who.split_once(':')?;
    (!password.is_empty()).then(|| format!("{scheme}://{user}:{HIDDEN}{}", &rest[who.len()..]))
}

pub fn serialize<S: Serializer>(words: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    without_passwords(words).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub fn serialize_some<S: Serializer>(words: &Option<Vec<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    words.as_deref().map(without_passwords).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        let cases = [
            ("https://u:hunter2@example.org/a:b@c", "https://u:[REDACTED]@example.org/a:b@c"),
            ("--repo-url=https://u:p@q@example.org", "--repo-url=https://u:[REDACTED]@example.org"),
            ("https://u@example.org/a:b@c", "https://u@example.org/a:b@c"),
            ("https://example.org:80/a@b", "https://example.org:80/a@b"),
            ("git@example.org:a/b", "git@example.org:a/b"),
            ("/opt/a b/pyro", "/opt/a b/pyro"),
        ];
        for (given, shown) in cases {
            assert_eq!(without_passwords(&[given.to_owned()]), [shown]);
        }
    }
}
