//! Which other files a program needs, by its ELF file.

use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::endian::LittleEndian;
use object::read::elf::{ElfFile, FileHeader as _, ProgramHeader as _};

/// The names of the libraries that the ELF file in `data` needs.
pub(super) fn needed(data: &[u8]) -> Result<Vec<String>, object::read::Error> {
    let file: ElfFile<'_, FileHeader64<LittleEndian>> = ElfFile::parse(data)?;
    let table = file.elf_dynamic_table()?;
    let mut names = Vec::new();
    for dynamic in &table {
        if dynamic.tag == DT_NEEDED {
            names.push(String::from_utf8_lossy(table.string(dynamic)?).into_owned());
        }
    }
    Ok(names)
}

/// Whether `data` is an x86-64 executable, by its header.
pub(super) fn is_x86_64(data: &[u8]) -> bool {
    FileHeader64::<LittleEndian>::parse(data)
        .is_ok_and(|header| header.e_machine.get(LittleEndian) == object::elf::EM_X86_64)
}

/// Whether a program runs without any other file: neither a script nor started by a loader. The beginning of its file is enough:
/// that has the program headers.
pub(crate) fn is_static(beginning: &[u8]) -> bool {
    FileHeader64::<LittleEndian>::parse(beginning)
        .and_then(|header| header.program_headers(LittleEndian, beginning))
        .is_ok_and(|headers| !headers.iter().any(|header| header.p_type(LittleEndian) == PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_the_c_library() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let names = needed(&program).unwrap();
        assert!(names.iter().any(|name| name == "libc.so.6"), "{names:?}");
        assert!(is_x86_64(&program) && !is_static(&program[..4096]));
    }

    #[test]
    fn a_static_program_needs_nothing_and_other_files_are_refused() {
        assert_eq!(needed(crate::AGENT).unwrap(), Vec::<String>::new());
        assert!(is_static(&crate::AGENT[..4096]) && !is_static(b"#!/bin/sh\n"));
        assert!(needed(b"#!/bin/sh\n").is_err() && !is_x86_64(b"#!/bin/sh\n"));
    }
}
