/* The versions of what one program of Kiln says to another, or leaves in a file for it: all of them
 * stand here, and docs/UPGRADE.md says what becomes of each at an upgrade and at its rollback.
 *
 * A shim lives as long as its pod, so programs of several versions meet: old shims and a new
 * factory after an upgrade, new shims and an old factory after a rollback. What holds for all of
 * it:
 *
 *   - What is added does not change a version. It is a field or method of a service, or a key of a
 *     file, that a reader of before ignores (a template's file is strict: another key is another
 *     version there), and without which all goes on as before.
 *   - What a reader of before would get wrong makes the version greater. A reader refuses a greater
 *     one by format_check(), says so, and leaves alone what it is about: whoever wrote it, or comes
 *     after him, can read it. What is no more than a memory (images, digests) is made anew instead.
 *   - A reader takes all versions from `oldest` on.
 *   - Field numbers, and methods of a service, are never reused or taken away within a version.
 *
 * Between programs that are installed together and started together nothing of this holds:
 * kiln-factory, kiln-jailer, kiln-libvirt and what they preload into QEMU are of one build.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum format {
	/* spoken */
	FORMAT_FACTORY,  /* proto/factory.proto: the number in its package's name */
	FORMAT_OPERATOR, /* proto/operator.proto: ditto */
	/* written, for as long as the host runs */
	FORMAT_JOURNAL, /* factory/vm/journal.h */
	FORMAT_NOTE,    /* factory/store/store_note.h */
	FORMAT_POOL,    /* factory/pool/pool_word.h */
	FORMAT_BUNDLE,  /* shim/bundle.h */
	/* written, for longer */
	FORMAT_TEMPLATE, /* factory/store/template.h */
	FORMAT_IMAGE,    /* factory/cache/image_record.h */
	FORMAT_DIGESTS,  /* factory/store/known_digests.h */
	FORMATS
};

/* What this build writes, and the oldest that it reads. */
struct format_version {
	const char *name; /* for people and in JSON: "journal" */
	uint32_t version;
	uint32_t oldest;
};

extern const struct format_version format_versions[FORMATS];

/* `found` is what somebody else wrote. -EPROTONOSUPPORT: this build does not read it; the sentence
 * says which of both is the later one, and what to do. */
_must_check_ int format_check(enum format format, uint64_t found, struct error *err);

/* The same of a file's object, whose version is under the key. -EBADMSG: it is no number, or it is
 * not there; `optional`: then it is 1, for the first version was written without. */
_must_check_ int format_check_object(enum format format, const json_t *object, const char *key,
				     bool optional, struct error *err);
