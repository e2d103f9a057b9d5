//! What a guest with a network reaches: the package mirror, beside the host itself.

use super::super::series::Collected;
use super::{create_with, output};
use anyhow::{Context, Result, ensure};
use pyro::network::{NetworkPolicy, NetworkRules};
use pyro::workspace::{CreateWorkspace, WorkspaceId};
use pyro::{FetchOptions, Pyro};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// A file of some ten megabytes that every mirror has.
const FILE: &str = "dists/bookworm/main/binary-amd64/Packages.gz";
/// How long nothing may be said.
const SILENCE: Duration = Duration::from_secs(30);
/// Times of so many lookups of one name.
const LOOKUPS: &str = "perl -MTime::HiRes=time -e 'for (1 .. 6) { my $t = time; gethostbyname($ARGV[0]) or die; printf \"%.3f\\n\", (time - $t) * 1000 }'";

/// Takes one workspace through it.
pub async fn measure(pyro: &Pyro, series: &mut Collected) -> Result<()> {
    let mirror = FetchOptions::default().mirror().map_err(pyro::PyroError::from)?;
    let (base, (host, port)) = (mirror.base().to_owned(), mirror.place());
    let network = NetworkRules { policy: NetworkPolicy::Egress, allow_hosts: Vec::new() };
    let request = CreateWorkspace { network, ..CreateWorkspace::new(super::super::ENVIRONMENT) };
    let begun = Instant::now();
    let id = create_with(pyro, request).await?.workspace_id;
    series.time("create, with a network", begun.elapsed());

    for time in output(pyro, &id, &format!("{LOOKUPS} {host}")).await?.lines() {
        series.time("lookup of a name", Duration::from_secs_f64(time.parse::<f64>()? / 1000.0));
    }
    let url = format!("{base}/{FILE}");
    let told = output(
        pyro,
        &id,
        &format!("curl -sSf -o /dev/null -w '%{{size_download}} %{{time_total}} %{{time_connect}} %{{time_namelookup}}' {url}"),
    )
    .await?;
    let told: Vec<f64> = told.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let &[bytes, seconds, connected, looked_up] = &told[..] else { anyhow::bail!("curl said {told:?}") };
    series.time("connect", Duration::from_secs_f64((connected - looked_up).max(0.0)));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size is a whole number")]
    series.rate("download, in the guest", bytes as usize, Duration::from_secs_f64(seconds));
    if base.starts_with("http://") {
        let begun = Instant::now();
        let bytes = block_in_place(|| download(&host, port, &url))?;
        series.rate("download, on the host", bytes, begun.elapsed());
    }
    packages(pyro, &id, &base, series).await?;
    pyro.delete_workspace(&id).await?;
    Ok(())
}

async fn packages(pyro: &Pyro, id: &WorkspaceId, base: &str, series: &mut Collected) -> Result<()> {
    let sources =
        format!("rm -rf /etc/apt/sources.list.d/*; echo 'deb {base} bookworm main' > /etc/apt/sources.list");
    output(pyro, id, &sources).await?;
    for (step, command) in [
        ("apt-get update", "apt-get -q update"),
        (
            "apt-get install of a small package",
            "apt-get -q install -y --no-install-recommends hello && hello",
        ),
    ] {
        let begun = Instant::now();
        output(pyro, id, command).await?;
        series.time(step, begun.elapsed());
    }
    Ok(())
}

/// Fetches a file as the host itself; returns its size.
fn download(host: &str, port: u16, url: &str) -> Result<usize> {
    let path = url.splitn(4, '/').nth(3).context("the mirror has no path")?;
    let mut connection = TcpStream::connect((host, port))?;
    connection.set_read_timeout(Some(SILENCE))?;
    write!(connection, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.") && answer.get(9..12) == Some(b"200"), "the mirror refused {path}");
    Ok(answer.len())
}
