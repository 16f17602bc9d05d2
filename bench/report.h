/* A result as text for people. */
#pragma once

#include <stdio.h>

#include "bench/result.h"

/* The machine, every series with the ratio of the cold boot's median to its own, the tables. */
void report_print(const struct result *result, FILE *out);
