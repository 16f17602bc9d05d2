/* The shim's state machines, each against its table as it is meant. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shim/card_plug.h"
#include "shim/container.h"
#include "shim/dax_windows.h"
#include "shim/disks.h"
#include "shim/io_input.h"
#include "shim/io_output.h"
#include "shim/pod.h"
#include "shim/process.h"
#include "shim/sandbox.h"
#include "shim/slots.h"
#include "tests/unit/state_table.h"

static void edges_of_tasks(void **state _unused_)
{
	assert_states(&sandbox_states, "none: claiming\n"
				       "claiming: none unwanted running releasing\n"
				       "unwanted: none releasing\n"
				       "running: none releasing\n"
				       "releasing: none\n");
	assert_states(&container_states, "creating: created gone\n"
					 "created: removing\n"
					 "removing: gone\n"
					 "gone:\n");
	assert_states(&process_states, "created: starting exited\n"
				       "starting: running stopped\n"
				       "running: exited\n"
				       "exited: stopped\n"
				       "stopped:\n");
}

static void edges_of_pods(void **state _unused_)
{
	assert_states(&pod_states, "none: creating\n"
				   "creating: none created ended\n"
				   "created: ready ended\n"
				   "ready: ended\n"
				   "ended:\n");
}

static void edges_of_streams(void **state _unused_)
{
	assert_states(&input_states, "idle: reading ended\n"
				     "reading: writing ended\n"
				     "writing: reading ended\n"
				     "ended:\n");
	assert_states(&output_states, "idle: reading ended\n"
				      "reading: blocked ended\n"
				      "blocked: reading ended\n"
				      "ended:\n");
}

static void edges_of_devices(void **state _unused_)
{
	assert_states(&disk_states, "plugging: seeking closing\n"
				    "seeking: attached unplugging\n"
				    "attached: leaving\n"
				    "leaving: attached unplugging\n"
				    "unplugging: closing\n"
				    "closing: gone\n"
				    "gone:\n");
	assert_states(&card_plug_states, "making: plugging ended\n"
					 "plugging: seeking ended\n"
					 "seeking: making ended\n"
					 "ended:\n");
	assert_states(&slot_states, "empty: attaching\n"
				    "attaching: empty holding\n"
				    "holding: attaching\n");
	assert_states(&dax_window_states, "empty: attaching\n"
					  "attaching: holding broken\n"
					  "holding:\n"
					  "broken:\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges_of_tasks),
		cmocka_unit_test(edges_of_pods),
		cmocka_unit_test(edges_of_streams),
		cmocka_unit_test(edges_of_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
