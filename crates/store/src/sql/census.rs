//! Counts keys, and finds tenants that have keys without expiry. Both read every key. Counts root keys that expire soon.

use super::rows::{int, text};
use super::{Engine, owner_blocked, query};
use crate::error::StoreError;
use crate::model::{CENSUS_DAYS, CENSUS_ROOT_KEY_DAYS, CENSUS_TENANTS_MAX, Census};
use keyreeve_core::Timestamp;
use keyreeve_core::text::Slug;

/// The standing of keys at `?1`, as `Key::standing` returns it for a settled key. Those of blocked owners count apart.
const STANDINGS: &str = concat!(
    "SELECT count(*) FILTER (WHERE state = 'active' AND coalesce(expires_at > ?1, TRUE) AND NOT is_blocked) AS active, \
     count(*) FILTER (WHERE state = 'active' AND coalesce(expires_at > ?1, TRUE) AND is_blocked) AS owner_blocked, \
     count(*) FILTER (WHERE state = 'active' AND expires_at <= ?1) AS expired, \
     count(*) FILTER (WHERE state = 'disabled' AND coalesce(finalize_at > ?1, TRUE)) AS disabled, \
     count(*) FILTER (WHERE state = 'revoked' OR (state = 'disabled' AND finalize_at <= ?1)) AS revoked, \
     count(*) FILTER (WHERE state = 'active' AND expires_at > ?1 AND expires_at <= ?2 AND NOT is_blocked) AS in_first, \
     count(*) FILTER (WHERE state = 'active' AND expires_at > ?1 AND expires_at <= ?3 AND NOT is_blocked) AS in_second, \
     count(*) FILTER (WHERE state = 'active' AND expires_at > ?1 AND expires_at <= ?4 AND NOT is_blocked) AS in_third \
     FROM (SELECT state, expires_at, finalize_at, CASE WHEN state = 'active' THEN ",
    owner_blocked!(),
    " ELSE FALSE END AS is_blocked FROM keys) AS counted"
);
const ENDLESS: &str = concat!(
    "SELECT tenant, count(*) AS total FROM keys WHERE state = 'active' AND expires_at IS NULL AND NOT ",
    owner_blocked!(),
    " GROUP BY tenant ORDER BY total DESC, tenant LIMIT ?1"
);

const ROOT_KEYS: &str =
    "SELECT count(*) AS total FROM root_keys WHERE revoked_at IS NULL AND expires_at > ?1 AND expires_at <= ?2";

pub(crate) async fn census(engine: &mut impl Engine, now: Timestamp) -> Result<Census, StoreError> {
    let mut statement = query(STANDINGS).bind(now.millis());
    for days in CENSUS_DAYS {
        statement = statement.bind(Census::horizon(now, days).millis());
    }
    let row = engine.the_row(statement).await?;
    let number = |name: &str| int(&row, name).map(|count| u64::try_from(count).unwrap_or(0));
    let mut census = Census {
        active: number("active")?,
        owner_blocked: number("owner_blocked")?,
        expired: number("expired")?,
        disabled: number("disabled")?,
        revoked: number("revoked")?,
        expiring: [number("in_first")?, number("in_second")?, number("in_third")?],
        endless: Vec::new(),
        root_keys_expiring: 0,
    };
    let root_keys = query(ROOT_KEYS).bind(now.millis());
    let root_keys = root_keys.bind(Census::horizon(now, CENSUS_ROOT_KEY_DAYS).millis());
    let row = engine.the_row(root_keys).await?;
    census.root_keys_expiring = u64::try_from(int(&row, "total")?).unwrap_or(0);
    for row in &engine.rows(query(ENDLESS).bind(CENSUS_TENANTS_MAX)).await? {
        let tenant = Slug::parse(text(row, "tenant")?).map_err(|_| super::rows::corrupt("tenant"))?;
        let total = u64::try_from(int(row, "total")?).unwrap_or(0);
        census.endless.push((tenant, total));
    }
    Ok(census)
}
