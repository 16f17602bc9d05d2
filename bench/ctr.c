#include "bench/ctr.h"

#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"

void ctr_begin(const struct bench *bench, const char *word, struct strv *argv)
{
	strv_add(argv, "ctr");
	strv_addf(argv, "--address=%s", bench->options.containerd);
	strv_addf(argv, "--namespace=%s", bench->options.namespace_);
	strv_add(argv, word);
}

void ctr_run_begin(const struct bench *bench, const char *runtime, const char *config,
		   const char *how, struct strv *argv)
{
	ctr_begin(bench, "run", argv);
	strv_add(argv, how);
	strv_addf(argv, "--runtime=%s", runtime);
	if (config)
		strv_addf(argv, "--runtime-config-path=%s", config);
}

int ctr_write_config(const char *factory, const char *path, struct error *err)
{
	json_t *config = json_pack("{s:s}", "factory", factory);
	_cleanup_free_ char *text = json_dumps(config, 0);

	json_decref(config);
	return file_write_atomic(path, text, strlen(text), 0644, err);
}

int ctr_delete(const struct bench *bench, const char *id, struct error *err)
{
	_cleanup_(strv_done) struct strv task = {};
	_cleanup_(strv_done) struct strv container = {};
	_cleanup_free_ char *task_output = NULL;
	_cleanup_free_ char *container_output = NULL;

	ctr_begin(bench, "tasks", &task);
	strv_add(&task, "delete");
	strv_add(&task, "--force");
	strv_add(&task, id);
	/* It says so with a status of its own when the killed process had one. */
	(void)spawn_and_wait(task.items, &task_output, NULL);
	ctr_begin(bench, "containers", &container);
	strv_add(&container, "delete");
	strv_add(&container, id);
	return spawn_and_wait(container.items, &container_output, err);
}

int image_prepare(const char *factory, const char *containerd, const char *namespace_,
		  const char *image, struct error *err)
{
	_cleanup_free_ char *output = NULL;

	return spawn_and_wait(SPAWN_ARGV("kiln-ctl", "image", "prepare", image, "--socket", factory,
					 "--containerd", containerd, "--namespace", namespace_),
			      &output, err);
}

int ctr_prepare_image(const struct bench *bench, const char *factory, const char *image,
		      struct error *err)
{
	return image_prepare(factory, bench->options.containerd, bench->options.namespace_, image,
			     err);
}
