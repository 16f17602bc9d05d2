/* The place of a claim in the line of those that wait for a machine: the higher first, among
 * equals the first. The numbers are those of kiln.factory.v1.Priority. */
#pragma once

#include "base/strings.h"

enum claim_priority { CLAIM_NORMAL, CLAIM_HIGH, CLAIM_SYSTEM };
DECLARE_STRING_TABLE(claim_priority, enum claim_priority); /* "normal", "high", "system" */
