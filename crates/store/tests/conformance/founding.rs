//! An instance is created together with the showing of its first root key, or not at all.

use crate::world::{NOW, Seen, context, name, postgres_database, slug};
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::key::Prefix;
use keyreeve_core::policy::Preset;
use keyreeve_core::user::Status;
use keyreeve_core::{RootKeyId, Secret};
use keyreeve_store::model::{Bootstrap, RootKey, Tenant};
use keyreeve_store::{MemoryStore, PostgresStore, SqliteStore, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn tenant() -> Tenant {
    Tenant {
        slug: slug("default"),
        name: name("Default"),
        status: Status::Active,
        policy: Preset::Standard.policy(),
        created_at: NOW,
    }
}

fn root_key(number: u8) -> RootKey {
    let secret = Secret::mint(&Prefix::root(), &[number; 32]);
    RootKey {
        id: RootKeyId::from_bytes([number; 16]),
        name: name("first root key"),
        reach: Reach::Instance,
        permissions: Permissions::all(),
        digest: secret.digest(),
        last_four: secret.last_four(),
        created_at: NOW,
        revoked_at: None,
        networks: keyreeve_core::limits::Networks::default(),
        retiring: None,
        is_presented: false,
        rotated_at: None,
        expires_at: None,
        last_used_at: None,
    }
}

async fn found(store: &dyn Store, number: u8, shown: Result<(), String>) -> Bootstrap {
    let show = Box::new(move || shown);
    let founding = store.found(context(), tenant(), root_key(number), show).await;
    founding.unwrap()
}

async fn what_cannot_be_shown_is_not_made(store: &dyn Store) {
    let before = store.head().await.unwrap();
    let why = || Err("nobody reads".to_owned());
    assert_eq!(
        found(store, 1, why()).await,
        Bootstrap::NotShown("nobody reads".to_owned())
    );
    assert_eq!(store.head().await.unwrap(), before);
    assert!(store.tenants(None, 9).await.unwrap().is_empty());
    assert!(store.root_keys(None, 9).await.unwrap().is_empty());
    assert_eq!(found(store, 2, Ok(())).await, Bootstrap::Founded);
    assert_eq!(found(store, 3, why()).await, Bootstrap::StoodAlready);
    let kept = store.root_keys(None, 9).await.unwrap();
    assert_eq!(kept, [root_key(2)]);
}

#[tokio::test]
async fn in_memory_what_cannot_be_shown_is_not_made() {
    what_cannot_be_shown_is_not_made(&MemoryStore::new(Arc::new(Seen::default()))).await;
}

#[tokio::test]
async fn in_sqlite_what_cannot_be_shown_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), Arc::new(Seen::default())).await;
    what_cannot_be_shown_is_not_made(&store.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_postgres_what_cannot_be_shown_is_not_made() {
    let Some(url) = postgres_database().await else { return };
    let store = PostgresStore::open(&url, Arc::new(Seen::default())).await;
    what_cannot_be_shown_is_not_made(&store.unwrap()).await;
}

/// Two nodes start at once, and the first is slow to show its root key: the second waits for the outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_start_at_once_the_others_wait_until_one_has_shown_its_root_key() {
    for (shown, first_says, second_says) in [
        (Ok(()), Bootstrap::Founded, Bootstrap::StoodAlready),
        (
            Err("gone".to_owned()),
            Bootstrap::NotShown("gone".to_owned()),
            Bootstrap::Founded,
        ),
    ] {
        let Some(url) = postgres_database().await else { return };
        let first = PostgresStore::open(&url, Arc::new(Seen::default())).await.unwrap();
        let second = PostgresStore::open(&url, Arc::new(Seen::default())).await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (begins, begun) = tokio::sync::oneshot::channel();
        let ends = Arc::clone(&is_over);
        let slowly = Box::new(move || {
            begins.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            ends.store(true, Ordering::SeqCst);
            shown
        });
        let founding = tokio::spawn(async move { first.found(context(), tenant(), root_key(1), slowly).await });
        begun.await.unwrap();
        let at_once = Box::new(|| Ok(()));
        let other = second.found(context(), tenant(), root_key(2), at_once).await.unwrap();
        assert!(is_over.load(Ordering::SeqCst), "the second did not wait");
        assert_eq!(other, second_says);
        let kept = if other == Bootstrap::Founded { 2 } else { 1 };
        assert_eq!(founding.await.unwrap().unwrap(), first_says);
        assert_eq!(second.root_keys(None, 9).await.unwrap(), [root_key(kept)]);
    }
}
