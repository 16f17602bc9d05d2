#include "ctl/completion_script.h"

#include <getopt.h>
#include <stdbool.h>

#include "base/strings.h"

/* What an option's value is; of one that is not here, anything. */
static const struct {
	const char *option;
	const char *words; /* NULL: a file */
} values[] = {
	{ "config", NULL },     { "containerd-config", NULL },
	{ "containerd", NULL }, { "file", NULL },
	{ "output", NULL },     { "priority", "normal high system" },
	{ "run-dir", NULL },    { "snapshotter", "overlayfs native" },
	{ "socket", NULL },     { "volume-path", NULL },
};

/* ---------------------------------------------------------------- parts of both scripts */

static void print_words(const struct ctl_command *command, FILE *out)
{
	const char *word;

	for (size_t i = 0; command->word && (word = command->word(i)); i++)
		fprintf(out, "%s%s", i > 0 ? " " : "", word);
}

static void print_options(const struct ctl_command *command, FILE *out)
{
	for (const struct option *option = command->options; option && option->name; option++)
		fprintf(out, "%s--%s", option != command->options ? " " : "", option->name);
}

static bool has_words(const char *option, bool *ret_known)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (str_equal(values[i].option, option)) {
			*ret_known = true;
			return values[i].words != NULL;
		}
	*ret_known = false;
	return false;
}

/* Options with a value that nothing is known of, "--a | --b", each once: a shell is not to offer
 * words in its place. */
static void print_unknown(const struct ctl_command *const *commands, FILE *out)
{
	const char *before = "";

	for (size_t i = 0; commands[i]; i++)
		for (const struct option *option = commands[i]->options; option && option->name;
		     option++) {
			bool known, seen = false;
			(void)has_words(option->name, &known);
			for (size_t n = 0; n < i && !seen; n++)
				for (const struct option *other = commands[n]->options;
				     other && other->name; other++)
					seen |= str_equal(other->name, option->name);
			if (known || seen || option->has_arg != required_argument)
				continue;
			fprintf(out, "%s--%s", before, option->name);
			before = " | ";
		}
}

static void print_files(FILE *out)
{
	const char *before = "";

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		if (values[i].words)
			continue;
		fprintf(out, "%s--%s", before, values[i].option);
		before = " | ";
	}
}

/* ---------------------------------------------------------------- bash */

static const char bash_head[] =
	"# Completion of kiln-ctl for bash, made by: kiln-ctl completion bash\n"
	"_kiln_ctl() {\n"
	"	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
	"	local words= options= repeat=\n"
	"	COMPREPLY=()\n"
	"	if ((COMP_CWORD > 1)) && [[ $cur == = ]]; then\n"
	"		cur=\n"
	"	elif ((COMP_CWORD > 2)) && [[ $prev == = ]]; then\n"
	"		prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
	"	fi\n"
	"	case $prev in\n";

static const char bash_tail[] =
	"	esac\n"
	"	if [[ $cur == -* ]]; then\n"
	"		mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\")\n"
	"	elif ((COMP_CWORD == 2)) || [[ $repeat ]]; then\n"
	"		mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	"	fi\n"
	"}\n"
	"complete -F _kiln_ctl kiln-ctl kata-ctl\n";

static void bash_values(const struct ctl_command *const *commands, FILE *out)
{
	fputs("	", out);
	print_files(out);
	fputs(")\n"
	      "		compopt -o filenames 2>/dev/null\n"
	      "		mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	      "		return ;;\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (values[i].words)
			fprintf(out,
				"	--%s)\n"
				"		mapfile -t COMPREPLY < <(compgen -W \"%s\" -- \"$cur\")\n"
				"		return ;;\n",
				values[i].option, values[i].words);
	fputs("	", out);
	print_unknown(commands, out);
	fputs(")\n		return ;;\n	esac\n", out);
}

void completion_bash(const struct ctl_command *const *commands, FILE *out)
{
	fputs(bash_head, out);
	bash_values(commands, out);
	fputs("	if ((COMP_CWORD == 1)); then\n		words='", out);
	for (size_t i = 0; commands[i]; i++)
		fprintf(out, "%s ", commands[i]->name);
	fputs("help'\n"
	      "		mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	      "		return\n"
	      "	fi\n"
	      "	case ${COMP_WORDS[1]} in\n"
	      "	help) words='",
	      out);
	for (size_t i = 0; commands[i]; i++)
		fprintf(out, "%s%s", i > 0 ? " " : "", commands[i]->name);
	fputs("' ;;\n", out);
	for (size_t i = 0; commands[i]; i++) {
		fprintf(out, "	%s) options='", commands[i]->name);
		print_options(commands[i], out);
		fputs("' words='", out);
		print_words(commands[i], out);
		fprintf(out, "'%s ;;\n", commands[i]->words_repeat ? " repeat=1" : "");
	}
	fputs(bash_tail, out);
}

/* ---------------------------------------------------------------- zsh */

static const char zsh_head[] =
	"#compdef kiln-ctl kata-ctl\n"
	"# Completion of kiln-ctl for zsh, made by: kiln-ctl completion zsh\n"
	"_kiln_ctl() {\n"
	"	local -a commands opts args\n"
	"	local repeat=0\n"
	"	commands=(\n";

static const char zsh_tail[] = "	esac\n"
			       "	if [[ ${words[CURRENT]} == -* ]]; then\n"
			       "		compadd -- $opts\n"
			       "	elif (( CURRENT == 3 || repeat )); then\n"
			       "		compadd -- $args\n"
			       "	fi\n"
			       "}\n"
			       "if [[ ${funcstack[1]} == _kiln-ctl ]]; then\n"
			       "	_kiln_ctl \"$@\"\n"
			       "else\n"
			       "	compdef _kiln_ctl kiln-ctl kata-ctl\n"
			       "fi\n";

/* Between single quotes; a colon ends the word before a description. */
static void print_quoted(const char *text, FILE *out)
{
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", out);
		else
			putc(*text, out);
}

static void zsh_values(const struct ctl_command *const *commands, FILE *out)
{
	fputs("	case ${words[CURRENT-1]} in\n	", out);
	print_files(out);
	fputs(")\n		_files\n		return ;;\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (values[i].words)
			fprintf(out, "	--%s)\n		compadd %s\n		return ;;\n",
				values[i].option, values[i].words);
	fputs("	", out);
	print_unknown(commands, out);
	fputs(")\n		return ;;\n	esac\n", out);
}

void completion_zsh(const struct ctl_command *const *commands, FILE *out)
{
	fputs(zsh_head, out);
	for (size_t i = 0; commands[i]; i++) {
		fprintf(out, "		'%s:", commands[i]->name);
		print_quoted(commands[i]->summary, out);
		fputs("'\n", out);
	}
	fputs("		'help:the manual of a command'\n	)\n", out);
	zsh_values(commands, out);
	fputs("	if (( CURRENT == 2 )); then\n"
	      "		_describe command commands\n"
	      "		return\n"
	      "	fi\n"
	      "	case ${words[2]} in\n"
	      "	help) args=(${commands%%:*}) ;;\n",
	      out);
	for (size_t i = 0; commands[i]; i++) {
		fprintf(out, "	%s) opts=(", commands[i]->name);
		print_options(commands[i], out);
		fputs(") args=(", out);
		print_words(commands[i], out);
		fprintf(out, ")%s ;;\n", commands[i]->words_repeat ? " repeat=1" : "");
	}
	fputs(zsh_tail, out);
}
