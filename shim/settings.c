#include "shim/settings.h"

#include <stdlib.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/vm/claim_priority.h"
#include "proto/runtimeoptions.pb-c.h"
#include "shim/spec.h"

static const struct config_key keys[] = {
	CONFIG_STRING(struct settings, factory, "factory", "unix:///run/kiln/factory.sock",
		      "address of kiln-factory"),
	CONFIG_STRING(struct settings, template_name, "template", "",
		      "template a sandbox is cloned from; empty: the factory chooses"),
	CONFIG_ENUM(struct settings, priority, "priority", "normal", claim_priority_from_string,
		    "place in the line for a machine: normal, high or system"),
};

static void read_environment(struct settings *settings)
{
	const char *factory = getenv("KILN_FACTORY");
	const char *template_name = getenv("KILN_TEMPLATE");

	if (!str_empty(factory))
		replace_string(&settings->factory, factory);
	if (!str_empty(template_name))
		replace_string(&settings->template_name, template_name);
}

static int read_file(const char *path, struct settings *settings, struct error *err)
{
	json_t *object = NULL;
	int r;

	r = config_load_file(path, &object, err);
	if (r < 0)
		return r;
	r = config_read(keys, ARRAY_SIZE(keys), object, path, settings, err);
	json_decref(object);
	return r;
}

static int read_options(const Google__Protobuf__Any *any, struct settings *settings,
			struct error *err)
{
	Runtimeoptions__V1__Options *options;
	int r = 0;

	if (!any || !str_equal(any->type_url, runtimeoptions__v1__options__descriptor.name))
		return 0;
	options = runtimeoptions__v1__options__unpack(NULL, any->value.len, any->value.data);
	if (!options)
		return error_set(err, EINVAL, "the runtime options are no %s", any->type_url);
	if (!str_empty(options->config_path))
		r = read_file(options->config_path, settings, err);
	runtimeoptions__v1__options__free_unpacked(options, NULL);
	return r;
}

int settings_load(const Google__Protobuf__Any *options, struct settings *ret_settings,
		  struct error *err)
{
	struct settings settings = {};
	int r;

	config_set_defaults(keys, ARRAY_SIZE(keys), &settings);
	read_environment(&settings);
	r = read_options(options, &settings, err);
	if (r < 0) {
		settings_done(&settings);
		return error_wrap(err, "runtime options");
	}
	*ret_settings = settings;
	return 0;
}

int settings_annotate(struct settings *settings, const struct spec *spec,
		      struct error *err _unused_)
{
	const char *template_name = spec_annotation(spec, "io.kiln.template");

	if (template_name)
		replace_string(&settings->template_name, template_name);
	return 0;
}

bool settings_equal(const struct settings *a, const struct settings *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!config_equal(&keys[i], a, b))
			return false;
	return true;
}

void settings_copy(struct settings *to, const struct settings *from)
{
	settings_done(to);
	config_copy(keys, ARRAY_SIZE(keys), from, to);
}

void settings_done(struct settings *settings)
{
	config_done(keys, ARRAY_SIZE(keys), settings);
}
