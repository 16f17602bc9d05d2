/* JSON as TOML: an object's scalars and arrays of them first, then its objects as tables, then its
 * arrays of objects as lists of tables. What is null is left out, for TOML has nothing like it.
 *
 * Source: https://toml.io/en/v1.0.0
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* Arrays hold either scalars, none of them null, or objects. */
void toml_write(const json_t *object, FILE *out);
