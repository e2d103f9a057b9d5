//! Which other file the kernel needs to run an executable: a script's `#!` line, or the dynamic loader of an ELF file.
//!
//! `execve` answers "no such file" when that other file is missing, which misleads whoever sees the executable lie there.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// As much of a script's first line as the kernel looks at.
const LINE_BYTES: u64 = 256;

const PT_INTERP: u32 = 3;
const PROGRAM_HEADER_BYTES: usize = 56;

/// The interpreter that the executable at `path` names, as text for a person.
pub fn of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut start = Vec::new();
    file.by_ref().take(LINE_BYTES).read_to_end(&mut start).ok()?;
    let interpreter = match start.strip_prefix(b"#!") {
        Some(line) => of_script(line),
        None => of_elf(&file, &start),
    }?;
    Some(String::from_utf8_lossy(&interpreter).into_owned())
}

fn of_script(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    words.find(|word| !word.is_empty()).map(<[u8]>::to_vec)
}

/// Looks for PT_INTERP among the program headers of a 64-bit little-endian file, the only kind this kernel runs.
fn of_elf(file: &File, header: &[u8]) -> Option<Vec<u8>> {
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = u64::from_le_bytes(field(header, 32)?);
    let entry_bytes = u16::from_le_bytes(field(header, 54)?);
    let entries = u16::from_le_bytes(field(header, 56)?);
    for index in 0..u64::from(entries) {
        let mut entry = [0; PROGRAM_HEADER_BYTES];
        let offset = table.checked_add(index * u64::from(entry_bytes))?;
        file.read_exact_at(&mut entry, offset).ok()?;
        if u32::from_le_bytes(field(&entry, 0)?) != PT_INTERP {
            continue;
        }
        let length = u64::from_le_bytes(field(&entry, 32)?).min(LINE_BYTES);
        let mut name = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut name, u64::from_le_bytes(field(&entry, 8)?)).ok()?;
        return name.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
    }
    None
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of_bytes(bytes: &[u8]) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        of(file.path())
    }

    #[test]
    fn scripts_name_theirs_in_the_first_line() {
        let cases: [(&[u8], Option<&str>); 5] = [
            (b"#!/bin/sh\necho", Some("/bin/sh")),
            (b"#! \t/usr/bin/env python3 -u\n", Some("/usr/bin/env")),
            (b"#!/no/newline", Some("/no/newline")),
            (b"#!\n", None),
            (b"echo", None),
        ];
        for (script, expected) in cases {
            assert_eq!(of_bytes(script).as_deref(), expected);
        }
    }

    #[test]
    fn an_elf_file_names_its_loader() {
        let loader = of(Path::new("/bin/sh")).unwrap();
        assert!(loader.contains("ld-linux"), "{loader}");
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = b"\x7fELF\x02\x01".to_vec();
            bytes.extend_from_slice(&tail);
            of_bytes(&bytes);
        }
    }
}
