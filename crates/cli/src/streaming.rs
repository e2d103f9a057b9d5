//! The output of a guest's command, on its way to the terminal while the command runs.

use crate::printer::OutputFailed;
use anyhow::Result;
use pyro::{OutputChunk, OutputMode, PyroError};
use tokio::io::{AsyncWriteExt, stderr, stdout};
use tokio::sync::mpsc;

/// Pieces of output on their way to the terminal: enough to keep both ends busy, little enough to hold in memory.
const PIECES_UNDERWAY: usize = 16;

/// Runs what `start` makes of an output mode, and copies its output to our own, byte by byte. When nobody reads ours any
/// more, the command is dropped, and killed by that.
pub async fn streamed<T, Run>(start: impl FnOnce(OutputMode) -> Run) -> Result<T>
where
    Run: Future<Output = Result<T, PyroError>>,
{
    let (sender, receiver) = mpsc::channel(PIECES_UNDERWAY);
    let run = async { Ok(start(OutputMode::Stream(sender)).await?) };
    let (result, ()) = tokio::try_join!(run, copy(receiver))?;
    Ok(result)
}

async fn copy(receiver: mpsc::Receiver<OutputChunk>) -> Result<()> {
    Ok(copy_chunks(receiver).await.map_err(OutputFailed)?)
}

async fn copy_chunks(mut receiver: mpsc::Receiver<OutputChunk>) -> std::io::Result<()> {
    let (mut stdout, mut stderr) = (stdout(), stderr());
    while let Some(chunk) = receiver.recv().await {
        match chunk {
            OutputChunk::Stdout(data) => stdout.write_all(&data).await?,
            OutputChunk::Stderr(data) => stderr.write_all(&data).await?,
        }
        if receiver.is_empty() {
            stdout.flush().await?;
            stderr.flush().await?;
        }
    }
    stdout.flush().await?;
    stderr.flush().await
}
