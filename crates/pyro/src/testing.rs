//! What the SDK's own tests share.

use crate::{EngineChoice, FetchOptions, FirecrackerSource, Pyro, Settings, TemplatePolicy};
use pyro_runtime::{Dirs, Silent};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// An SDK that keeps everything below a directory.
pub(crate) fn sdk(home: &Path) -> Pyro {
    let (progress, source) = (Arc::new(Silent), FetchOptions::default());
    let (dirs, templates) = (Dirs::under(home), TemplatePolicy::Off);
    let (engine, firecracker) = (EngineChoice::Auto, FirecrackerSource::Pinned);
    Pyro::new(Settings { dirs, progress, source, templates, engine, firecracker, program: None })
}
