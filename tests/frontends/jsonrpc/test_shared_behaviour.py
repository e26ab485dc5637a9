"""What callers see whatever wire they use: the tests of the gRPC frontend, run once more through this one.

``connect`` is here the fixture of this folder.
"""

from __future__ import annotations

from tests.interaction.test_bad_input import (  # noqa: F401
    test_a_result_that_cannot_be_carried_is_the_tools_error,
    test_a_tool_error_carries_its_code_reason_and_facts,
    test_a_tool_that_prints_harms_nobody,
    test_an_unknown_tool_is_not_found_with_a_hint,
    test_messages_can_be_hidden,
    test_tracebacks_travel_only_with_debug,
    test_whatever_a_tool_raises_the_caller_gets_an_error_and_the_next_call_works,
    test_wrong_arguments_are_named,
)
from tests.interaction.test_deadlines_and_cancellation import (  # noqa: F401
    test_a_call_that_waits_for_a_thread_can_be_cancelled_before_it_starts,
    test_a_client_that_gives_up_cancels_the_tool,
    test_a_deadline_ends_the_call_and_tells_the_tool,
    test_a_deadline_is_a_deadline_whatever_the_tool_makes_of_it,
    test_a_result_that_comes_with_the_deadline_is_a_result,
    test_a_tool_that_ignores_its_deadline_is_answered_without_it_and_keeps_its_slot,
    test_a_tools_own_timeout_ends_it,
    test_more_calls_than_threads_and_queue_are_shed,
    test_requests_in_work_are_bounded_in_bytes,
    test_the_servers_limit_caps_a_client_that_wants_more,
    test_the_servers_limit_ends_a_call_whose_client_sets_none,
)
from tests.interaction.test_streaming import (  # noqa: F401
    test_a_client_that_stops_reading_closes_the_generator,
    test_a_unary_tool_streams_one_value,
    test_an_empty_stream_ends,
    test_an_error_after_some_values_arrives_after_them,
    test_progress_comes_between_the_values,
    test_values_arrive_in_order_and_cleanup_runs_once,
)
from tests.interaction.test_unary import (  # noqa: F401
    test_a_call_without_a_deadline_gets_the_servers,
    test_a_fresh_adapter_is_set_up_and_cleaned_up_for_every_call,
    test_a_streaming_tool_called_unary_says_how_to_call_it,
    test_a_streaming_tool_that_says_so_collects,
    test_a_value_comes_back_as_it_went,
    test_arguments_get_defaults_and_results_come_back,
    test_many_calls_at_once_each_get_their_own_answer,
    test_several_adapters_are_one_server,
    test_the_context_knows_the_call,
)
