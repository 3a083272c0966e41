//! What every database must do, in one suite. A database joins by a line in `suite!` and a way to open it in [`world`].
#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod activity;
mod audit_log;
mod census;
mod changes;
mod check_policies;
mod cluster;
mod comebacks;
mod copies;
mod founding;
mod limits;
mod lists;
mod owners;
mod people;
mod replays;
mod root_keys;
mod rotation;
mod secrets;
mod slices;
mod sqlite_only;
mod versions;
mod world;

macro_rules! suite {
    ($database:ident: $($part:ident :: $case:ident),+ $(,)?) => {
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(world) = crate::world::World::$database().await {
                        crate::$part::$case(world).await;
                    }
                }
            )+
        }
    };
}

/// The list of cases is written once; each database runs all of them.
macro_rules! every_database {
    ($($cases:tt)+) => {
        suite!(memory: $($cases)+);
        suite!(sqlite: $($cases)+);
        suite!(postgres: $($cases)+);
    };
}

every_database! {
    changes::a_change_its_entry_and_its_revision_come_together,
    changes::a_refused_change_writes_nothing,
    changes::no_change_is_no_entry,
    changes::an_unknown_key_is_not_found,
    changes::a_key_of_another_tenant_is_not_found,
    changes::a_caller_who_lost_the_right_meanwhile_changes_nothing,
    changes::the_observer_knows_before_the_caller,
    changes::a_caller_who_goes_away_has_its_change_made_all_the_same,
    changes::every_field_of_a_key_comes_back_as_it_was,
    changes::a_closed_store_says_so,
    changes::many_keys_change_in_one_commit_and_each_is_decided_on_alone,
    changes::many_keys_are_erased_with_all_their_secrets,
    changes::what_is_noted_of_keys_is_written_with_what_becomes_of_them,
    comebacks::a_key_that_comes_back_is_counted_as_a_new_one,
    comebacks::a_key_that_comes_back_is_asked_for_its_name_again,
    census::keys_are_counted_by_where_they_stand,
    audit_log::revisions_are_dense_under_many_writers,
    audit_log::the_chain_holds_from_the_first_entry_to_the_head,
    audit_log::an_entry_says_who_what_when_and_where,
    audit_log::the_log_is_read_in_parts,
    audit_log::events_of_the_instance_are_found_newest_first,
    limits::many_at_once_at_two_of_three_give_one_key,
    limits::a_batch_is_issued_whole_or_not_at_all,
    limits::what_counts_toward_the_limit,
    limits::a_name_is_taken_while_its_key_is_usable,
    lists::newest_first_in_pages_by_offset_and_by_cursor,
    lists::a_page_looks_at_so_many_keys_and_says_where_to_go_on,
    lists::what_is_not_to_be_counted_is_not,
    lists::of_what_expires_the_soonest_are_looked_at,
    lists::filters_by_owner_standing_and_name,
    lists::a_search_takes_every_character_as_it_is,
    lists::a_search_takes_no_regard_of_case_whatever_the_letters,
    activity::a_refusal_is_apart_from_a_use_and_the_secret_has_arrived,
    lists::unused_keys_scopes_and_endings_are_found,
    lists::a_revocation_whose_time_to_undo_is_over_counts_as_revoked,
    replays::a_retry_whose_secret_never_arrived_gets_another,
    replays::a_retry_whose_secret_was_presented_is_complete,
    replays::a_mark_on_another_request_is_refused,
    replays::a_mark_is_the_callers_own,
    replays::a_mark_is_forgotten_after_a_day,
    replays::a_refused_request_leaves_no_mark,
    replays::a_rotation_is_replayed_once_delivered_or_not,
    root_keys::an_instance_is_founded_once,
    root_keys::a_root_key_is_found_by_its_secret_until_and_after_it_is_revoked,
    root_keys::a_tenants_root_keys_are_its_own,
    root_keys::a_slug_belongs_to_one_tenant,
    rotation::a_rotated_root_key_has_both_secrets_until_its_overlap_is_over,
    rotation::without_an_overlap_the_old_secret_ends_and_memories_are_notified,
    rotation::a_second_rotation_ends_the_first_secret_and_memories_are_notified_of_all,
    rotation::an_overlap_can_be_ended_before_its_time,
    rotation::a_retry_of_a_rotation_replaces_only_a_secret_that_never_arrived,
    rotation::a_late_retry_does_not_replace_the_secret_of_a_later_rotation,
    rotation::a_retiring_secret_does_not_rotate_its_root_key_but_gets_its_own_retry,
    rotation::a_rotation_does_not_end_the_last_root_key_that_makes_others,
    rotation::a_revoked_or_expired_root_key_is_not_rotated,
    rotation::a_caller_gets_no_root_key_beyond_its_own,
    rotation::a_replaced_or_expired_secret_changes_nothing,
    rotation::a_root_key_that_expires_does_not_replace_the_last_that_does_not,
    rotation::a_use_of_a_root_key_moves_its_last_use_forward_only,
    rotation::a_census_counts_the_usable_root_keys_that_expire_soon,
    secrets::a_secret_is_known_with_all_that_a_verdict_needs,
    secrets::an_unknown_secret_is_stamped_too,
    secrets::a_rotation_retires_the_old_secret,
    secrets::an_overlap_keeps_the_old_secret_until_its_end,
    secrets::an_erased_secret_is_a_tombstone_for_ever,
    secrets::a_secret_is_never_issued_twice,
    secrets::who_shares_a_commit_with_a_change_that_fails_is_not_told_that_it_was_done,
    secrets::uses_move_forward_only_and_make_no_revision,
    slices::the_limits_of_a_key_come_back_as_they_were,
    slices::a_slice_is_given_out_once_and_makes_no_revision,
    slices::many_at_once_get_no_more_than_there_is,
    slices::what_comes_back_can_be_given_out_again,
    slices::what_comes_back_after_the_turn_of_a_period_adds_nothing_to_the_next_one,
    slices::a_use_from_before_the_turn_does_not_open_the_next_period_again,
    slices::a_clock_that_goes_back_finds_the_count_of_its_period,
    slices::a_rate_that_a_wrong_clock_counted_is_stored_as_the_right_one_says,
    slices::of_all_limits_that_are_asked_for_or_of_none,
    slices::a_limit_that_was_set_back_or_taken_away_forgets_its_count,
    slices::counters_go_with_their_key,
    activity::counts_add_up_by_hour_and_outcome,
    activity::costs_add_up_beside_the_counts,
    activity::counts_are_forgotten_after_ninety_days,
    activity::an_event_is_an_entry_and_nothing_else,
    activity::the_log_is_filtered_by_everything_that_is_asked,
    activity::the_log_is_read_in_both_orders_and_in_pages,
    activity::a_window_that_is_over_is_found_until_it_is_written_down,
    activity::keys_about_to_expire_are_listed,
    activity::counts_of_several_keys_and_the_most_refused_are_found,
    activity::traces_add_up_stay_few_and_go_with_their_key,
    owners::a_key_says_that_its_owner_is_blocked,
    owners::a_user_of_another_tenant_blocks_no_keys_here,
    owners::nothing_of_a_blocked_owner_is_made_or_comes_back,
    owners::nothing_is_made_or_comes_back_in_a_suspended_tenant,
    owners::a_retry_gives_a_blocked_owner_no_other_secret,
    owners::a_change_of_a_user_says_how_many_keys_stop_or_work_again,
    people::a_user_comes_back_as_it_was_made,
    people::a_login_is_there_until_it_ends_or_is_taken,
    people::whoever_goes_or_gets_another_password_is_signed_out,
    people::a_person_is_found_in_every_tenant,
    people::an_address_is_one_users_until_it_is_removed,
    people::the_observer_hears_whose_keys_are_blocked,
    people::the_last_admin_stays_unless_it_is_forced,
    people::a_role_beyond_the_caller_is_not_given,
    people::a_user_who_lost_role_or_place_meanwhile_changes_nothing,
    people::a_tenants_policy_and_status_change_in_one_entry,
    people::a_removed_tenant_takes_its_root_keys_along_and_does_not_come_back,
    people::the_last_root_key_that_makes_others_stays,
    check_policies::a_check_policy_comes_back_as_it_was_and_is_its_tenants_own,
    check_policies::every_change_of_a_check_policy_is_an_entry_and_is_told_to_the_observer,
    check_policies::the_built_in_check_policy_is_stored_only_where_it_was_changed,
    check_policies::a_tenant_has_so_many_check_policies_and_no_more,
    check_policies::a_poll_says_whose_check_policies_changed,
    versions::a_key_is_changed_only_in_the_version_that_was_seen,
    versions::of_many_changes_of_one_version_at_once_one_is_made,
    versions::use_of_a_key_and_time_alone_make_no_other_version,
    versions::people_are_changed_only_in_the_version_that_was_seen,
    versions::a_tenant_and_its_policy_are_two_records,
    versions::check_policies_are_changed_only_in_the_version_that_was_seen,
    versions::a_root_key_is_revoked_only_in_the_version_that_was_seen,
    cluster::a_session_is_there_until_it_is_buried_and_then_refused,
    cluster::what_a_nodes_verifiers_have_not_stands_beside_what_it_acknowledges,
    cluster::a_session_that_moved_is_not_buried,
    cluster::a_poll_brings_what_came_since_with_what_it_touched,
    cluster::a_poll_says_of_tenants_and_owners_how_they_are_now,
    cluster::a_poll_brings_whether_a_revocation_is_final,
    cluster::a_poll_acknowledges_and_says_where_the_chain_was,
    cluster::nodes_agree_on_one_lease,
}
