//! `keyreeve keys get`.

use super::targets::{KeyCallOptions, path_of};
use crate::output;
use clap::Args;

/// Show a key.
#[derive(Debug, Args)]
pub(crate) struct KeyGetArgs {
    /// The key
    id: String,
    /// Print only its version, for `keyreeve keys update --if-match`
    #[arg(long)]
    etag: bool,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyGetArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.etag {
            output::print(&self.common.client()?.etag(&path_of(&self.id)?).await?);
            return Ok(());
        }
        let key = self.common.client()?.get(&path_of(&self.id)?, &[]).await?;
        self.common.show(&key);
        Ok(())
    }
}
