//! Numbers of keys.

use crate::world::{NOW, World, context, later};
use keyreeve_core::user::Status;
use keyreeve_store::model::{Census, TenantEdit};

pub async fn keys_are_counted_by_where_they_stand(world: World) {
    const DAY: u64 = 24 * 3_600;
    assert_eq!(world.store.census(NOW).await.unwrap(), Census::default());
    world.issue("user_1", "active").await;
    world.issue("user_2", "active too").await;
    let held = world.issue("user_1", "held").await;
    let revoked = world.issue("user_1", "revoked").await;
    world.issue_expiring("user_1", "soon", 60).await;
    world.issue_expiring("user_1", "within a week", 5 * DAY).await;
    world.issue_expiring("user_1", "within a month", 20 * DAY).await;
    world.issue_expiring("user_1", "later", 60 * DAY).await;
    world.disable(held.id).await;
    world.revoke(revoked.id).await;
    let now = world.store.census(NOW).await.unwrap();
    let expected = Census {
        active: 6,
        owner_blocked: 0,
        disabled: 1,
        expired: 0,
        revoked: 1,
        expiring: [1, 2, 3],
        endless: vec![(world.tenant.clone(), 2)],
        root_keys_expiring: 0,
    };
    assert_eq!(now, expected);
    let after = world.store.census(later(60)).await.unwrap();
    assert_eq!((after.active, after.expired, after.expiring), (5, 1, [0, 1, 2]));
    let suspended = TenantEdit {
        status: Some(Status::Suspended),
        ..TenantEdit::default()
    };
    world
        .store
        .change_tenant(context(), world.tenant.clone(), suspended)
        .await
        .unwrap();
    let blocked = world.store.census(NOW).await.unwrap();
    assert_eq!(
        (blocked.active, blocked.owner_blocked),
        (0, 6),
        "none of them can be used"
    );
    assert_eq!((blocked.expiring, blocked.endless), ([0, 0, 0], vec![]));
}
