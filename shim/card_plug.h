/* Network cards that are plugged into a running machine, beyond those that wait in it: one after
 * another, on the slots of the bridge that disks are plugged in on (disks_lend_place()).
 *
 *   state     what it is                                    leaves by
 *   MAKING    a thread makes the card's tap                 it is made: PLUGGING
 *   PLUGGING  QEMU was given the descriptors and told       its answer: SEEKING
 *   SEEKING   the guest's agent looks for the card          its answer: MAKING, of the next one
 *   ENDED     all are there, or one could not be made
 *
 * A card has its number's names (factory/guest/network_cards.h) and is from then on as one that has
 * waited. It stays until the machine's end. One that failed may be there in part: no other is to be
 * tried in that machine.
 *
 * Under TCG the first takes a pod's start some 170 ms longer, each further one 30 to 60: so some
 * wait.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/state.h"
#include "base/strings.h"
#include "base/worker.h"
#include "shim/agent_link.h"
#include "shim/disks.h"

enum card_plug_state {
	CARD_PLUG_MAKING,
	CARD_PLUG_PLUGGING,
	CARD_PLUG_SEEKING,
	CARD_PLUG_ENDED,
};
DECLARE_STRING_TABLE(card_plug_state, enum card_plug_state);
extern const struct state_machine card_plug_states;

struct card_plug;

/* Makes the tap of a card; in a thread. */
typedef int (*card_plug_make_fn)(size_t card, void *userdata, int *ret_tap, struct error *err);

/* Once, from the loop; the object has ended then. have: the cards of the machine now; fewer than
 * were wanted where err, which names the card, has a number. */
typedef void (*card_plug_fn)(size_t have, const struct error *err, void *userdata);

/* All borrowed, until fn was called or it is cancelled. */
struct card_plug_options {
	struct worker_pool *pool; /* with room for one job more */
	const struct slots *slots;
	struct disks *disks;
	struct agent_link *agent;
	const char *sandbox_id;
	size_t have, want; /* want is more, and NETWORK_CARDS_MAX at most */
	bool vhost_net;    /* each gets a descriptor of it: factory/jail/tap.h */
	card_plug_make_fn make;
	card_plug_fn fn;
	void *userdata;
};

struct card_plug *card_plug_new(const struct card_plug_options *options);

/* fn is not called; QEMU and the guest do what they were told. What is the worker's ends with the
 * job. NULL does nothing. */
void card_plug_cancel(struct card_plug *plug);
