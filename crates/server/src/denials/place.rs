//! Compares a file with denials with a database, by the chain hashes of the audit log.

use super::ledger::{Ledger, LedgerHistory};
use keyreeve_authority::denials::RecordedDenial;
use keyreeve_authority::{Authority, Failure};
use keyreeve_core::audit::{ChainHash, Milestone};

/// Returns the chain hash of an entry of the log.
async fn chain_at(authority: &Authority, revision: u64) -> Result<Option<ChainHash>, Failure> {
    let Some(before) = revision.checked_sub(1) else {
        return Ok(None);
    };
    let entries = authority.audit().after(before, 1).await?;
    let found = entries.first().filter(|entry| entry.revision == revision);
    Ok(found.map(|entry| entry.chain))
}

/// Whether the log contains an entry. Every log contains the beginning.
pub(crate) async fn contains(authority: &Authority, entry: Milestone) -> Result<bool, Failure> {
    Ok(entry.revision == 0 || chain_at(authority, entry.revision).await? == Some(entry.chain))
}

/// Returns how many of the first denials of a history the log contains: the others are lost. Reads a few entries,
/// because a log contains an entry together with all before it.
pub(crate) async fn first_missing(authority: &Authority, denials: &[RecordedDenial]) -> Result<usize, Failure> {
    let (mut low, mut high) = (0, denials.len());
    while low < high {
        let middle = low.midpoint(high);
        let Some(denial) = denials.get(middle) else { break };
        match contains(authority, denial.entry).await? {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}

/// Whether a file is about this instance: by its first line, or by an entry that both have. Without a readable first line
/// only the latter decides.
pub(crate) async fn is_of_instance(authority: &Authority, ledger: &Ledger) -> Result<bool, Failure> {
    if let Some(origin) = ledger.origin {
        return Ok(chain_at(authority, 1).await? == Some(origin));
    }
    for history in &ledger.histories {
        // Every log contains the beginning.
        if common(authority, history)
            .await?
            .is_some_and(|known| known.revision > 0)
        {
            return Ok(true);
        }
    }
    Ok(ledger.histories.is_empty())
}

/// Returns the first chain hash of the log; `None` if it is empty.
pub(super) async fn origin(authority: &Authority) -> Result<Option<ChainHash>, Failure> {
    chain_at(authority, 1).await
}

/// Returns the newest entry up to which a history and the log agree; `None` if they do not.
pub(crate) async fn common(authority: &Authority, history: &LedgerHistory) -> Result<Option<Milestone>, Failure> {
    if contains(authority, history.end).await? {
        return Ok(Some(history.end));
    }
    let known = first_missing(authority, &history.denials).await?;
    if let Some(last) = known.checked_sub(1).and_then(|last| history.denials.get(last)) {
        return Ok(Some(last.entry));
    }
    Ok(contains(authority, history.from).await?.then_some(history.from))
}
