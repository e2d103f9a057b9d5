//! The kernel proper, out of the compressed image that distributions ship.
//!
//! A `vmlinuz` is a bzImage: a real-mode header, a loader, and the compressed kernel as the loader's payload. The header
//! (boot protocol 2.08 and later) says where the payload is. Guests start from the kernel itself, since in emulation
//! decompressing it costs seconds, and since not every VMM reads a bzImage.

use std::io::{self, Read};

use super::elf;
use crate::debian::xz_decoder;

/// Offsets and values of the boot protocol's header.
mod header {
    pub(super) const SETUP_SECTS: usize = 0x1f1;
    pub(super) const BOOT_FLAG: usize = 0x1fe;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const PAYLOAD_OFFSET: usize = 0x248;
    pub(super) const PAYLOAD_LENGTH: usize = 0x24c;
    /// The first version with a payload's place in it.
    pub(super) const MIN_VERSION: u16 = 0x0208;
    pub(super) const SECTOR: usize = 512;
    /// What 0 setup sectors mean.
    pub(super) const DEFAULT_SETUP_SECTS: u8 = 4;
}

/// The largest kernel taken: Debian's have some 50 MB.
const MAX_KERNEL: u64 = 512 << 20;

/// A kernel image cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// The file is no bzImage, or of a protocol too old.
    #[error("it is not a bzImage of boot protocol 2.08 or later")]
    NotBzImage,
    /// The header points outside the file.
    #[error("its header points outside the file")]
    BadHeader,
    /// The payload is packed in a way pyro does not know.
    #[error("its compression format is {format}, which pyro does not read")]
    Compression {
        /// The format's name, or its first bytes.
        format: String,
    },
    /// The payload is damaged.
    #[error("its payload is damaged")]
    Payload {
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// What came out is no kernel for this architecture.
    #[error("its payload is not an x86-64 ELF file")]
    NotElf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Xz,
    Zstd,
}

/// Unpacks the ELF kernel out of a bzImage.
pub(super) fn extract(image: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let payload = payload(image)?;
    let mut kernel = Vec::with_capacity(announced_size(payload));
    let compression = detect(payload)?;
    let failed = |source| VmlinuxError::Payload { source };
    let decoder: Box<dyn Read + '_> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(payload)),
        // The payload is one stream, and after it the size; the decoder must not take that for another stream.
        Compression::Xz => Box::new(xz_decoder(without_size(payload)).map_err(failed)?),
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(payload)
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error.to_string())))?;
            Box::new(decoder)
        }
    };
    decoder.take(MAX_KERNEL + 1).read_to_end(&mut kernel).map_err(failed)?;
    if kernel.len() as u64 > MAX_KERNEL {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    if elf::is_x86_64(&kernel) { Ok(kernel) } else { Err(VmlinuxError::NotElf) }
}

/// The loader's payload, by the header.
fn payload(image: &[u8]) -> Result<&[u8], VmlinuxError> {
    let magic = image.get(header::MAGIC..header::MAGIC + 4) == Some(b"HdrS");
    let flag = u16_at(image, header::BOOT_FLAG) == Some(0xaa55);
    let version = u16_at(image, header::VERSION).unwrap_or(0);
    if !magic || !flag || version < header::MIN_VERSION {
        return Err(VmlinuxError::NotBzImage);
    }
    let sectors = match image[header::SETUP_SECTS] {
        0 => header::DEFAULT_SETUP_SECTS,
        sectors => sectors,
    };
    let setup = (usize::from(sectors) + 1) * header::SECTOR;
    let field = |offset| u32_at(image, offset).and_then(|value| usize::try_from(value).ok());
    let place = field(header::PAYLOAD_OFFSET).zip(field(header::PAYLOAD_LENGTH));
    let (offset, length) = place.ok_or(VmlinuxError::BadHeader)?;
    let start = setup.checked_add(offset).ok_or(VmlinuxError::BadHeader)?;
    let end = start.checked_add(length).ok_or(VmlinuxError::BadHeader)?;
    image.get(start..end).ok_or(VmlinuxError::BadHeader)
}

