/* What a bake does on worker threads, step by step (factory/bake/bake.c has the order).
 *
 * Every function blocks and may run on any thread, one at a time for one object; between two
 * steps it may be read on the loop. While a bake runs it owns
 *
 *   STORE/templates/ID/      the template to be, without template.json until the last step. It
 *                            has a copy of the root image, which every clone maps: the original
 *                            may be rebuilt at any time
 *   RUN_DIR/bake/SHORT_ID/   agent.sock, console.log and an empty share/
 *   a libvirt domain         named kiln-template-SHORT_ID
 */
#pragma once

#include "factory/bake/bake.h"

struct bake_work;

/* Borrows what options points to. */
struct bake_work *bake_work_new(const struct bake_options *options);
void bake_work_free(struct bake_work *work); /* memory only: undo goes before it */

/* Reads the inputs. A valid template of them is taken as it is (bake_work_has_manifest() says
 * so) unless a new one is wanted; a broken one is logged and removed, and the folders are made. */
_must_check_ int bake_work_prepare(struct bake_work *work, struct error *err);
_must_check_ int bake_work_boot(struct bake_work *work, struct error *err);
/* The guest has answered (on the loop): notes the time and the agent's version. */
void bake_work_answered(struct bake_work *work, const char *agent_version);
/* The guest is about to trim itself (on the loop): notes what its RAM file takes up. */
void bake_work_trims(struct bake_work *work);
/* Stops the vCPUs and punches the zero pages out of the RAM file. */
_must_check_ int bake_work_trim(struct bake_work *work, struct error *err);
/* Saves the device state; the RAM file becomes the store's. */
_must_check_ int bake_work_freeze(struct bake_work *work, struct error *err);
/* Ends the domain, makes all durable, compares the inputs (bake_inputs_check()), writes the
 * manifest. */
_must_check_ int bake_work_store(struct bake_work *work, struct error *err);

/* A guest whose memory finds no room is killed and cannot say so: says it after err's sentence. To
 * be called before undo, which makes room. */
void bake_work_explain(const struct bake_work *work, struct error *err);

/* Removes all that this bake made, and remembers the end of the guest's console. An existing
 * template that was found is not touched. */
_must_check_ int bake_work_undo(struct bake_work *work, struct error *err);

/* Kills QEMU, from the loop, while trim or freeze is waiting for it. */
void bake_work_kill(struct bake_work *work);

const char *bake_work_id(const struct bake_work *work); /* "" before prepare */
const char *bake_work_agent_socket(const struct bake_work *work);
/* Where the console is logged to; NULL before prepare. */
const char *bake_work_console_path(const struct bake_work *work);
/* The end of a console's log, made printable; "" where there is none. The caller frees. */
char *bake_work_read_console(const char *path);
/* That of a failed bake; NULL before undo. */
const char *bake_work_console_log(const struct bake_work *work);
/* The last lines the guest wrote on its console, on one line; "" before undo. */
const char *bake_work_console_tail(const struct bake_work *work);
/* The finished template: the caller owns it; NULL where there is none (yet). */
struct template_manifest *bake_work_take_manifest(struct bake_work *work);
bool bake_work_has_manifest(const struct bake_work *work);
