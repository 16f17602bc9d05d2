#include "ctl/top_show.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/strings.h"
#include "ctl/sandbox_show.h"
#include "ctl/table.h"

enum { MIB = 1 << 20 };

void top_look_at(struct sandboxes *sandboxes, struct top_look *ret)
{
	struct top_look look = {
		.at_ns = clock_monotonic_ns(),
		.sandboxes = *sandboxes,
		.vmms = xnew_array(struct process_usage, sandboxes->count + 1),
		.shims = xnew_array(struct process_usage, sandboxes->count + 1),
	};

	for (size_t i = 0; i < sandboxes->count; i++) {
		const struct sandbox *sandbox = &sandboxes->items[i];
		const Kiln__Shim__V1__SandboxInfo *info = sandbox->info;
		/* What has ended meanwhile uses nothing. */
		if (sandbox->shim_pid > 0)
			(void)!process_usage_read(sandbox->shim_pid, &look.shims[i]);
		if (info && info->machine)
			(void)!process_usage_read((pid_t)info->machine->vmm_pid, &look.vmms[i]);
	}
	*sandboxes = (struct sandboxes){};
	*ret = look;
}

void top_look_done(struct top_look *look)
{
	sandboxes_done(&look->sandboxes);
	free(look->vmms);
	free(look->shims);
	*look = (struct top_look){};
}

struct row {
	size_t i;       /* of the look */
	double percent; /* -1: it was not there before */
};

static uint32_t vmm_of(const struct sandbox *sandbox)
{
	return sandbox->info && sandbox->info->machine ? sandbox->info->machine->vmm_pid : 0;
}

static double percent(const struct top_look *before, const struct top_look *now, size_t i)
{
	const struct sandbox *sandbox = &now->sandboxes.items[i];
	double seconds = (double)(now->at_ns - before->at_ns) / 1e9;

	for (size_t n = 0; n < before->sandboxes.count; n++) {
		const struct sandbox *other = &before->sandboxes.items[n];
		if (!str_equal(other->socket, sandbox->socket) ||
		    other->shim_pid != sandbox->shim_pid || vmm_of(other) != vmm_of(sandbox))
			continue;
		double used = now->vmms[i].cpu_s + now->shims[i].cpu_s - before->vmms[n].cpu_s -
			      before->shims[n].cpu_s;
		return used > 0 && seconds > 0 ? 100 * used / seconds : 0;
	}
	return -1;
}

static int compare(const void *a, const void *b)
{
	const struct row *one = a, *other = b;

	if (one->percent != other->percent)
		return one->percent < other->percent ? 1 : -1;
	return one->i < other->i ? -1 : 1;
}

static void add_row(struct table *table, const struct top_look *now, const struct row *row)
{
	const struct sandbox *sandbox = &now->sandboxes.items[row->i];
	const Kiln__Shim__V1__SandboxInfo *info = sandbox->info;
	const struct process_usage *vmm = &now->vmms[row->i], *shim = &now->shims[row->i];
	_cleanup_free_ char *pod = sandbox_pod_text(sandbox);
	char id[SANDBOX_ID_SIZE];
	unsigned running = 0;

	sandbox_short_id(sandbox, id);
	for (size_t i = 0; info && i < info->n_containers; i++)
		running += str_equal(info->containers[i]->state, "running") &&
			   !info->containers[i]->is_sandbox;
	table_add(table, "%s", id);
	table_add(table, "%s", sandbox->ns ? sandbox->ns : "-");
	table_add(table, "%s", pod);
	if (row->percent < 0)
		table_add(table, "-");
	else
		table_add(table, "%.1f", row->percent);
	table_add(table, "%.1f MiB", (double)(vmm->anonymous + shim->anonymous) / MIB);
	table_add(table, "%.1f MiB", (double)(vmm->file + vmm->shared) / MIB);
	if (info && info->machine)
		table_add(table, "%u MiB", info->machine->memory_mib);
	else
		table_add(table, "-");
	table_add(table, "%u", running);
	table_add(table, "%s", info ? info->state : error_message(&sandbox->error));
}

void top_print(const struct top_look *before, const struct top_look *now, FILE *out)
{
	static const char *const heads[] = { "SANDBOX", "NAMESPACE", "POD",     "CPU %", "OWN",
					     "SHARED",  "OF",        "RUNNING", "STATE", NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);
	_cleanup_free_ struct row *rows = xnew_array(struct row, now->sandboxes.count + 1);

	for (size_t i = 0; i < now->sandboxes.count; i++)
		rows[i] = (struct row){ i, percent(before, now, i) };
	if (now->sandboxes.count > 0)
		qsort(rows, now->sandboxes.count, sizeof(*rows), compare);
	for (size_t i = 0; i < now->sandboxes.count; i++)
		add_row(table, now, &rows[i]);
	table_print(table, out);
}
