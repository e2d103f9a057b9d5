//! What is known of a file, in whichever layer it is.

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
}

/// What an inode says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its number: names that share one are links to the same file.
    pub inode: u64,
    /// What it is.
    pub kind: Kind,
    /// Permissions, with the set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; of a link, those of its target.
    pub size: u64,
    /// How many names it has in its layer.
    pub links: u32,
    /// Seconds since 1970 at which the content was changed last.
    pub modified: i64,
    /// And nanoseconds.
    pub modified_nanos: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Meta {
    /// The mark of overlayfs for a name that is no more.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind == Kind::Character && self.device == (0, 0)
    }
}

/// An extended attribute, as ext4 has it: the beginning of its name is a number, access control lists are in ext4's form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The beginning of its name.
    pub space: Space,
    /// The rest of its name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// The beginning of an attribute's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
    /// `user.`
    User = 1,
    /// `system.posix_acl_access`, as a whole.
    AclAccess = 2,
    /// `system.posix_acl_default`, as a whole.
    AclDefault = 3,
    /// `trusted.`
    Trusted = 4,
    /// `security.`
    Security = 6,
}

impl Space {
    pub(crate) const ALL: [Self; 5] =
        [Self::User, Self::AclAccess, Self::AclDefault, Self::Trusted, Self::Security];

    pub(crate) fn of(index: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|space| *space as u8 == index)
    }

    /// The beginning that it stands for.
    pub(crate) fn prefix(self) -> &'static [u8] {
        match self {
            Self::User => b"user.",
            Self::AclAccess => b"system.posix_acl_access",
            Self::AclDefault => b"system.posix_acl_default",
            Self::Trusted => b"trusted.",
            Self::Security => b"security.",
        }
    }
}

/// A part of a file that holds data; between two there are zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, a multiple of a block.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}
