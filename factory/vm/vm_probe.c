#include "factory/vm/vm_probe.h"

#include "base/memory.h"
#include "factory/vm/vm_priv.h"

struct probe {
	struct vm *vm;          /* outlives its monitor, which ends this */
	enum vm_state asked_in; /* PARKED or SPARE */
	vm_probe_fn fn;
	void *userdata;
};

static int probe_judge(const struct probe *probe, const json_t *result, struct error *err)
{
	const char *status = json_string_value(json_object_get(result, "status"));

	if (str_equal(status, "paused"))
		return 0;
	return error_set(err, EPROTO, "a %s machine is \"%.32s\", not \"paused\"",
			 vm_state_to_string(probe->asked_in), status ? status : "");
}

static void on_status(int number, json_t *result, const struct error *err, void *userdata)
{
	_cleanup_(error_done) struct error why = {};
	_cleanup_free_ struct probe *probe = userdata;
	struct vm *vm = probe->vm;

	if (vm->dying || vm->freed || vm->lost || vm->entry.state != probe->asked_in)
		return;
	if (number < 0) {
		probe->fn(vm, number, err, probe->userdata);
		return;
	}
	int r = probe_judge(probe, result, &why);
	probe->fn(vm, r, &why, probe->userdata);
}

void vm_probe(struct vm *vm, vm_probe_fn fn, void *userdata)
{
	enum vm_state state = vm->entry.state;

	if (!vm->qmp || vm->dying || vm->lost || (state != VM_PARKED && state != VM_SPARE))
		return;
	struct probe *probe = xnew(struct probe);
	*probe = (struct probe){ .vm = vm, .asked_in = state, .fn = fn, .userdata = userdata };
	qmp_command(vm->qmp, "query-status", NULL, VM_PROBE_TIMEOUT_MS, on_status, probe);
}
