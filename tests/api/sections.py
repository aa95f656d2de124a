"""The sections of the specification that are about other servers and rooms, and the tests that answer to each.

The headings are those of the Server-Server API and of the room version pages. `scripts/conformance` makes the
second part of docs/conformance.md of this table; `test_conformance` fails when a test named here is gone.
"""

# ruff: noqa: E501 - one line for each test is what keeps the table readable

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True):
    """One heading. `tests` are `path under tests::name`.

    Without `refused`, the section is done; with `endpoint`, done as soon as that has a route, and refused for
    the reason given in `refused` until then. `versions`: the room versions with the heading, for their pages.
    """

    heading: str
    tests: tuple[str, ...] = ()
    refused: str = ""
    endpoint: str = ""
    versions: str = ""


E, F, H, S, W = (
    "homeserver/elsewhere/",
    "federation/",
    "http/federation_api/",
    "interop/test_synapse_",
    "world/",
)

SERVER_SERVER = (
    Section("API standards", ("http/test_site.py::test_a_reply_is_json_with_cors_and_a_date",)),
    Section("TLS", (F + "test_client.py::test_a_certificate_for_another_name_is_refused",
                    "platform/test_tls_loopback.py::test_tls_accepts_only_the_right_name_from_a_trusted_authority_and_dns_is_understood")),
    Section("Unsupported endpoints", ("api/test_hostile_input.py::test_an_unknown_path_is_404_and_not_recognised",
                                      "api/test_hostile_input.py::test_other_methods_on_a_known_path_are_405_and_not_recognised")),
    Section("Resolving server names", (F + "test_discovery.py::test_each_step_leads_to_its_host_header_certificate_and_targets",
                                       F + "test_discovery.py::test_srv_records_are_ordered_by_priority_and_none_is_lost",
                                       F + "test_client.py::test_a_target_that_cannot_be_resolved_or_is_dead_gives_way_to_the_next",
                                       F + "test_well_known.py::test_cache_control_is_respected_within_bounds",
                                       F + "test_well_known.py::test_expires_counts_where_cache_control_says_nothing")),
    Section("Server implementation", (H + "test_keys.py::test_the_name_and_version_of_the_program_are_open",)),
    Section("Retrieving server keys", (F + "test_keyring.py::test_an_event_with_a_good_signature_is_accepted_and_its_keys_are_fetched_once",
                                       F + "test_keyring.py::test_an_old_key_is_good_only_for_what_it_signed_before_its_end",
                                       F + "test_keyring.py::test_unknown_key_ids_cannot_make_us_ask_in_a_loop",
                                       F + "test_key_documents.py::test_no_document_is_good_for_more_than_a_week")),
    Section("Publishing Keys", (H + "test_keys.py::test_a_server_publishes_its_keys",
                                F + "test_key_documents.py::test_our_own_document_is_signed_with_every_current_key_and_can_be_read",
                                F + "test_signing_keys.py::test_a_rotation_signs_with_a_new_key_and_keeps_the_old_one_for_checking")),
    Section("Querying Keys Through Another Server", (H + "test_keys.py::test_a_notary_signs_what_it_fetched",
                                                     H + "test_keys.py::test_several_servers_are_asked_for_at_once",
                                                     F + "test_keyring.py::test_keys_come_from_a_notary_when_the_server_is_away",
                                                     F + "test_keyring.py::test_a_notary_cannot_make_keys_up")),
    Section("Request Authentication", (F + "test_request_signing.py::test_a_good_signature_names_the_server_and_is_a_sign_of_life",
                                       F + "test_request_signing.py::test_a_signature_for_another_request_is_refused",
                                       F + "test_request_signing.py::test_a_request_for_another_destination_is_refused",
                                       H + "test_keys.py::test_a_request_without_a_good_signature_to_a_signed_route_is_unauthorised")),
    Section("Response Authentication", (F + "test_client.py::test_a_certificate_for_another_name_is_refused",)),
    Section("Client TLS Certificates", refused="the section asks for none: requests are signed"),
    Section("Transactions", (F + "test_queue.py::test_a_failed_transaction_is_repeated_with_its_events_and_its_id_before_anything_else",
                             F + "test_sender.py::test_a_slow_destination_delays_nobody",
                             E + "test_receiver.py::test_the_reply_to_a_repeated_transaction_is_the_same_also_after_a_restart",
                             E + "test_receiver.py::test_a_transaction_holds_at_most_50_pdus_and_100_edus")),
    Section("PDUs", (E + "test_receiver.py::test_a_good_event_becomes_part_of_the_room",
                     "events/test_event.py::test_a_field_outside_its_limits_is_refused")),
    Section("Checks performed on receipt of a PDU", (E + "test_receiver.py::test_an_event_with_a_bad_signature_is_dropped_and_the_same_one_well_signed_is_taken",
                                                     E + "test_receiver.py::test_an_event_with_a_wrong_content_hash_is_redacted_and_kept",
                                                     "rooms/test_receipt.py::test_an_event_that_its_auth_events_do_not_allow_is_rejected",
                                                     "rooms/test_receipt.py::test_an_event_that_the_state_before_it_does_not_allow_is_rejected",
                                                     "rooms/test_receipt.py::test_an_event_that_only_the_current_state_does_not_allow_soft_fails")),
    Section("Definitions", ("rooms/test_dag.py::test_it_holds_what_is_cited_directly_and_indirectly_but_not_the_event",)),
    Section("Authorisation rules", ("rooms/test_auth_conformance.py::test_every_rule_has_an_accepting_and_a_refusing_case",)),
    Section("Auth events selection", ("rooms/test_auth_needed.py::test_a_membership_needs_what_its_rules_read",
                                      "rooms/test_auth_create.py::test_auth_events_are_those_that_the_selection_names")),
    Section("Rejection", (E + "test_receiver.py::test_what_follows_a_rejected_event_is_judged_without_it",
                          E + "test_receiver.py::test_an_event_that_cites_a_rejected_one_is_rejected")),
    Section("Soft failure", (E + "test_receiver.py::test_a_banned_user_who_builds_on_the_past_is_soft_failed",
                             E + "test_serving.py::test_rejected_events_are_not_handed_out_and_soft_failed_ones_are")),
    Section("Retrieving event authorisation information", (E + "test_serving.py::test_an_auth_chain_comes_with_parents_first",
                                                           E + "test_gaps.py::test_missing_auth_events_are_fetched_with_what_authorises_them")),
    Section("EDUs", (F + "test_queue.py::test_edus_travel_with_events_and_alone",
                     E + "test_receiver.py::test_edus_are_handed_on_unless_the_room_keeps_the_server_out")),
    Section("Room State Resolution", (E + "test_convergence.py::test_servers_that_write_at_once_agree_in_the_end",
                                      S + "resolution.py::test_random_rooms_resolve_as_in_synapse",
                                      S + "quarrels.py::test_a_quarrel_of_parted_servers_ends_in_one_state")),
    Section("Backfilling and retrieving missing events", (E + "test_backfill.py::test_history_is_fetched_in_its_order_down_to_the_creation_of_the_room",
                                                          E + "test_gaps.py::test_missing_previous_events_are_fetched_and_come_first",
                                                          E + "test_serving.py::test_missing_events_lie_between_the_latest_and_the_earliest",
                                                          S + "outages.py::test_who_was_away_for_long_fills_the_gap")),
    Section("Retrieving events", (E + "test_serving.py::test_the_state_is_that_before_the_event_and_its_auth_chain_is_whole",
                                  E + "test_serving.py::test_history_that_a_server_may_not_see_it_gets_redacted",
                                  E + "test_events_by_time.py::test_the_nearest_event_in_a_direction_is_told")),
    Section("Joining Rooms", (E + "test_federated_joins.py::test_a_user_of_another_server_joins_and_both_servers_agree_on_the_room",
                              E + "test_join_replies.py::test_a_reply_that_cannot_be_true_is_refused",
                              E + "test_resident.py::test_a_template_is_for_users_of_the_asking_server_only")),
    Section("Restricted rooms", (E + "test_federated_joins.py::test_a_restricted_room_is_joined_with_the_resident_servers_signature",
                                 E + "test_resident.py::test_we_sign_only_joins_whose_conditions_hold",
                                 E + "test_federated_joins.py::test_a_join_that_another_server_vouches_for_keeps_what_we_have_of_the_room",
                                 W + "test_membership_over_federation.py::test_of_several_residents_one_that_can_grant_the_join_is_found",
                                 S + "membership.py::test_a_restricted_room_is_joined_by_members_of_another_room")),
    Section("Knocking upon a room", (E + "test_federated_joins.py::test_a_knock_goes_through_a_resident_server_and_is_answered_with_an_invite",
                                     W + "test_federation.py::test_a_knock_that_is_taken_back_is_taken_back_everywhere",
                                     W + "test_membership_over_federation.py::test_a_knock_is_taken_back_denied_repeated_and_closed_for_good",
                                     S + "membership.py::test_who_knocks_is_let_in_by_an_invite")),
    Section("Inviting to a room", (E + "test_invited.py::test_an_invite_is_signed_by_both_servers_and_kept_for_the_invited_user",
                                   E + "test_invited.py::test_what_is_no_invite_for_our_user_is_not_signed",
                                   W + "test_membership_over_federation.py::test_an_invite_rejected_while_the_inviter_was_away_can_be_sent_again")),
    Section("Leaving Rooms (Rejecting Invites)", (E + "test_invited.py::test_rejecting_an_invite_ends_it_on_both_servers",
                                                  E + "test_resident.py::test_a_leave_goes_into_the_room_and_is_passed_on",
                                                  W + "test_membership_over_federation.py::test_where_every_other_server_is_gone_leaving_works_and_joining_may_work_later")),
    Section("Third-party invites", (W + "test_third_party_invites.py::test_whoever_brings_the_signature_is_invited_by_the_inviters_server_and_joins",
                                    "rooms/test_auth_member.py::test_the_room_has_the_third_party_invite")),
    Section("Cases where an association exists for a third-party identifier", refused="there is no identity server behind this server"),
    Section("Cases where an association doesn't exist for a third-party identifier",
            refused="there is no identity server behind this server, and nothing would prove who calls", endpoint="/_matrix/federation/v1/3pid/onbind"),
    Section("Verifying the invite", ("rooms/test_auth_member.py::test_the_signed_part_is_signed_with_a_key_of_the_third_party_invite",)),
    Section("Published Room Directory", (H + "test_lookups.py::test_published_rooms_are_listed_and_searched",
                                         S + "directory.py::test_published_rooms_of_the_other_server_are_listed_page_by_page_and_searched")),
    Section("Spaces", (E + "test_spaces.py::test_a_space_is_told_with_the_children_that_the_asking_server_could_get_into",
                       E + "test_spaces.py::test_what_is_odd_in_an_answer_is_left_out_and_the_rest_is_taken",
                       W + "test_spaces.py::test_a_space_of_another_server_is_walked_through_via",
                       S + "spaces.py::test_a_tree_of_spaces_on_both_servers_is_walked_from_either")),
    Section("Typing Notifications", (W + "test_sync_over_federation.py::test_typing_and_receipts_travel",)),
    Section("Presence", refused="there is no presence; what others send of it is passed over"),
    Section("Receipts", (W + "test_sync_over_federation.py::test_typing_and_receipts_travel",)),
    Section("Querying for information", (H + "test_lookups.py::test_a_profile_is_told_whole_or_by_field",
                                         H + "test_lookups.py::test_an_alias_is_told_with_servers_that_know_the_room")),
    Section("OpenID", refused="later", endpoint="/_matrix/federation/v1/openid/userinfo"),
    Section("Device Management", (H + "test_lookups.py::test_the_version_of_a_device_list_changes_with_the_list",)),
    Section("End-to-End Encryption", refused="later", endpoint="/_matrix/federation/v1/user/keys/query"),
    Section("Send-to-device messaging", refused="later"),
    Section("Content Repository", refused="later", endpoint="/_matrix/federation/v1/media/download/{mediaId}"),
    Section("Server Access Control Lists (ACLs)", ("api/test_server_acls.py::test_a_server_that_is_kept_out_is_refused_and_another_is_not",
                                                   "rooms/test_server_acl.py::test_a_server_is_let_in_or_kept_out",
                                                   E + "test_receiver.py::test_a_server_that_the_access_control_list_keeps_out_is_ignored_until_it_is_let_in",
                                                   E + "test_resident.py::test_a_server_that_the_list_keeps_out_gets_in_nowhere",
                                                   S + "server_acls.py::test_what_a_server_that_is_kept_out_says_is_not_heard_until_it_is_let_in")),
    Section("Policy Servers", refused="this is no policy server, and consults none"),
    Section("Adding hashes and signatures to outgoing events", ("events/test_build.py::test_what_is_built_parses_as_itself_and_verifies",)),
    Section("Validating hashes and signatures on received events", (F + "test_admission.py::test_a_wrong_content_hash_leaves_the_redacted_event",
                                                                    "events/test_signatures.py::test_any_other_signature_is_refused")),
    Section("Calculating the reference hash for an event", ("events/test_vectors.py::test_frozen_events_keep_their_id_hash_and_signature",)),
    Section("Calculating the content hash for an event", ("events/test_hashes.py::test_the_content_hash_covers_everything_else",)),
    Section("Security considerations", (E + "test_invited.py::test_from_version_12_on_the_state_told_must_be_genuine",)),
)  # fmt: skip
"""Headings without text of their own, and the example code, are left out."""

