//! `keyreeve backup create`: of a running server through its socket, or of a stopped one.

use super::{described, print, progress, recipients};
use crate::exit::UsageError;
use crate::output::{self, Format};
use crate::settings::DatabaseOptions;
use anyhow::Context as _;
use clap::Args;
use keyreeve_client::{ByteStream, Client};
use keyreeve_server::backup::create::{offline, receive};
use keyreeve_server::backup::{ADDRESS, BackupFile, KEPT_ADDRESS, Manifest, Recipients, RowProgress, StoredBackup};
use keyreeve_server::instance::operator_socket;
use keyreeve_server::settings::DatabaseAccess;
use serde_json::json;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces that wait to be written.
const PIECES_WAITING: usize = 8;

const EXAMPLES: &str = "\
Examples:
  keyreeve backup create --data /var/lib/keyreeve --out /backup/keyreeve.backup
  keyreeve backup create --database postgres://keyreeve@db.example/keyreeve --out keyreeve.backup
  keyreeve backup create --recipient age1… --recipient age1… --out keyreeve.backup.age

A running server is asked through the socket in its data directory, and goes on. Without one, the database is read
directly: SQLite in the data directory, or Postgres with --database. The file is signed with the key of the data
directory, and gets its name when it is complete.";

/// Write a backup.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupCreate {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Encrypt to an age recipient (age1…); may be given several times
    #[arg(long, value_name = "age1…")]
    recipient: Vec<String>,
    /// The data directory
    #[arg(long, env = "KEYREEVE_DATA", default_value = "./keyreeve-data")]
    data: PathBuf,
    #[command(flatten)]
    database: DatabaseOptions,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl BackupCreate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let recipients = recipients(&self.recipient)?;
        let database = self.database.settle(output::say_waiting)?;
        let file = BackupFile::begin(&self.out, self.force)?;
        let partial = file.partial_path().to_owned();
        let made = make(&self.data, database.as_ref(), file, recipients).await;
        if made.is_err() {
            // After an interrupt, the thread that writes it may not have removed it yet.
            drop(std::fs::remove_file(partial));
        }
        let (manifest, written) = made?;
        let (file, bytes) = (written.path.display().to_string(), written.bytes);
        print(
            self.output,
            described(&manifest),
            &json!({"file": file, "bytes": bytes}),
        );
        output::say(&format!("{file}: {bytes} bytes, up to revision {}.", manifest.revision));
        Ok(())
    }
}

async fn make(
    data: &Path,
    database: Option<&DatabaseAccess>,
    file: BackupFile,
    recipients: Recipients,
) -> anyhow::Result<(Manifest, StoredBackup)> {
    let progress = Arc::new(RowProgress::default());
    let socket = operator_socket(data);
    match UnixStream::connect(&socket) {
        Ok(_) => {
            let client = Client::over_socket(&socket)?;
            let made = online(&client, file, recipients, Arc::clone(&progress));
            progress::shown("backup", progress, made).await
        }
        Err(_) if !data.is_dir() => {
            let why = format!("there is no data directory {}; name it with --data", data.display());
            Err(UsageError(why).into())
        }
        Err(_) => {
            let made = offline(data, database, file, recipients, Arc::clone(&progress));
            progress::shown("backup", progress, async { Ok(made.await?) }).await
        }
    }
}

/// Takes the backup of a running server, and reports to it that the file is stored.
async fn online(
    client: &Client,
    file: BackupFile,
    recipients: Recipients,
    progress: Arc<RowProgress>,
) -> anyhow::Result<(Manifest, StoredBackup)> {
    let stream = client.stream(ADDRESS).await?;
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    let (received, ()) = tokio::join!(receive(pieces, file, recipients, progress), forward(stream, sender));
    let received = received?;
    client
        .get(KEPT_ADDRESS, &[])
        .await
        .context("the backup is stored, but the server has no record of it")?;
    Ok(received)
}

/// Passes the pieces on until the end, or until the receiver has failed.
async fn forward(mut stream: ByteStream, to: mpsc::Sender<io::Result<bytes::Bytes>>) {
    loop {
        let piece = match stream.next().await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => return,
            Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
        };
        let is_last = piece.is_err();
        if to.send(piece).await.is_err() || is_last {
            return;
        }
    }
}
