/* What a template is baked from, input by input, so that a person can be told which of them
 * changed: a SHA-256 for each file, the value itself for the rest.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strings.h"
#include "factory/store/carried.h"
#include "factory/store/known_digests.h"

enum template_input {
	/* files of the definition, first */
	INPUT_KERNEL,
	INPUT_INITRD,
	INPUT_IMAGE,
	INPUT_MACHINE,
	/* values of the definition */
	INPUT_KERNEL_PARAMS,
	INPUT_VCPUS,
	INPUT_MEMORY_MIB,
	INPUT_SPARE_VCPUS,
	INPUT_MAX_MEMORY_MIB,
	INPUT_SCRATCH_MIB,
	INPUT_BLOCK_SLOTS,
	INPUT_DAX_WINDOWS,
	INPUT_DAX_WINDOW_MIB,
	INPUT_NETWORK_CARDS,
	INPUT_FREE_PAGE_REPORTING,
	INPUT_ANNOTATIONS,
	INPUT_SHARE,
	INPUT_MEMORY_DIR,
	/* facts of the host */
	INPUT_QEMU,
	INPUT_ACCELERATOR,
	INPUT_CHANNEL,
	INPUT_VHOST_NET,
	INPUT_CPU_MODEL,
	INPUT_HOST_KERNEL,
	/* of this program */
	INPUT_AGENT_PROTOCOL,
};
#define TEMPLATE_INPUT_FILES 4
#define TEMPLATE_INPUTS      (INPUT_AGENT_PROTOCOL + 1)
DECLARE_STRING_TABLE(template_input, enum template_input); /* "kernel", "initrd", ... */

/* Whether clones map the template's files, or each a copy of its own. */
enum template_share { SHARE_ALWAYS, SHARE_NEVER };
DECLARE_STRING_TABLE(template_share, enum template_share); /* "always", "never" */

struct template_definition;
struct template_host;

struct template_inputs {
	char *values[TEMPLATE_INPUTS]; /* owned; none is NULL once read */
	struct carried images;
};

/* Blocks: reads the machine and every other file that is not known, which is known then. On failure
 * ret_inputs is untouched. */
_must_check_ int template_inputs_read(const struct template_definition *definition,
				      const struct template_host *host, struct known_digests *known,
				      struct template_inputs *ret_inputs, struct error *err);
void template_inputs_done(struct template_inputs *inputs);
void template_inputs_copy(const struct template_inputs *inputs, struct template_inputs *ret_copy);
bool template_inputs_equal(const struct template_inputs *a, const struct template_inputs *b);

static inline bool template_input_is_file(enum template_input input)
{
	return input < TEMPLATE_INPUT_FILES;
}

/* The definition's path of an input that is a file, else NULL. */
const char *template_input_path(const struct template_definition *definition,
				enum template_input input);

/* "kernel changed (sha256 01234567… -> 89abcdef…), vcpus changed (1 -> 2), image tools changed
 * (…)"; NULL where nothing differs. The caller frees. */
char *template_inputs_difference(const struct template_inputs *was,
				 const struct template_inputs *now);

/* The digest over the name, all inputs and the generation. There are two generations, 0 and 1,
 * so that a template can be baked anew beside the one it replaces while no input changed. */
void template_inputs_id(const char *name, const struct template_inputs *inputs, unsigned generation,
			char ret_id[static DIGEST_HEX_SIZE]);
