/* A bake in a process of its own, which tells the factory of it: a line of JSON for each phase, and
 * a last one with its end (factory/bake/bake_link.h). */
#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/bake/bake.h"
#include "factory/jailer/jailer_server.h"
#include "factory/templates/definitions.h"

enum { WORKERS = 1, QUEUE = 4 };

struct job {
	struct loop *loop;
	struct bake *bake;
	struct loop_watch *link;
	int socket;
};

/* Takes json. */
static void say(const struct job *job, json_t *json)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = text ? xasprintf("%s\n", text) : NULL;

	json_decref(json);
	if (line)
		(void)!write_full(job->socket, line, strlen(line));
}

static void say_end(const struct job *job, const struct error *err, const char *id,
		    const char *console)
{
	say(job, json_pack("{s:i, s:s, s:s, s:s}", "number", -err->number, "message",
			   error_message(err), "id", id, "console", console));
}

static void on_phase(struct bake *bake, enum bake_phase phase, void *userdata)
{
	say(userdata,
	    json_pack("{s:s, s:s}", "phase", bake_phase_to_string(phase), "id", bake_id(bake)));
}

static void on_done(struct bake *bake, int number _unused_, struct template_manifest *manifest,
		    const struct error *err, void *userdata)
{
	static const struct error none = {};
	struct job *job = userdata;
	_cleanup_free_ char *console = err ? bake_console(bake) : xstrdup("");

	say_end(job, err ? err : &none, manifest ? manifest->id : "", console);
	template_manifest_free(manifest);
	loop_stop(job->loop);
}

/* The factory says nothing; it lets go. */
static void on_let_go(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct job *job = userdata;

	loop_watch_free(steal_ptr(job->link));
	bake_cancel(job->bake);
}

static void bake(struct job *job, const struct server *server,
		 const struct template_definition *definition, const struct template_host *host,
		 bool anew)
{
	struct worker_pool *workers = worker_pool_new(job->loop, WORKERS, QUEUE);

	job->bake = bake_start(&(struct bake_options){
		.loop = job->loop,
		.workers = workers,
		.definition = definition,
		.host = host,
		.store = server->config.store,
		.run_dir = server->config.run_dir,
		.libvirt_uri = server->config.libvirt_uri,
		.first_uid = server->jail.first_uid,
		.anew = anew,
		.on_phase = on_phase,
		.on_done = on_done,
		.userdata = job,
	});
	job->link = loop_watch_new(job->loop, job->socket, LOOP_READ, on_let_go, job);
	loop_run(job->loop);
	loop_watch_free(job->link);
	bake_free(job->bake);
	worker_pool_free(workers);
}

void job_bake(const struct server *server, const struct jailer_request *request, int socket)
{
	const struct factory_config *config = &server->config;
	const struct template_host_choice choice = { config->accelerator, config->channel,
						     config->vhost_net };
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	_cleanup_(template_host_done) struct template_host host = {};
	_cleanup_(error_done) struct error err = {};
	_cleanup_(template_definition_free_cleanup) struct template_definition *definition = NULL;
	struct job job = { .loop = loop, .socket = socket };

	int r = definitions_find(config->templates, request->text.items[0], &definition, &err);
	if (r == 0)
		r = template_host_probe(config->qemu, &choice, &host, &err);
	if (r < 0)
		say_end(&job, &err, "", "");
	else
		bake(&job, server, definition, &host, request->flags & JAILER_ANEW);
}
