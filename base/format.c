#include "base/format.h"

#include <errno.h>
#include <inttypes.h>

const struct format_version format_versions[FORMATS] = {
	[FORMAT_FACTORY] = { "factory", 1, 1 },   [FORMAT_OPERATOR] = { "operator", 1, 1 },
	[FORMAT_JOURNAL] = { "journal", 1, 1 },   [FORMAT_NOTE] = { "note", 1, 1 },
	[FORMAT_POOL] = { "pool", 1, 1 },         [FORMAT_BUNDLE] = { "bundle", 1, 1 },
	[FORMAT_TEMPLATE] = { "template", 9, 9 }, [FORMAT_IMAGE] = { "image", 1, 1 },
	[FORMAT_DIGESTS] = { "digests", 1, 1 },
};

int format_check(enum format format, uint64_t found, struct error *err)
{
	const struct format_version *known = &format_versions[format];

	if (found > known->version)
		return error_set(err, EPROTONOSUPPORT,
				 "it is of a later Kiln: version %" PRIu64
				 " of the format \"%s\", of which Kiln " KILN_VERSION
				 " reads up to %u",
				 found, known->name, known->version);
	if (found < known->oldest)
		return error_set(err, EPROTONOSUPPORT,
				 "it is of an earlier Kiln: version %" PRIu64
				 " of the format \"%s\", of which Kiln " KILN_VERSION
				 " reads %u and later",
				 found, known->name, known->oldest);
	return 0;
}

int format_check_object(enum format format, const json_t *object, const char *key, bool optional,
			struct error *err)
{
	const json_t *version = json_object_get(object, key);

	if (!version && optional)
		return format_check(format, 1, err);
	if (!json_is_integer(version) || json_integer_value(version) < 0)
		return error_set(err, EBADMSG, "%s is no version", key);
	return format_check(format, (uint64_t)json_integer_value(version), err);
}
