//! What an agent lives with in a workspace: a shell, a service, and what it publishes.

use super::super::series::Collected;
use super::{create_with, shell};
use anyhow::{Context, Result, bail, ensure};
use pyro::Pyro;
use pyro::network::{NetworkPolicy, NetworkRules};
use pyro::workspace::{
    CreateWorkspace, NewSecret, OpenShell, SecretName, SecretSource, ServiceReadiness, ShellId, StartService,
    WorkspaceId,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// How often what takes milliseconds is repeated in one workspace.
const REPEATED: usize = 5;
/// How long nothing may be said.
const SILENCE: Duration = Duration::from_secs(30);
/// Connections to a published port at once.
const PARALLEL: usize = 200;
/// What a command prints.
const PRINTED_MIB: usize = 16;
/// What is fetched through a published port in one go.
const FETCHED_MIB: usize = 16;

/// Answers a line with itself, and `get N` with N MiB.
const SERVER: &str = r#"use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8000, Listen => 512, ReuseAddr => 1) or die;
my $block = "x" x 65536;
while (my $client = $server->accept) {
    my $line = <$client>;
    if ($line =~ /^get (\d+)/) { print $client $block for 1 .. 16 * $1 } else { print $client $line }
    close $client;
}
"#;

/// Takes one workspace through it.
pub async fn measure(pyro: &Pyro, series: &mut Collected) -> Result<()> {
    let network = NetworkRules { policy: NetworkPolicy::EgressAndPublishedPorts, allow_hosts: Vec::new() };
    let request = CreateWorkspace { network, ..CreateWorkspace::new(super::super::ENVIRONMENT) };
    let id = create_with(pyro, request).await?.workspace_id;
    typing(pyro, &id, series).await?;
    services(pyro, &id, series).await?;
    ports(pyro, &id, series).await?;
    pyro.delete_workspace(&id).await?;
    outputs(pyro, 0, "output of a command", series).await?;
    outputs(pyro, 8, "output of a command, 8 secrets", series).await
}

/// How fast text comes out of a workspace with so many secrets.
async fn outputs(pyro: &Pyro, secrets: usize, step: &str, series: &mut Collected) -> Result<()> {
    let secret = |number: usize| -> Result<NewSecret> {
        let name = SecretName::parse(&format!("SECRET_{number}")).map_err(pyro::PyroError::from)?;
        let value = format!("{number:032x}-not-in-the-text").into();
        Ok(NewSecret { name, source: SecretSource::Literal(value) })
    };
    let secrets = (0..secrets).map(secret).collect::<Result<_>>()?;
    let request = CreateWorkspace { secrets, ..CreateWorkspace::new(super::super::ENVIRONMENT) };
    let id = create_with(pyro, request).await?.workspace_id;
    shell(
        pyro,
        &id,
        &format!("yes 'one line of a log, like many others' | head -c {PRINTED_MIB}M > /tmp/text"),
    )
    .await?;
    for _ in 0..REPEATED {
        let begun = Instant::now();
        shell(pyro, &id, "cat /tmp/text").await?;
        series.rate(step, PRINTED_MIB << 20, begun.elapsed());
    }
    pyro.delete_workspace(&id).await?;
    Ok(())
}

/// From a line that is typed to the output of its command.
async fn typing(pyro: &Pyro, id: &WorkspaceId, series: &mut Collected) -> Result<()> {
    let opened = Instant::now();
    let shell = pyro.open_shell(id, OpenShell::default()).await?.shell_id;
    // What comes before is the prompt.
    let mut cursor = follow(pyro, id, &shell, 0, "# ").await?;
    series.time("shell, to its prompt", opened.elapsed());
    for number in 0..REPEATED {
        let begun = Instant::now();
        pyro.write_shell(id, &shell, format!("echo $((41 * 271 + {number}))\n").as_bytes()).await?;
        cursor = follow(pyro, id, &shell, cursor, &(41 * 271 + number).to_string()).await?;
        series.time("shell, write to output", begun.elapsed());
        cursor = follow(pyro, id, &shell, cursor, "").await.unwrap_or(cursor);
    }
    pyro.close_shell(id, &shell).await?;
    Ok(())
}

/// Reads on until `expected` was printed; returns where that ends.
async fn follow(pyro: &Pyro, id: &WorkspaceId, shell: &ShellId, cursor: u64, expected: &str) -> Result<u64> {
    let (mut seen, mut at) = (Vec::new(), cursor);
    let limit = if expected.is_empty() { Duration::from_millis(100) } else { SILENCE };
    loop {
        let (first, bytes, _) = pyro.follow_shell(id, shell, at, limit).await?;
        at = first + bytes.len() as u64;
        seen.extend_from_slice(&bytes);
        if String::from_utf8_lossy(&seen).contains(expected) {
            return Ok(at);
        }
        ensure!(!bytes.is_empty(), "`{expected}` was not printed");
    }
}

/// From the call to a service that is ready as soon as it runs.
async fn services(pyro: &Pyro, id: &WorkspaceId, series: &mut Collected) -> Result<()> {
    for number in 0..REPEATED {
        let name = format!("file-{number}");
        let script = format!("touch {name}.ready; exec sleep 1000");
        let command = ["sh", "-c", &script].map(ToOwned::to_owned).to_vec();
        let readiness = Some(ServiceReadiness::File(format!("{name}.ready")));
        let begun = Instant::now();
        pyro.start_service(id, StartService { readiness, ..StartService::new(&name, command) }).await?;
        series.time("service, ready by a file", begun.elapsed());
        pyro.stop_service(id, &name).await?;
    }
    Ok(())
}

async fn ports(pyro: &Pyro, id: &WorkspaceId, series: &mut Collected) -> Result<()> {
    shell(pyro, id, &format!("cat > server.pl <<'END'\n{SERVER}END")).await?;
    let command = ["perl", "server.pl"].map(ToOwned::to_owned).to_vec();
    let request = StartService {
        readiness: Some(ServiceReadiness::Tcp("8000".to_owned())),
        ready_interval_ms: 100,
        publish: vec!["8000".parse()?],
        ..StartService::new("web", command)
    };
    let service = pyro.start_service(id, request).await?;
    let port = service.published_ports.first().context("nothing is published")?.host_port;
    block_in_place(|| -> Result<()> {
        ask(port, "warm")?;
        for _ in 0..REPEATED {
            let begun = Instant::now();
            ask(port, "first byte")?;
            series.time("published port, first byte", begun.elapsed());
        }
        let begun = Instant::now();
        parallel(port)?;
        series.time("published port, 200 at once, all answered", begun.elapsed());
        let begun = Instant::now();
        fetch(port, FETCHED_MIB)?;
        series.rate("published port, from the guest", FETCHED_MIB << 20, begun.elapsed());
        Ok(())
    })?;
    pyro.stop_service(id, "web").await?;
    Ok(())
}

fn connect(port: u16, line: &str) -> Result<TcpStream> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(SILENCE))?;
    connection.write_all(format!("{line}\n").as_bytes())?;
    Ok(connection)
}

