#include "factory/templates/definitions.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"

static bool is_definition_name(const char *name)
{
	const char *suffix = strrchr(name, '.');

	return name[0] != '.' && str_equal(suffix, ".json");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_folder(const char *path, struct strv *ret_paths, struct error *err)
{
	const struct dirent *entry;
	DIR *dir = opendir(path);

	if (!dir)
		return error_set_errno(err, errno, "cannot read the folder %s", path);
	while ((entry = readdir(dir)))
		if (is_definition_name(entry->d_name))
			strv_take(ret_paths, path_join(path, entry->d_name));
	closedir(dir);
	if (ret_paths->count == 0)
		return error_set(err, ENOENT, "no template definition (*.json) in %s", path);
	qsort(ret_paths->items, ret_paths->count, sizeof(*ret_paths->items), by_name);
	return 0;
}

static int refuse_two(const struct template_definition *one,
		      const struct template_definition *other, struct error *err)
{
	return error_set(err, EEXIST, "%s and %s both define a template \"%s\"", one->path,
			 other->path, one->name);
}

static int add_definition(struct definitions *definitions, const char *path, struct error *err)
{
	struct template_definition *definition = NULL;

	int r = template_definition_load(path, &definition, err);
	if (r < 0)
		return r;
	definitions->items = xrealloc_array(definitions->items, definitions->count + 1,
					    sizeof(struct template_definition *));
	definitions->items[definitions->count++] = definition;
	for (size_t i = 0; i + 1 < definitions->count; i++)
		if (str_equal(definitions->items[i]->name, definition->name))
			return refuse_two(definitions->items[i], definition, err);
	return 0;
}

static int list_files(const char *path, struct strv *ret_paths, struct error *err)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return list_folder(path, ret_paths, err);
	strv_add(ret_paths, path);
	return 0;
}

int definitions_load(const char *path, struct definitions *ret_definitions, struct error *err)
{
	_cleanup_(definitions_done) struct definitions definitions = {};
	_cleanup_(strv_done) struct strv paths = {};
	int r = list_files(path, &paths, err);

	for (size_t i = 0; r == 0 && i < paths.count; i++)
		r = add_definition(&definitions, paths.items[i], err);
	if (r < 0)
		return r;
	*ret_definitions = definitions;
	definitions = (struct definitions){};
	return 0;
}

/* Takes the definition where it has the name. */
static int find_in(const char *path, const char *name, struct template_definition **found,
		   struct error *first, struct error *err)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *definition = NULL;

	if (template_definition_load(path, &definition, first->number ? NULL : first) < 0 ||
	    !str_equal(definition->name, name))
		return 0;
	if (*found)
		return refuse_two(*found, definition, err);
	*found = steal_ptr(definition);
	return 0;
}

int definitions_find(const char *path, const char *name, struct template_definition **ret,
		     struct error *err)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *found = NULL;
	_cleanup_(error_done) struct error first = {};
	_cleanup_(strv_done) struct strv paths = {};
	int r = list_files(path, &paths, err);

	for (size_t i = 0; r == 0 && i < paths.count; i++)
		r = find_in(paths.items[i], name, &found, &first, err);
	if (r == 0 && !found && first.number)
		r = error_set(err, first.number, "%s", error_message(&first));
	else if (r == 0 && !found)
		r = error_set(err, ENOENT, "no definition in %s is of the template %.128s", path,
			      name);
	if (r == 0)
		*ret = steal_ptr(found);
	return r;
}

void definitions_done(struct definitions *definitions)
{
	for (size_t i = 0; i < definitions->count; i++)
		template_definition_free(definitions->items[i]);
	free(definitions->items);
	*definitions = (struct definitions){};
}