VERSIONS = "events/test_versions.py::test_each_version_changes_what_its_page_says"
ROOM_VERSIONS = (
    Section("Feature matrix", (VERSIONS,), versions="index"),
    Section("Complete list of room versions", ("events/test_versions.py::test_the_table_holds_versions_3_to_12_under_their_names",
                                               "events/test_versions.py::test_versions_1_and_2_are_refused_with_the_reason"), versions="index"),
    Section("Room version grammar", (W + "test_room_versions.py::test_other_versions_are_refused_with_a_sentence",), versions="index"),
    Section("Handling redactions", (W + "test_room_versions.py::test_a_room_is_made_joined_used_and_redacted_on_both_servers",), versions="3–12"),
    Section("Event IDs", ("events/test_hashes.py::test_event_ids_are_safe_in_urls_since_v4",), versions="3–12"),
    Section("Event format", ("events/test_event.py::test_a_field_within_its_limits_is_accepted",
                             "events/test_event.py::test_the_create_event_has_no_room_id_since_v12_and_needs_one_before",
                             "events/test_event.py::test_what_is_redacted_stands_beside_the_content_until_v10_and_in_it_since_v11"), versions="3–12"),
    Section("Deprecated event content schemas", ("rooms/test_power.py::test_a_level_may_be_a_string_until_v9",
                                                 W + "test_room_versions.py::test_power_levels_as_strings_count_until_version_9"), versions="3–10"),
    Section("Values in m.room.power_levels events must be integers", ("rooms/test_auth_power_levels.py::test_a_level_is_an_integer_since_v10",), versions="10"),
    Section("Remove the creator property of m.room.create events", ("rooms/test_auth_create.py::test_a_create_event_need_not_name_its_creator_since_v11",), versions="11"),
    Section("Moving the redacts property of m.room.redaction events to a content property",
            ("events/test_build.py::test_redacts_goes_where_the_version_keeps_it",), versions="11"),
    Section("Authorisation rules", ("rooms/test_auth_conformance.py::test_every_rule_has_an_accepting_and_a_refusing_case",
                                    "rooms/test_auth_member.py::test_creators_cannot_be_kicked_or_banned_by_anybody_since_v12"), versions="3–12"),
    Section("Redactions", ("events/test_redaction.py::test_what_stays_changes_between_versions",
                           "events/test_redaction.py::test_what_a_redaction_redacts_survives_its_own_redaction_since_v11"), versions="3–12"),
    Section("State resolution", ("rooms/test_resolution_random.py::test_the_answer_is_that_of_the_literal_reading",
                                 S + "resolution.py::test_random_rooms_resolve_as_in_synapse"), versions="3–12"),
    Section("Definitions (of state resolution)", ("rooms/test_resolution.py::test_in_v2_1_the_conflicted_state_subgraph_brings_the_step_between",
                                                  "rooms/test_resolution_ordering.py::test_positions_count_back_from_the_present_levels"), versions="12"),
    Section("Algorithm", ("rooms/test_resolution.py::test_in_v2_1_the_topic_of_someone_who_has_left_since_stays",), versions="12"),
    Section("Rejected events", ("rooms/test_resolution.py::test_a_rejected_event_of_the_conflict_itself_is_judged_anew",
                                "rooms/test_resolution.py::test_a_rejected_auth_event_does_not_stand_in"), versions="12"),
    Section("Canonical JSON", ("events/test_event.py::test_numbers_are_loose_until_v5_and_strict_since_v6",
                               "events/test_canonical.py::test_what_has_no_canonical_form_is_refused_with_its_place"), versions="3–12"),
    Section("Signing key validity period", (F + "test_keyring.py::test_a_signature_counts_only_while_the_key_was_valid",
                                            F + "test_keyring.py::test_before_room_version_5_the_validity_of_keys_is_ignored"), versions="5–12"),
)  # fmt: skip
