//! Work in several steps, none of which may be the last one.

use std::io;
use std::thread::{self, JoinHandle};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Runs `work` on a thread of its own. When nobody waits for the outcome any more, what dropped this waits for its end: a
/// process that is asked to end does so with the work done or undone.
///
/// Fails where there is no thread to be had, or `work` panics.
pub async fn uninterrupted<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().spawn(move || {
        // That nobody wants it is what this is for.
        let _unwanted = sender.send(runtime.block_on(work));
    })?;
    let _waits = Joined(Some(thread));
    receiver.await.map_err(io::Error::other)
}

/// A thread that is waited for.
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic of its own has been told already.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    #[tokio::test]
    async fn what_nobody_waits_for_is_done_all_the_same() {
        let steps = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&steps);
        let (begun, begins) = oneshot::channel();
        let work = uninterrupted(async move {
            begun.send(()).unwrap();
            for _ in 0..3 {
                sleep(Duration::from_millis(50)).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let given_up = async {
            tokio::select! {
                biased;
                done = work => done.unwrap(),
                begun = begins => begun.unwrap(),
            }
        };
        timeout(Duration::from_secs(30), given_up).await.unwrap();
        assert_eq!(steps.load(Ordering::SeqCst), 3);
        assert_eq!(uninterrupted(async { 7 }).await.unwrap(), 7);
    }
}
