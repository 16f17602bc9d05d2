#include "shim/arguments.h"

#include <stddef.h>

#include "base/strings.h"

static const struct flag {
	const char *name;
	size_t offset;
	bool has_value;
} flags[] = {
	{ "namespace", offsetof(struct arguments, ns), true },
	{ "address", offsetof(struct arguments, address), true },
	{ "publish-binary", offsetof(struct arguments, publish_binary), true },
	{ "id", offsetof(struct arguments, id), true },
	{ "bundle", offsetof(struct arguments, bundle), true },
	{ "socket", offsetof(struct arguments, socket), true },
	{ "debug", offsetof(struct arguments, debug), false },
	{ "v", offsetof(struct arguments, version), false },
	{ "info", offsetof(struct arguments, info), false },
	{ "h", offsetof(struct arguments, help), false },
	{ "help-config", offsetof(struct arguments, help_config), false },
	{ "help", offsetof(struct arguments, help), false },
};

static const struct flag *find_flag(const char *name, const char **ret_value)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		const char *rest = str_after(name, flags[i].name);
		if (!rest || (*rest != '\0' && *rest != '='))
			continue;
		*ret_value = *rest == '=' ? rest + 1 : NULL;
		return &flags[i];
	}
	return NULL;
}

static int parse_flag(int argc, char *const *argv, int *i, struct arguments *arguments,
		      struct error *err)
{
	const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
	const char *value = NULL;
	const struct flag *flag = find_flag(name, &value);
	char *field;

	if (!flag)
		return error_set(err, EINVAL, "unknown flag %s", argv[*i]);
	field = (char *)arguments + flag->offset;
	if (!flag->has_value) {
		*(bool *)field = !value || str_equal(value, "true");
		return 0;
	}
	if (!value && ++*i < argc)
		value = argv[*i];
	if (!value)
		return error_set(err, EINVAL, "flag -%s needs a value", flag->name);
	*(const char **)field = value;
	return 0;
}

int arguments_parse(int argc, char *const *argv, struct arguments *ret_arguments, struct error *err)
{
	struct arguments arguments = { .ns = "",
				       .address = "",
				       .publish_binary = "",
				       .id = "",
				       .bundle = "",
				       .socket = "",
				       .action = "" };
	int r;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-' && argv[i][1]) {
			r = parse_flag(argc, argv, &i, &arguments, err);
			if (r < 0)
				return r;
		} else if (*arguments.action) {
			return error_set(err, EINVAL, "one command is enough: %s, %s",
					 arguments.action, argv[i]);
		} else {
			arguments.action = argv[i];
		}
	}
	*ret_arguments = arguments;
	return 0;
}
