//! `keyreeve keys get`.

use super::targets::{Common, path_of};
use clap::Args;

/// Show one key.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The key
    id: String,
    #[command(flatten)]
    common: Common,
}

impl Get {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let key = self.common.client()?.get(&path_of(&self.id)?, &[]).await?;
        self.common.show(&key);
        Ok(())
    }
}
