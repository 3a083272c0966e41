//! Changes many keys in one way and in one transaction. Each is decided on alone; a refusal does not affect the others.

use super::audit_log::{Target, append};
use super::change::{erase_key, news, store_keys};
use super::{Written, recheck_actor};
use crate::error::WriteError;
use crate::model::{ChangeFacts, ChangeManyRequest, ChangedMany, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use keyreeve_core::lifecycle::Outcome;

pub(crate) async fn change_many(
    tx: &mut dyn Tx,
    context: &WriteContext,
    mut request: ChangeManyRequest,
) -> Result<Written<ChangedMany>, WriteError> {
    let tenant = tx.tenant(&request.tenant).await?.ok_or(WriteError::NotFound)?;
    recheck_actor(tx, context, &tenant.slug).await?;
    let (mut outcomes, mut entries) = (Vec::new(), Vec::new());
    let (mut done, mut commit) = (ChangedMany::default(), Commit::default());
    for record in tx.lock_keys(&request.tenant, &request.ids).await? {
        for note in request.notes.remove(&record.key.id).unwrap_or_default() {
            entries.push((Target::key(&record.key), note));
        }
        let facts = ChangeFacts {
            key: record.key,
            policy: &tenant.policy,
            name_taken: false,
        };
        match (request.decide)(facts) {
            Err(_) => {}
            Ok((Outcome::Unchanged(_), _)) => done.unchanged += 1,
            Ok((outcome, draft)) => {
                commit.keys.extend(news(outcome.key(), &draft));
                entries.push((Target::key(outcome.key()), draft));
                outcomes.push(outcome);
                done.changed += 1;
            }
        }
    }
    let stored = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Changed(key) => Some(key),
        Outcome::Unchanged(_) | Outcome::Erased(_) => None,
    });
    commit.secrets = store_keys(tx, &stored.collect::<Vec<_>>()).await?;
    for outcome in &outcomes {
        if let Outcome::Erased(key) = outcome {
            commit.secrets.extend(erase_key(tx, key.id).await?);
        }
    }
    let written = u64::try_from(entries.len()).unwrap_or(0);
    done.revision = append(tx, context, entries).await?;
    done.first = (done.revision + 1).saturating_sub(written);
    commit.revision = done.revision;
    commit.tenant = Some(tenant.slug);
    Ok(Written { value: done, commit })
}
