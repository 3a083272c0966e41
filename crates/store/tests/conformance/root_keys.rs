//! Root keys and tenants.

use crate::world::{NOW, World, context, name, slug};
use keyreeve_core::access::Reach;
use keyreeve_core::policy::Preset;
use keyreeve_store::WriteError;
use keyreeve_store::model::{Bootstrap, Tenant};

fn tenant(slug_text: &str) -> Tenant {
    Tenant {
        slug: slug(slug_text),
        name: name(slug_text),
        status: keyreeve_core::user::Status::Active,
        policy: Preset::Keep.policy(),
        created_at: NOW,
    }
}

pub async fn an_instance_is_founded_once(world: World) {
    // The world already has a tenant.
    let head = world.store.head().await.unwrap();
    let root_key = world.root_key(Reach::Instance);
    let digest = root_key.digest;
    let never = Box::new(|| -> Result<(), String> { panic!("a root key that is not made was shown") });
    let founding = world.store.found(context(), tenant("default"), root_key, never).await;
    assert_eq!(founding.unwrap(), Bootstrap::StoodAlready);
    assert_eq!(world.store.head().await.unwrap(), head);
    assert!(world.store.find_root_key(&digest).await.unwrap().value.is_none());
}

pub async fn a_root_key_is_found_by_its_secret_until_and_after_it_is_revoked(world: World) {
    let root_key = world.root_key(Reach::Instance);
    let made = world.store.create_root_key(context(), root_key.clone()).await.unwrap();
    let found = world.store.find_root_key(&root_key.digest).await.unwrap();
    assert_eq!((found.value.as_ref(), found.revision), (Some(&root_key), made));
    world.seen.forget();
    let (revoked, revision) = world.store.revoke_root_key(context(), None, root_key.id).await.unwrap();
    assert_eq!(revision, made + 1);
    assert_eq!(revoked.revoked_at, Some(NOW));
    assert_eq!(world.seen.0.lock().unwrap()[0].root_keys, [root_key.digest]);
    let found = world.store.find_root_key(&root_key.digest).await.unwrap();
    assert_eq!((found.value, found.revision), (Some(revoked.clone()), made + 1));
    let again = world.store.revoke_root_key(context(), None, root_key.id).await.unwrap();
    assert_eq!(again, (revoked, revision));
    assert_eq!(world.revision().await, made + 1);
}

pub async fn a_tenants_root_keys_are_its_own(world: World) {
    world.make_tenant("other", Preset::Standard.policy()).await;
    let own = world.root_key(Reach::Tenant(world.tenant.clone()));
    world.store.create_root_key(context(), own.clone()).await.unwrap();
    let of_instance = world.root_key(Reach::Instance);
    world
        .store
        .create_root_key(context(), of_instance.clone())
        .await
        .unwrap();
    for id in [own.id, of_instance.id] {
        let refused = world.store.revoke_root_key(context(), Some(slug("other")), id).await;
        assert!(matches!(refused, Err(WriteError::NotFound)));
    }
    let listed = world.store.root_keys(Some(world.tenant.clone()), 10).await.unwrap();
    assert_eq!(listed.first(), Some(&own), "newest first");
    assert!(
        listed
            .iter()
            .all(|key| key.reach == Reach::Tenant(world.tenant.clone()))
    );
    let all = world.store.root_keys(None, 10).await.unwrap();
    assert_eq!(all.first(), Some(&of_instance));
    assert_eq!(world.store.root_keys(None, 1).await.unwrap().len(), 1);
    let nowhere = world.root_key(Reach::Tenant(slug("nowhere")));
    let refused = world.store.create_root_key(context(), nowhere).await;
    assert!(matches!(refused, Err(WriteError::NotFound)));
}

pub async fn a_slug_belongs_to_one_tenant(world: World) {
    let root_key = world.root_key(Reach::Tenant(slug("acme")));
    let taken = world.store.create_tenant(context(), tenant("acme"), root_key).await;
    assert!(matches!(taken, Err(WriteError::SlugTaken)));
    let beta = tenant("beta");
    let root_key = world.root_key(Reach::Tenant(slug("beta")));
    world
        .store
        .create_tenant(context(), beta.clone(), root_key)
        .await
        .unwrap();
    assert_eq!(world.store.tenant(&slug("beta")).await.unwrap(), Some(beta.clone()));
    assert_eq!(world.store.tenant(&slug("gamma")).await.unwrap(), None);
    let slugs = |tenants: Vec<Tenant>| tenants.iter().map(|tenant| tenant.slug.to_string()).collect::<Vec<_>>();
    assert_eq!(slugs(world.store.tenants(None, 10).await.unwrap()), ["acme", "beta"]);
    assert_eq!(
        slugs(world.store.tenants(Some(slug("acme")), 10).await.unwrap()),
        ["beta"]
    );
    assert_eq!(slugs(world.store.tenants(None, 1).await.unwrap()), ["acme"]);
}
