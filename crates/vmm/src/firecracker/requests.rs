//! What is asked of Firecracker, as its API takes it: one type for each resource.

use serde::Serialize;

/// One request and its body.
pub(super) struct Request {
    pub(super) method: hyper::Method,
    /// As "/machine-config".
    pub(super) path: String,
    pub(super) body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Body {
    MachineConfig { vcpu_count: u32, mem_size_mib: u32, smt: bool },
    BootSource { kernel_image_path: String, initrd_path: String, boot_args: String },
    Drive(Drive),
    Vsock { guest_cid: u32, uds_path: &'static str },
    Entropy { rate_limiter: RateLimiter },
    Action { action_type: &'static str },
    Vm { state: &'static str },
    CreateSnapshot { snapshot_type: &'static str, snapshot_path: &'static str, mem_file_path: &'static str },
    LoadSnapshot(LoadSnapshot),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "these are the API's names")]
pub(super) struct Drive {
    pub(super) drive_id: String,
    pub(super) path_on_host: &'static str,
    pub(super) is_root_device: bool,
    pub(super) is_read_only: bool,
    pub(super) cache_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_limiter: Option<RateLimiter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LoadSnapshot {
    pub(super) snapshot_path: String,
    pub(super) mem_backend: MemoryBackend,
    pub(super) resume_vm: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vsock_override: Option<VsockOverride>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct MemoryBackend {
    pub(super) backend_path: String,
    pub(super) backend_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct VsockOverride {
    pub(super) uds_path: &'static str,
}

/// What may pass in `refill_time` milliseconds, for bytes and for operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct RateLimiter {
    pub(super) bandwidth: TokenBucket,
    pub(super) ops: TokenBucket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct TokenBucket {
    pub(super) size: u64,
    pub(super) refill_time: u64,
}

impl RateLimiter {
    /// So many bytes and operations a second.
    pub(super) const fn per_second(bytes: u64, operations: u64) -> Self {
        Self { bandwidth: TokenBucket::per_second(bytes), ops: TokenBucket::per_second(operations) }
    }
}

impl TokenBucket {
    const fn per_second(size: u64) -> Self {
        const SECOND_MS: u64 = 1000;
        Self { size, refill_time: SECOND_MS }
    }
}

impl Request {
    pub(super) fn put(path: impl Into<String>, body: Body) -> Self {
        Self { method: hyper::Method::PUT, path: path.into(), body }
    }

    pub(super) fn patch(path: impl Into<String>, body: Body) -> Self {
        Self { method: hyper::Method::PATCH, path: path.into(), body }
    }

    pub(super) fn action(action_type: &'static str) -> Self {
        Self::put("/actions", Body::Action { action_type })
    }

    pub(super) fn state(state: &'static str) -> Self {
        Self::patch("/vm", Body::Vm { state })
    }
}
