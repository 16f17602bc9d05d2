/* The end of a claimed machine, from its claimer's side: see claim_release() in claim.h. */
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "factory/client/claim.h"
#include "factory/client/factory_rpc.h"
#include "factory/client/reap.h"

enum { TIMEOUT_MS = 30 * 1000 };

struct release {
	struct loop *loop;
	struct ttrpc_client *factory; /* NULL: could not be reached */
	char *vm_id;
	char *run_dir;
	int vmm_pidfd;
	int number; /* how it ended */
	struct error error;
	void (*fn)(int number, const struct error *err, void *userdata);
	void *userdata;
};

static void release_finish(void *userdata)
{
	struct release *release = userdata;
	int status;
	(void)!spawn_reap(release->vmm_pidfd, &status); /* our child where we have cloned it */
	close_fd(release->vmm_pidfd);
	ttrpc_client_free(release->factory);
	if (release->fn)
		release->fn(release->number, release->number < 0 ? &release->error : NULL,
			    release->userdata);
	else if (release->number < 0)
		log_error(release->vm_id, "cannot be released: %s", error_message(&release->error));
	error_done(&release->error);
	free(release->vm_id);
	free(release->run_dir);
	free(release);
}

/* Where the factory does not do it (gone, hung, or it has lost the machine), we do. */
static void release_reap(void *userdata)
{
	struct release *release = userdata;
	_cleanup_(error_done) struct error why = {};
	error_move(&why, &release->error);
	release->number = reap_machine(release->run_dir, release->vm_id, &release->error);
	if (release->number == 0)
		log_info(release->vm_id, "ended without the factory: %s", error_message(&why));
	release_finish(release);
}

static void on_released(const struct ttrpc_reply *reply, void *userdata)
{
	struct release *release = userdata;
	release->number = ttrpc_reply_error(reply, &release->error);
	loop_defer(release->loop, release->number < 0 ? release_reap : release_finish, release);
}

/* "RUN_DIR/vms/ID" without its last two parts; NULL where it is not of that form. */
static char *run_dir_of(const char *vm_dir, const char *vm_id)
{
	_cleanup_free_ char *tail = xasprintf("/vms/%s", vm_id);
	size_t len = strlen(vm_dir), tail_len = strlen(tail);
	if (len <= tail_len || !str_equal(vm_dir + len - tail_len, tail))
		return NULL;
	return xstrndup(vm_dir, len - tail_len);
}

static void on_dialled(int number, struct ttrpc_client *factory, const struct error *why,
		       void *userdata)
{
	Kiln__Factory__V1__ReleaseRequest request = KILN__FACTORY__V1__RELEASE_REQUEST__INIT;
	struct release *release = userdata;
	if (number < 0) {
		error_set(&release->error, why->number, "%s", error_message(why));
		release_reap(release);
		return;
	}
	release->factory = factory;
	request.vm_id = release->vm_id;
	factory_rpc_call(factory, "Release", &request.base, TIMEOUT_MS, on_released, release);
}

static int release_send(struct release *release, const char *factory_address)
{
	int r = FAULT_ERROR("release.sending", &release->error);

	if (r < 0)
		return r;
	return factory_dial(release->loop,
			    &(struct factory_dial_options){
				    .address = factory_address ? factory_address : FACTORY_SOCKET,
				    .timeout_ms = TIMEOUT_MS,
				    .fn = on_dialled,
				    .userdata = release,
			    },
			    &release->error);
}

bool claim_release(struct loop *loop, struct claim *claim, const char *factory_address,
		   void (*fn)(int number, const struct error *err, void *userdata), void *userdata)
{
	struct release *release = xnew(struct release);
	release->loop = loop;
	release->fn = fn;
	release->userdata = userdata;
	release->vm_id = xstrdup(claim->vm_id);
	release->run_dir = run_dir_of(claim->vm_dir, claim->vm_id);
	release->vmm_pidfd = steal_fd(&claim->vmm_pidfd);
	claim_confirm(claim); /* the machine goes by its release, not by the link's end */
	claim_free(claim);
	if (!release->run_dir) {
		release->number = error_set(&release->error, EPROTO,
					    "the machine's folder is not named after it");
		loop_defer(loop, release_finish, release);
		return false;
	}
	bool told = release_send(release, factory_address) == 0;
	if (!told)
		loop_defer(loop, release_reap, release);
	return told;
}
