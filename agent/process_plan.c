#include "agent/process_plan.h"

#include <stdlib.h>
#include <string.h>

#include "agent/spec_refused.h"
#include "base/memory.h"
#include "base/strings.h"

enum { DEFAULT_MASK = 022 };

static const struct {
	const char *name;
	int resource;
} limit_names[] = {
	{ "RLIMIT_AS", RLIMIT_AS },
	{ "RLIMIT_CORE", RLIMIT_CORE },
	{ "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
	{ "RLIMIT_LOCKS", RLIMIT_LOCKS },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
	{ "RLIMIT_NPROC", RLIMIT_NPROC },
	{ "RLIMIT_RSS", RLIMIT_RSS },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
	{ "RLIMIT_RTTIME", RLIMIT_RTTIME },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
};

static int limit_parse(const Grpc__POSIXRlimit *limit, struct limit_plan *ret, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(limit_names); i++) {
		if (!str_equal(limit->type, limit_names[i].name))
			continue;
		if (limit->soft > limit->hard)
			return error_set(err, EINVAL, "%s: the soft limit is above the hard one",
					 limit->type);
		ret->resource = limit_names[i].resource;
		ret->limit.rlim_cur = limit->soft;
		ret->limit.rlim_max = limit->hard;
		return 0;
	}
	return error_set(err, EINVAL, "\"%.64s\" is no resource limit", limit->type);
}

static int parse_limits(struct process_plan *plan, struct error *err)
{
	const Grpc__Process *process = plan->process;

	plan->limits = xnew_array(struct limit_plan, process->n_rlimits + 1);
	for (size_t i = 0; i < process->n_rlimits; i++) {
		int r = limit_parse(process->rlimits[i], &plan->limits[i], err);
		if (r < 0)
			return r;
	}
	plan->nlimits = process->n_rlimits;
	return 0;
}

static int check(const Grpc__Process *process, struct error *err)
{
	int r = process_refuse(process, err);

	if (r < 0)
		return r;
	if (process->n_args == 0 || str_empty(process->args[0]))
		return error_set(err, EINVAL, "process.args must name a program");
	if (!str_empty(process->cwd) && *process->cwd != '/')
		return error_set(err, EINVAL, "process.cwd \"%.256s\" must be an absolute path",
				 process->cwd);
	if (process->oomscoreadj < -1000 || process->oomscoreadj > 1000)
		return error_set(err, EINVAL, "process.oomScoreAdj must be from -1000 to 1000");
	for (size_t i = 0; i < process->n_env; i++)
		if (!strchr(process->env[i], '='))
			return error_set(err, EINVAL, "process.env \"%.64s\" is not NAME=value",
					 process->env[i]);
	return 0;
}

/* ---------------------------------------------------------------- the environment */

/* Of NAME=value, as bytes: '=' is in no name. */
static int compare_names(const char *a, const char *b)
{
	while (*a == *b && *a != '=') {
		a++;
		b++;
	}
	return (*a == '=' ? 0 : (unsigned char)*a) - (*b == '=' ? 0 : (unsigned char)*b);
}

/* Of a variable that comes several times, the first is in front. */
static int compare_variables(const void *a, const void *b)
{
	char *const *x = *(char **const *)a, *const *y = *(char **const *)b;
	int order = compare_names(*x, *y);

	return order != 0 ? order : (x > y) - (x < y);
}

/* The last value of a variable counts, in the place of its first. */
static size_t drop_doubles(char **env, size_t count)
{
	_cleanup_free_ char ***sorted = xnew_array(char **, count + 1);
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		sorted[i] = &env[i];
	qsort(sorted, count, sizeof(*sorted), compare_variables);
	for (size_t first = 0, i = 1; i < count; i++) {
		if (compare_names(*sorted[first], *sorted[i]) != 0) {
			first = i;
			continue;
		}
		*sorted[first] = *sorted[i];
		*sorted[i] = NULL;
	}
	for (size_t i = 0; i < count; i++)
		if (env[i])
			env[kept++] = env[i];
	memset(env + kept, 0, (count - kept) * sizeof(*env));
	return kept;
}

/* ---------------------------------------------------------------- all of it */

/* Copies the pointers; slots more of them are left NULL at the end. */
static char **vector_new(char *const *items, size_t count, size_t slots)
{
	char **vector = xnew_array(char *, count + slots);

	if (count > 0)
		memcpy(vector, items, count * sizeof(items[0]));
	return vector;
}

int process_plan_init(const Grpc__Process *process, const Grpc__StringUser *user_names,
		      struct process_plan *ret, struct error *err)
{
	_cleanup_(process_plan_done) struct process_plan plan = { .process = process };

	if (!process)
		return error_set(err, EINVAL, "no process is given");

	int r = check(process, err);
	if (r == 0)
		r = parse_limits(&plan, err);
	if (r == 0)
		r = schedule_plan_init(process, &plan.schedule, err);
	if (r == 0)
		r = caps_parse(process->capabilities, &plan.caps, err);
	if (r == 0)
		r = user_plan_init(process->user, user_names, &plan.user, err);
	if (r < 0)
		return r;
	plan.args = vector_new(process->args, process->n_args, 1);
	plan.env = vector_new(process->env, process->n_env, 2);
	plan.nenv = drop_doubles(plan.env, process->n_env);
	plan.mask = process->user && process->user->umask_case == GRPC__USER__UMASK_UMASK
			    ? (mode_t)process->user->umask & 0777
			    : DEFAULT_MASK;
	if (process->consolesize) {
		plan.window.ws_row = (unsigned short)process->consolesize->height;
		plan.window.ws_col = (unsigned short)process->consolesize->width;
	}
	*ret = plan;
	plan = (struct process_plan){};
	return 0;
}

void process_plan_done(struct process_plan *plan)
{
	free(plan->args);
	free(plan->env);
	free(plan->limits);
	user_plan_done(&plan->user);
	*plan = (struct process_plan){};
}

const char *process_plan_getenv(const struct process_plan *plan, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = plan->nenv; i > 0; i--) {
		const char *value = str_after(plan->env[i - 1], name);
		if (value && plan->env[i - 1][len] == '=')
			return value + 1;
	}
	return NULL;
}
