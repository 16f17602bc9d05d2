#include "proto/claim_priority.h"

static const char *const claim_priority_names[] = {
	[CLAIM_NORMAL] = "normal",
	[CLAIM_HIGH] = "high",
	[CLAIM_SYSTEM] = "system",
};
DEFINE_STRING_TABLE(claim_priority, enum claim_priority, claim_priority_names)
