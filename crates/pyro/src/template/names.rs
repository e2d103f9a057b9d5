//! The names of files in the cache of templates.

/// Digits of the state's digest in the names of memory and state.
pub(super) const SHORT_DIGEST: usize = 16;

/// The name of the template that a file of the cache belongs to, when it is of the form that pyro gives its files.
pub(super) fn name_of(file: &str) -> Option<&str> {
    let is_name = |name: &str| {
        let (environment, shape) = name.rsplit_once('-')?;
        let (vcpus, memory) = shape.split_once('x')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        let is_environment = !environment.is_empty() && environment.bytes().all(is_word);
        (is_environment && is_number(vcpus) && is_number(memory)).then_some(())
    };
    let name = match (file.strip_prefix(".build-"), file.strip_suffix(".ram").or(file.strip_suffix(".state")))
    {
        (Some(name), _) => name,
        (None, Some(stem)) => {
            let (name, digest) = stem.rsplit_once('-')?;
            let is_digest =
                digest.len() == SHORT_DIGEST && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_digest.then_some(name)?
        }
        (None, None) => file
            .strip_suffix(".rejected.json")
            .or(file.strip_suffix(".json"))
            .or(file.strip_suffix(".lock"))?,
    };
    is_name(name).map(|()| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_our_form_have_a_name() {
        let ours = [
            "debian-12-1x1024.json",
            "debian-12-1x1024.rejected.json",
            "debian-12-1x1024.lock",
            "debian-12-1x1024-0123456789abcdef.ram",
            "debian-12-1x1024-0123456789abcdef.state",
            ".build-debian-12-1x1024",
        ];
        for file in ours {
            assert_eq!(name_of(file), Some("debian-12-1x1024"), "{file}");
        }
        for file in [
            "notes.json",
            "../debian-12-1x1024.json",
            "debian-12-1x.json",
            "debian-12-1x1024-01.ram",
            ".json",
            "",
        ] {
            assert_eq!(name_of(file), None, "{file}");
        }
    }
}
