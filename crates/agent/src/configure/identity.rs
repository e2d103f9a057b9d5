//! What must not be shared between clones of one template: randomness, time and names. And what may be: the loopback
//! interface.

use std::ffi::c_int;
use std::fs::File;

use pyro_protocol::v1::Configure;
use rustix::fd::AsFd;
use rustix::ioctl::{self, Opcode, Setter, opcode};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::fail::Fail;
use crate::netlink::{LOOPBACK, Netlink};

const MAX_ENTROPY_BYTES: usize = 4096;
const MAX_HOSTNAME_BYTES: usize = 64;
const MACHINE_ID_DIGITS: usize = 32;

/// Bytes given to the kernel's pool at a time.
const POOL_BYTES: usize = 256;
const RNDADDENTROPY: Opcode = opcode::write::<[c_int; 2]>(b'R', 3);
const RNDRESEEDCRNG: Opcode = opcode::none(b'R', 7);

/// Fails when a field of the identity is malformed.
pub fn check(request: &Configure) -> Result<(), Fail> {
    if request.entropy.len() > MAX_ENTROPY_BYTES {
        return Err(Fail::invalid(format!("entropy is over {MAX_ENTROPY_BYTES} bytes")));
    }
    let name = request.hostname.as_bytes();
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if name.is_empty() || name.len() > MAX_HOSTNAME_BYTES || !name.iter().all(in_name) {
        return Err(Fail::invalid(format!("{:?} is not a hostname", request.hostname)));
    }
    let id = request.machine_id.as_bytes();
    let in_id = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if id.len() != MACHINE_ID_DIGITS || !id.iter().all(in_id) {
        return Err(Fail::invalid("the machine id is not 32 lower-case hexadecimal digits"));
    }
    Ok(())
}

/// What is the same in every clone of a template.
#[derive(Debug)]
pub struct Staged {
    /// The kernel's random number generator, open.
    random: File,
}

/// Does what is the same in every clone of a template.
pub fn stage() -> Result<Staged, Fail> {
    let raised = Netlink::open().and_then(|netlink| netlink.bring_up(LOOPBACK, None));
    raised.map_err(|error| Fail::os("bring the loopback interface up", error))?;
    let random = File::open("/dev/urandom").map_err(|error| Fail::os("open /dev/urandom", error))?;
    Ok(Staged { random })
}

/// Makes this machine the one that the request describes.
pub fn assume(staged: &Staged, request: &Configure) -> Result<(), Fail> {
    if !request.entropy.is_empty() {
        add_entropy(&staged.random, &request.entropy).map_err(|error| Fail::os("add entropy", error))?;
    }
    set_clock(request.unix_time_ns).map_err(|error| Fail::os("set the clock", error))?;
    rustix::system::sethostname(request.hostname.as_bytes())
        .map_err(|error| Fail::os("set the hostname", error))
}

/// `struct rand_pool_info` of the kernel, with a buffer of fixed size.
#[repr(C)]
struct RandPool {
    entropy_bits: c_int,
    buffer_bytes: c_int,
    buffer: [u8; POOL_BYTES],
}

/// Gives `entropy` to the kernel's generator and has it start anew from there.
fn add_entropy(random: &File, entropy: &[u8]) -> std::io::Result<()> {
    for chunk in entropy.chunks(POOL_BYTES) {
        let bytes = c_int::try_from(chunk.len()).unwrap_or_default();
        let mut pool = RandPool { entropy_bits: bytes * 8, buffer_bytes: bytes, buffer: [0; POOL_BYTES] };
        pool.buffer[..chunk.len()].copy_from_slice(chunk);
        credit(random.as_fd(), pool)?;
    }
    reseed(random.as_fd())
}

#[expect(unsafe_code, reason = "no safe wrapper exists for this ioctl")]
fn credit(random: rustix::fd::BorrowedFd<'_>, pool: RandPool) -> std::io::Result<()> {
    // SAFETY: RNDADDENTROPY reads a `rand_pool_info` and `buffer_bytes` bytes behind it, all within `pool`.
    unsafe { ioctl::ioctl(random, Setter::<RNDADDENTROPY, RandPool>::new(pool)) }?;
    Ok(())
}

#[expect(unsafe_code, reason = "no safe wrapper exists for this ioctl")]
fn reseed(random: rustix::fd::BorrowedFd<'_>) -> std::io::Result<()> {
    // SAFETY: RNDRESEEDCRNG takes no argument.
    unsafe { ioctl::ioctl(random, ioctl::NoArg::<RNDRESEEDCRNG>::new()) }?;
    Ok(())
}

/// Sets the wall clock to so many nanoseconds after the Unix epoch.
pub fn set_clock(unix_time_ns: u64) -> std::io::Result<()> {
    const NANOSECONDS: u64 = 1_000_000_000;
    let time = Timespec {
        tv_sec: (unix_time_ns / NANOSECONDS).cast_signed(),
        tv_nsec: (unix_time_ns % NANOSECONDS).cast_signed(),
    };
    clock_settime(ClockId::Realtime, time)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(hostname: &str, machine_id: &str) -> Configure {
        Configure { hostname: hostname.into(), machine_id: machine_id.into(), ..Configure::default() }
    }

    #[test]
    fn names_are_checked() {
        let id = "0123456789abcdef0123456789abcdef";
        let long = "x".repeat(MAX_HOSTNAME_BYTES + 1);
        assert!(check(&identity("pyro-1.local", id)).is_ok());
        for (hostname, machine_id) in [
            ("", id),
            ("a b", id),
            ("a\nb", id),
            (long.as_str(), id),
            ("a", ""),
            ("a", "0123456789ABCDEF0123456789ABCDEF"),
            ("a", "0123456789abcdef0123456789abcdef0"),
        ] {
            assert!(check(&identity(hostname, machine_id)).is_err(), "{hostname:?} {machine_id:?}");
        }
    }
}
