/* What callers may ask of this agent: an allow-list that SetPolicy sets (docs/AGENT.md, "The
 * policy").
 *
 * The text is JSON of Kiln's own, no Rego: {"allow": {METHOD: true, or a list of patterns}}. A
 * method that is not in it is denied, as is a request that none of its patterns matches; so
 * SetPolicy, too: a policy that does not allow it stays for the machine's life, and one that does
 * says which text may take its place. Without a policy all is allowed. grpc.Health is always
 * answered.
 *
 * A pattern is compared with the request as JSON has it (proto/pbjson.h, defaults included):
 *
 *   {"key": PATTERN, ...}  each of these fields matches; others are not looked at
 *   [PATTERN, ...]         a list of as many items, each matching its own
 *   null                   the message is not there
 *   anything else          equal
 *   {"$any": [PATTERN...]} one of them matches
 *   {"$each": PATTERN}     a list, of which each item matches; an empty one does
 *   {"$prefix": "text"}    a text that begins so
 *   {"$max": N}            a number of at most N
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

enum { POLICY_BYTES_MAX = 1 << 20 };

struct policy;

/* -EINVAL says what is wrong where. */
_must_check_ int policy_parse(const char *text, struct policy **ret, struct error *err);
void policy_free(struct policy *policy);
DEFINE_CLEANUP(struct policy *, policy_free)

/* 0, or -EPERM. policy may be NULL. */
_must_check_ int policy_check(const struct policy *policy, const char *method,
			      const ProtobufCMessage *request, struct error *err);
