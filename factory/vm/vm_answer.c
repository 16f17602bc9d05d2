#include "factory/vm/vm_answer.h"

#include <stdlib.h>

#include "base/memory.h"
#include "factory/guest/carried_device.h"
#include "factory/guest/guest_share.h"
#include "factory/vm/vm_priv.h"

static Kiln__Factory__V1__ClaimFd fd_kinds[VM_ANSWER_FDS] = {
	KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_AGENT,
	KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_QMP,
	KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_PIDFD,
};

/* The machine's own, since its template may have been replaced meanwhile. */
static void add_images(const struct vm *vm, Kiln__Factory__V1__ClaimResponse *answer)
{
	const struct carried *images = vm_images(vm);

	answer->images = xnew_array(Kiln__Factory__V1__CarriedImage *, images->count + 1);
	for (size_t i = 0; i < images->count; i++) {
		Kiln__Factory__V1__CarriedImage *image = xnew(Kiln__Factory__V1__CarriedImage);
		kiln__factory__v1__carried_image__init(image);
		image->name = images->items[i].name;
		image->device = carried_device(i);
		answer->images[answer->n_images++] = image;
	}
}

void vm_answer_fill(const struct vm *vm, const struct vm_handover *handover,
		    Kiln__Factory__V1__Origin origin, Kiln__Factory__V1__ClaimResponse *answer,
		    int ret_fds[static VM_ANSWER_FDS])
{
	answer->vm_id = (char *)vm_id(vm);
	answer->origin = origin;
	answer->fds = fd_kinds;
	answer->n_fds = VM_ANSWER_FDS;
	answer->next_stream_id = handover->next_stream;
	answer->vmm_pid = (uint32_t)vm_pid(vm);
	answer->guest_cid = vm_guest_cid(vm);
	answer->vm_dir = (char *)vm_dir(vm);
	answer->share_dir = (char *)vm_share_dir(vm);
	answer->share_tag = (char *)GUEST_SHARE_TAG;
	answer->template_id = (char *)vm_template_id(vm);
	answer->vcpus = vm_size(vm).vcpus;
	answer->memory_mib = vm_size(vm).memory_mib;
	answer->block_slots = vm_block_slots(vm);
	answer->network_cards = vm_network_cards(vm);
	answer->vhost_net = vm_has_vhost_net(vm);
	answer->dax_windows = vm_dax_windows(vm);
	answer->dax_window_bytes = vm_dax_window_bytes(vm);
	answer->own_memory = vm_has_own_memory(vm);
	answer->scratch_bytes = vm_scratch_bytes(vm);
	if (answer->scratch_bytes > 0)
		answer->scratch_dir = (char *)vm->options.scratch_dir;
	add_images(vm, answer);
	ret_fds[0] = handover->agent_fd;
	ret_fds[1] = handover->qmp_fd;
	ret_fds[2] = handover->pidfd;
}

void vm_answer_done(Kiln__Factory__V1__ClaimResponse *answer)
{
	for (size_t i = 0; i < answer->n_images; i++) {
		free(answer->images[i]->device);
		free(answer->images[i]);
	}
	free(answer->images);
}
