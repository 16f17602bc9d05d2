#include "ctl/kata.h"

#include <stddef.h>

#include "base/strings.h"

static const struct {
	const char *word;
	const char *ours;
} commands[] = {
	{ "kata-check", "check" },
	{ "kata-env", "env" },
};

static const struct {
	const char *word;
	const char *instead;
} others[] = {
	{ "block-device", "'direct-volume resize' makes a volume's file system larger" },
	{ "log-parser", "the log is JSON with \"log_format\": \"json\"" },
	{ "monitor", "'metrics serve' is the page of all sandboxes" },
};

bool kata_is_name(const char *program)
{
	return str_equal(program, "kata-ctl") || str_equal(program, "kata-runtime");
}

const char *kata_command(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (str_equal(commands[i].word, word))
			return commands[i].ours;
	return word;
}

const char *kata_instead(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (str_equal(others[i].word, word))
			return others[i].instead;
	return NULL;
}
