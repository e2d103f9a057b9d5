//! The SDK in a home, for tests that take more than one step with a machine.

use crate::{DEBIAN, SUITE};
use pyro::{Dirs, Pyro, Settings, TemplatePolicy};
use pyro_testkit::Home;
use std::ffi::OsString;
use std::future::Future;
use std::path::Path;

/// A home that is prepared, and the SDK in it.
pub fn prepared() -> (Home, Pyro) {
    let home = SUITE.with(DEBIAN);
    let pyro = of(&home);
    (home, pyro)
}

/// The SDK in a home.
pub fn of(home: &Home) -> Pyro {
    let root = home.path().to_owned();
    let cache = home.cache().parent().map(Path::to_owned).unwrap();
    let lookup = move |name: &str| -> Option<OsString> {
        match name {
            "HOME" => Some(root.clone().into()),
            "XDG_CACHE_HOME" => Some(cache.clone().into()),
            "XDG_STATE_HOME" => Some(root.join("state").into()),
            "XDG_DATA_HOME" => Some(root.join("data").into()),
            "XDG_RUNTIME_DIR" => Some(root.join("run").into()),
            _ => None,
        }
    };
    let dirs = Dirs::resolve(&lookup).unwrap();
    let program = Some(env!("CARGO_BIN_EXE_pyro").into());
    // The engine is the one that the suite runs on.
    let settings = Settings::from_env().unwrap();
    Pyro::new(Settings { dirs, templates: TemplatePolicy::Manual, program, ..settings })
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}
