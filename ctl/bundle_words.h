/* What config.json of a container's bundle says of it beside what the shim knows: its image and its
 * pod, as containerd's CRI plugin and CRI-O write them among the annotations. */
#pragma once

#include "base/error.h"

struct bundle_words {
	char *image, *pod, *pod_ns, *pod_uid; /* owned; NULL: nothing is said */
};

_must_check_ int bundle_words_read(const char *bundle, struct bundle_words *ret, struct error *err);
/* -EINVAL: that is no JSON object. */
_must_check_ int bundle_words_parse(const char *text, size_t len, struct bundle_words *ret,
				    struct error *err);
void bundle_words_done(struct bundle_words *words);
