//! `keyreeve healthcheck`: checks whether a server on this machine is ready.

use crate::exit::AnswerIsNo;
use crate::output;
use clap::Args;
use keyreeve_client::ClientError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Time limit for the server, below the default of container runtimes.
const PATIENCE: Duration = Duration::from_secs(4);
/// Most bytes that are read of an answer.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Check whether a server on this machine is ready: exit code 0 if it is, 3 if it is not, 7 if it does not answer.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  HEALTHCHECK CMD [\"keyreeve\", \"healthcheck\"]")]
pub(crate) struct Healthcheck {
    /// Address of the server's operations listener
    #[arg(
        long,
        env = "KEYREEVE_OPS_LISTEN",
        default_value = "127.0.0.1:7302",
        value_name = "ADDR"
    )]
    ops_listen: SocketAddr,
}

impl Healthcheck {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let address = SocketAddr::new(reachable(self.ops_listen.ip()), self.ops_listen.port());
        let silent = |_| ClientError::Unreachable(format!("{address} did not answer for {} s", PATIENCE.as_secs()));
        let asked = tokio::time::timeout(PATIENCE, ask(address)).await.map_err(silent)?;
        let answer = asked.map_err(|error| ClientError::Unreachable(format!("{address}: {error}")))?;
        let said = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        output::print(said.trim());
        match answer.starts_with("HTTP/1.1 200 ") {
            true => Ok(()),
            false => Err(AnswerIsNo.into()),
        }
    }
}

/// Replaces an unspecified address (all interfaces) by the loopback address.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
