/* One value on QEMU's command line, in either of the two ways QEMU writes them:
 *
 *   socket,id=x,path=/a,,b,server=on       keys and values; a comma in a value is doubled
 *   {"driver":"vmgenid","guid":"auto"}     JSON
 *
 * In the first way the first word may stand without its key (the implied key: "driver" of
 * -device, "qom-type" of -object, ...), which the reader of the option has to know.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/strbuf.h"

struct qemu_option;

/* -EINVAL for what is neither. */
_must_check_ int qemu_option_parse(const char *text, const char *implied_key,
				   struct qemu_option **ret, struct error *err);
void qemu_option_free(struct qemu_option *option);
DEFINE_CLEANUP(struct qemu_option *, qemu_option_free)

/* A string value; NULL where there is none. Valid until the option is changed or freed. */
const char *qemu_option_get(const struct qemu_option *option, const char *key);

void qemu_option_set(struct qemu_option *option, const char *key, const char *value);
void qemu_option_set_bool(struct qemu_option *option, const char *key, bool value);

/* In the way it was read; the caller frees. */
char *qemu_option_format(const struct qemu_option *option);

/* Escapes of one value inside the text of either way, for placeholder_expand(). */
int qemu_option_escape_comma(struct strbuf *out, const char *value);
int qemu_option_escape_json(struct strbuf *out, const char *value); /* -EILSEQ: not UTF-8 */
