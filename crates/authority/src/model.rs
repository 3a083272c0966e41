//! The records that use cases take and return. A face knows them from here and never depends on the store.

pub use keyreeve_store::cluster::NodeSession;
pub use keyreeve_store::model::{
    AuditRecord, Done, Idempotency, KeyPage, KeyRecord, Login, LoginKind, PageStart, Repeat, Total, Trace, UsageCount,
};
pub use keyreeve_store::version::{Condition, Version};
