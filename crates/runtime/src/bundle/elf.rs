//! Which libraries a program loads: `DT_NEEDED` of ELF files.

use object::elf::{DT_NEEDED, FileHeader64};
use object::endian::LittleEndian;
use object::read::elf::ElfFile;

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
    use object::read::elf::FileHeader as _;
    FileHeader64::<LittleEndian>::parse(data)
        .is_ok_and(|header| header.e_machine.get(LittleEndian) == object::elf::EM_X86_64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_the_c_library() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let names = needed(&program).unwrap();
        assert!(names.iter().any(|name| name == "libc.so.6"), "{names:?}");
        assert!(is_x86_64(&program));
    }

    #[test]
    fn a_static_program_needs_nothing_and_other_files_are_refused() {
        assert_eq!(needed(crate::AGENT).unwrap(), Vec::<String>::new());
        assert!(needed(b"#!/bin/sh\n").is_err() && !is_x86_64(b"#!/bin/sh\n"));
    }
}
