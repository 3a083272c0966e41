//! What only a database file can do.

use crate::world::{NOW, Seen, World};
use keyreeve_store::{SqliteStore, Store as _, StoreError};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused_by_name() {
    let world = World::sqlite().await.unwrap();
    let path = world.directory.as_ref().unwrap().path();
    let second = SqliteStore::open(path, Arc::new(Seen::default())).await;
    let Err(StoreError::InUse { path: named, holder }) = second else {
        panic!("it was opened twice");
    };
    assert_eq!(named, path.display().to_string());
    assert_eq!(holder, format!(" (pid {})", std::process::id()));
}

#[tokio::test]
async fn what_was_answered_is_there_when_it_is_opened_again() {
    let mut world = World::sqlite().await.unwrap();
    let key = world.issue("user_1", "one").await;
    world.revoke(key.id).await;
    let expected = world.store.key(&world.tenant, key.id, NOW).await.unwrap();
    let head = world.store.head().await.unwrap();
    let directory = world.directory.take().unwrap();
    world.store.close().await;
    drop(world.store);
    let again = SqliteStore::open(directory.path(), Arc::new(Seen::default()))
        .await
        .unwrap();
    assert_eq!(again.head().await.unwrap(), head);
    assert_eq!(again.key(&world.tenant, key.id, NOW).await.unwrap(), expected);
}

#[tokio::test]
async fn nobody_else_on_the_machine_can_read_it() {
    let world = World::sqlite().await.unwrap();
    world.issue("user_1", "one").await;
    let path = world.directory.as_ref().unwrap().path();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} is {mode:o}", entry.file_name());
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keyreeve.db");
    std::fs::write(
        &file,
        "this is somebody's letter, and not a database at all".repeat(100),
    )
    .unwrap();
    let before = std::fs::read(&file).unwrap();
    let opened = SqliteStore::open(directory.path(), Arc::new(Seen::default())).await;
    assert!(opened.is_err());
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_at_once_share_commits() {
    let world = Arc::new(World::sqlite().await.unwrap());
    world.seen.forget();
    let writers: Vec<_> = (0..200)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.issue(&format!("user_{number}"), "one").await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let commits = world.seen.0.lock().unwrap().len();
    assert!(commits < 200, "{commits} commits for 200 changes");
}
