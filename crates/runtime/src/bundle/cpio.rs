//! A `cpio` archive in the "newc" format, as the kernel unpacks it into its first root.
//!
//! Each entry is a header of 13 hexadecimal fields, its name, and its content, each padded to four bytes. Written so that
//! the same entries give the same bytes: no times, inode numbers in order. Device nodes need no privilege to be written.

use super::error::BundleError;

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_000;

/// An archive in the making.
#[derive(Debug, Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    inodes: u32,
}

impl Cpio {
    /// Adds a directory.
    pub(super) fn directory(&mut self, name: &str, mode: u32) -> Result<(), BundleError> {
        self.entry(name, DIRECTORY | mode, 2, (0, 0), &[])
    }

    /// Adds a regular file.
    pub(super) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), BundleError> {
        self.entry(name, REGULAR | mode, 1, (0, 0), content)
    }

    /// Adds a character device.
    pub(super) fn char_device(
        &mut self,
        name: &str,
        mode: u32,
        device: (u32, u32),
    ) -> Result<(), BundleError> {
        self.entry(name, CHAR_DEVICE | mode, 1, device, &[])
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, BundleError> {
        self.inodes = u32::MAX;
        self.entry(TRAILER, 0, 1, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        links: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> Result<(), BundleError> {
        let too_large = |_| BundleError::TooLarge { what: format!("{name} of the initramfs") };
        self.inodes = self.inodes.wrapping_add(1);
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.inodes, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq)]
    pub(in super::super) struct Entry {
        pub(in super::super) name: String,
        pub(in super::super) mode: u32,
        pub(in super::super) device: (u32, u32),
        pub(in super::super) content: Vec<u8>,
    }

    /// Reads an archive back, as the kernel does.
    pub(in super::super) fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let all = bytes.len();
        let mut entries = Vec::new();
        loop {
            let header = std::str::from_utf8(&bytes[..110]).unwrap();
            assert_eq!(&header[..6], MAGIC);
            let field = |n: usize| u32::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).unwrap();
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            let content = bytes[start..start + size].to_vec();
            bytes = &bytes[(start + size).next_multiple_of(4)..];
            assert_eq!((field(2), field(3), field(5), (all - bytes.len()) % 4), (0, 0, 0, 0));
            if name == TRAILER {
                assert!(bytes.iter().all(|byte| *byte == 0));
                return entries;
            }
            entries.push(Entry { name, mode: field(1), device: (field(9), field(10)), content });
        }
    }

    #[test]
    fn known_bytes() {
        let mut cpio = Cpio::default();
        cpio.file("a", 0o644, b"hi").unwrap();
        let text = String::from_utf8(cpio.finish().unwrap()).unwrap();
        let head = "070701000000010000 81A4 0000000000000000 00000001 00000000 00000002 0000000000000000\
                    0000000000000000 00000002 00000000a"
            .replace(' ', "");
        assert!(text.starts_with(&format!("{head}\0hi\0\0070701")), "{text:?}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::vec(("[a-z/]{1,20}", 0..0o10000_u32, prop::collection::vec(any::<u8>(), 0..50)), 0..8)
        ) {
            let mut cpio = Cpio::default();
            let mut expected = Vec::new();
            for (name, mode, content) in entries {
                cpio.file(&name, mode, &content).unwrap();
                expected.push(Entry { name, mode: REGULAR | mode, device: (0, 0), content });
            }
            cpio.directory("dev", 0o755).unwrap();
            cpio.char_device("dev/console", 0o600, (5, 1)).unwrap();
            let mut found = read(&cpio.finish().unwrap());
            let console = found.pop().unwrap();
            prop_assert_eq!((console.mode, console.device), (CHAR_DEVICE | 0o600, (5, 1)));
            prop_assert_eq!(found.pop().unwrap().mode, DIRECTORY | 0o755);
            prop_assert_eq!(found, expected);
        }
    }
}
