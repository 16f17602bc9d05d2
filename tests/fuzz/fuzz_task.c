/* containerd's calls to a whole shim, in any order, with anything in them, while factory and guest
 * do as they should: tests/fuzz/fuzz_shim.c has it the other way round. Whatever comes, the shim
 * lets go of everything in the end.
 *
 * A request cannot name files of the host, which the shim would mount, or write to, as root: its
 * streams and mounts are taken out, and each bundle is one that is there. */
#include "fuzzed_shim.h"

#include "fuzz_calls.h"

enum { TURNS = 4, LAST_TURNS = 64 };

static const ProtobufCServiceDescriptor *const service = &containerd__task__v2__task__descriptor;

static void set(char **text, const char *to)
{
	if (*text == protobuf_c_empty_string)
		*text = NULL;
	replace_string(text, to);
}

static void make_harmless(const struct bench *bench, ProtobufCMessage *message)
{
	if (message->descriptor == &containerd__task__v2__create_task_request__descriptor) {
		Containerd__Task__V2__CreateTaskRequest *create = (void *)message;
		_cleanup_free_ char *bundle = path_join(bench->dir, "c1");

		for (size_t i = 0; i < create->n_rootfs; i++)
			containerd__types__mount__free_unpacked(create->rootfs[i], NULL);
		create->n_rootfs = 0;
		free(steal_ptr(create->rootfs));
		set(&create->bundle, bundle);
		set(&create->stdin, "");
		set(&create->stdout, "");
		set(&create->stderr, "");
	}
	if (message->descriptor == &containerd__task__v2__exec_process_request__descriptor) {
		Containerd__Task__V2__ExecProcessRequest *exec = (void *)message;

		set(&exec->stdin, "");
		set(&exec->stdout, "");
		set(&exec->stderr, "");
	}
}

static void run_turns(struct bench *bench, unsigned turns)
{
	for (unsigned i = 0; i < turns; i++)
		run_once(bench);
}

/* In the end no claim is under way: sandbox_free(). */
static void ask_all(struct bench *bench, struct fuzz_input *input)
{
	static struct answer ignored;
	const ProtobufCMethodDescriptor *method;
	ProtobufCMessage *message;

	while (fuzz_take_call(input, service, &method, &message)) {
		if (!message)
			continue;
		make_harmless(bench, message);
		bench_send(bench, method->name, message, 0, &ignored);
		protobuf_c_message_free_unpacked(message, NULL);
		run_turns(bench, TURNS);
	}
	run_turns(bench, LAST_TURNS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct bench *bench = NULL;

	(void)bench_setup((void **)&bench);
	bench->agent.die_by_signal = true;
	ask_all(bench, &input);
	(void)bench_teardown((void **)&bench);
	return 0;
}