/// Sends a line and reads it back.
fn ask(port: u16, line: &str) -> Result<()> {
    let mut answer = String::new();
    connect(port, line)?.read_to_string(&mut answer)?;
    ensure!(answer.trim_end() == line, "`{line}` was answered with `{answer}`");
    Ok(())
}

/// Fails when one of many connections at once is lost.
fn parallel(port: u16) -> Result<()> {
    let lost = thread::scope(|scope| {
        let asking = |number: usize| move || ask(port, &format!("line {number}"));
        let threads: Vec<_> = (0..PARALLEL).map(|number| scope.spawn(asking(number))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().and_then(Result::err)).collect::<Vec<_>>()
    });
    match lost.first() {
        Some(first) => bail!("{} of {PARALLEL} connections were lost; the first: {first:#}", lost.len()),
        None => Ok(()),
    }
}

fn fetch(port: u16, mebibytes: usize) -> Result<()> {
    let mut connection = connect(port, &format!("get {mebibytes}"))?;
    let (mut buffer, mut total) = (vec![0; 1 << 16], 0);
    loop {
        match connection.read(&mut buffer)? {
            0 => break,
            count => total += count,
        }
    }
    ensure!(total == mebibytes << 20, "{total} bytes instead of {mebibytes} MiB");
    Ok(())
}
