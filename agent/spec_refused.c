#include "agent/spec_refused.h"

#include "agent/schedule.h"
#include "base/strings.h"

/* A field that is there, though it cannot be done. */
struct refusal {
	bool is_there;
	const char *field;
	const char *why;
};

#define NO_GROUP "control groups of version 2, which the guest has, have no such limit"

static int refuse_first(const struct refusal *refusals, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (refusals[i].is_there)
			return error_set(err, EOPNOTSUPP, "%s is not supported: %s",
					 refusals[i].field, refusals[i].why);
	return 0;
}

/* ---------------------------------------------------------------- the process */

/* Those that engines give every container on a host with AppArmor: nobody has asked for them, and
 * they keep a container from the host's kernel, which it does not meet here. */
static bool is_engines_default(const char *profile)
{
	static const char *const defaults[] = { "unconfined",         "cri-containerd.apparmor.d",
						"docker-default",     "nerdctl-default",
						"containers-default", "crio-default" };

	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		if (str_equal(profile, defaults[i]))
			return true;
	return str_empty(profile) || str_after(profile, "containers-default-");
}

int process_refuse(const Grpc__Process *process, struct error *err)
{
	const struct refusal refusals[] = {
		{ !is_engines_default(process->apparmorprofile), "process.apparmorProfile",
		  "the guest's kernel has no AppArmor profiles" },
		{ !str_empty(process->selinuxlabel), "process.selinuxLabel",
		  "the guest's kernel runs without SELinux" },
		{ process->execcpuaffinity != NULL, "process.execCPUAffinity",
		  "its numbers are those of the host's CPUs" },
	};

	return refuse_first(refusals, ARRAY_SIZE(refusals), err);
}

/* ---------------------------------------------------------------- limits */

static int refuse_of_memory(const Grpc__LinuxMemory *memory, struct error *err)
{
	const struct refusal refusals[] = {
		{ memory->kernel > 0, "linux.resources.memory.kernel", NO_GROUP },
		{ memory->kerneltcp > 0, "linux.resources.memory.kernelTCP", NO_GROUP },
		{ memory->swappiness > 0, "linux.resources.memory.swappiness", NO_GROUP },
		{ memory->disableoomkiller, "linux.resources.memory.disableOOMKiller", NO_GROUP },
	};

	return refuse_first(refusals, ARRAY_SIZE(refusals), err);
}

int resources_refuse(const Grpc__LinuxResources *resources, struct error *err)
{
	const Grpc__LinuxCPU *cpu = resources->cpu;
	const Grpc__LinuxNetwork *network = resources->network;
	const struct refusal refusals[] = {
		{ cpu && cpu->realtimeruntime, "linux.resources.cpu.realtimeRuntime", NO_GROUP },
		{ cpu && cpu->realtimeperiod, "linux.resources.cpu.realtimePeriod", NO_GROUP },
		{ network && network->classid, "linux.resources.network.classID", NO_GROUP },
		{ network && network->n_priorities, "linux.resources.network.priorities",
		  NO_GROUP },
		{ resources->blockio && resources->blockio->leafweight,
		  "linux.resources.blockIO.leafWeight", NO_GROUP },
		{ resources->n_rdma > 0, "linux.resources.rdma", "the guest has no RDMA device" },
	};
	int r = refuse_first(refusals, ARRAY_SIZE(refusals), err);

	return r == 0 && resources->memory ? refuse_of_memory(resources->memory, err) : r;
}

/* ---------------------------------------------------------------- the rest */

static int refuse_hooks(const Grpc__Hooks *hooks, struct error *err)
{
	static const char why[] = "no program of a configuration's runs beside the container in "
				  "the guest";
	const struct refusal refusals[] = {
		{ hooks->n_prestart > 0, "hooks.prestart", why },
		{ hooks->n_createruntime > 0, "hooks.createRuntime", why },
		{ hooks->n_createcontainer > 0, "hooks.createContainer", why },
		{ hooks->n_startcontainer > 0, "hooks.startContainer", why },
		{ hooks->n_poststart > 0, "hooks.poststart", why },
		{ hooks->n_poststop > 0, "hooks.poststop", why },
	};

	return refuse_first(refusals, ARRAY_SIZE(refusals), err);
}

static int refuse_of_linux(const Grpc__Linux *linux, struct error *err)
{
	static const char no_users[] = "containers have no user namespace of their own";
	const struct refusal refusals[] = {
		{ linux->intelrdt != NULL, "linux.intelRdt",
		  "a guest cannot share out the processor's caches" },
		{ !str_empty(linux->mountlabel), "linux.mountLabel",
		  "the guest's kernel runs without SELinux" },
		{ linux->n_uidmappings > 0, "linux.uidMappings", no_users },
		{ linux->n_timeoffsets > 0, "linux.timeOffsets",
		  "containers have the clocks of the guest" },
		{ linux->n_gidmappings > 0, "linux.gidMappings", no_users },
	};
	int r = refuse_first(refusals, ARRAY_SIZE(refusals), err);

	return r == 0 ? personality_check(linux, err) : r;
}

int spec_refuse(const Grpc__Spec *spec, struct error *err)
{
	int r = spec->hooks ? refuse_hooks(spec->hooks, err) : 0;

	if (r == 0 && spec->linux)
		r = refuse_of_linux(spec->linux, err);
	for (size_t i = 0; r == 0 && i < spec->n_mounts; i++) {
		const Grpc__Mount *mount = spec->mounts[i];
		if (mount->n_uidmappings + mount->n_gidmappings > 0)
			r = error_set(err, EOPNOTSUPP,
				      "mounts[%zu].uidMappings is not supported: a mount has the "
				      "owners that its files have",
				      i);
	}
	return r;
}