/// The size of the kernel, by the last four bytes of the payload: gzip ends so, and the kernel's build makes the others
/// alike. Only a hint, so that memory is asked for once.
fn announced_size(payload: &[u8]) -> usize {
    let size = payload.last_chunk().map_or(0, |last| u32::from_le_bytes(*last));
    usize::try_from(u64::from(size).min(MAX_KERNEL)).unwrap_or(0)
}

/// The payload without the size that the kernel's build appends to it.
fn without_size(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().saturating_sub(4)]
}

fn detect(payload: &[u8]) -> Result<Compression, VmlinuxError> {
    let known = |format: &str| Err(VmlinuxError::Compression { format: format.to_owned() });
    match payload {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Compression::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => known("bzip2"),
        [0x5d, 0, 0, ..] => known("lzma"),
        [0x02, 0x21, 0x4c, 0x18, ..] => known("lz4"),
        [0x89, b'L', b'Z', b'O', ..] => known("lzo"),
        [first @ .., _] => known(&format!("unknown ({:02x?})", &first[..first.len().min(4)])),
        [] => Err(VmlinuxError::BadHeader),
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::xz_for_tests as xz;
    use flate2::{Compression as Level, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    /// A bzImage around `payload`, whose size is appended as the kernel's build does for all but gzip.
    fn image(setup_sects: u8, payload: &[u8]) -> Vec<u8> {
        let sectors = if setup_sects == 0 { 4 } else { usize::from(setup_sects) };
        let mut image = vec![0; (sectors + 1) * 512 + 64];
        image[0x1f1] = setup_sects;
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&64_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(&[9; 100]);
        image
    }

    fn kernel() -> Vec<u8> {
        let mut kernel = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        kernel.truncate(100_000);
        kernel
    }

    fn sized(mut packed: Vec<u8>) -> Vec<u8> {
        packed.extend_from_slice(&100_000_u32.to_le_bytes());
        packed
    }

    #[test]
    fn kernels_come_out_of_every_packing() {
        let mut gzip = GzEncoder::new(Vec::new(), Level::fast());
        gzip.write_all(&kernel()).unwrap();
        let gzip = gzip.finish().unwrap();
        // A zstd frame of one raw block: magic, descriptor (single segment, 4-byte size), size, block header, content.
        let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
        zstd.extend_from_slice(&100_000_u32.to_le_bytes());
        zstd.extend_from_slice(&((100_000_u32 << 3) | 1).to_le_bytes()[..3]);
        zstd.extend_from_slice(&kernel());
        for (name, payload) in [("gzip", gzip), ("xz", sized(xz(&kernel()))), ("zstd", sized(zstd))] {
            for setup_sects in [0, 27, 39] {
                let unpacked = extract(&image(setup_sects, &payload));
                assert!(unpacked.is_ok_and(|unpacked| unpacked == kernel()), "{name}");
            }
        }
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let good = image(27, &sized(xz(&kernel())));
        let with = |offset: usize, bytes: &[u8]| {
            let mut image = good.clone();
            image[offset..offset + bytes.len()].copy_from_slice(bytes);
            image
        };
        let cases = [
            (Vec::new(), "it is not a bzImage of boot protocol 2.08 or later"),
            (with(0x202, b"hdrs"), "it is not a bzImage of boot protocol 2.08 or later"),
            (with(0x206, &[0x07, 0x02]), "it is not a bzImage of boot protocol 2.08 or later"),
            (with(0x248, &[0xff; 4]), "its header points outside the file"),
            (with(0x24c, &[0xff; 4]), "its header points outside the file"),
            (image(27, b"\x02\x21\x4c\x18 rest"), "its compression format is lz4, which pyro does not read"),
            (
                image(27, b"what is this"),
                "its compression format is unknown ([77, 68, 61, 74]), which pyro does not read",
            ),
            (image(27, &xz(&kernel())[..200]), "its payload is damaged"),
            (image(27, &sized(xz(b"not a kernel"))), "its payload is not an x86-64 ELF file"),
        ];
        for (image, message) in cases {
            assert_eq!(extract(&image).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            let mut image = image(1, b"");
            let len = bytes.len().min(image.len());
            image[..len].copy_from_slice(&bytes[..len]);
            image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
            image[0x202..0x206].copy_from_slice(b"HdrS");
            prop_assert!(extract(&image).is_err());
        }
    }
}
