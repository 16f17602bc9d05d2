/* Requests of any kind, in any order, to a whole factory that has no machines: its one template
 * cannot be baked, for its kernel has gone. Every call is answered, or waits until its caller
 * goes; then nothing of it is left.
 *
 * Layers of images are below a folder that is not there: they would be read as root. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/api/service.h"
#include "factory/daemon/jailer_start.h"
#include "factory/jailer/jailer_server.h"
#include "fuzz_calls.h"
#include "fuzz_frames.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { DEADLINE_MS = 20000, IMAGE_BYTES = 2 << 20 };

static const ProtobufCServiceDescriptor *const service = &kiln__factory__v1__factory__descriptor;
static char dir[] = "/tmp/kiln-fuzz.XXXXXX";
static struct loop *loop;
static struct jailer *jailer;
static struct factory *factory;

/* ---------------------------------------------------------------- the factory */

static void write_text(const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(dir, name);

	if (file_write_atomic(path, text, strlen(text), 0600, NULL) < 0)
		abort();
}

static void write_files(void)
{
	_cleanup_free_ char *image = path_join(dir, "image");
	_cleanup_free_ char *config = xasprintf(
		"{\"run_dir\": \"%s/run\", \"store\": \"%s/store\", \"scratch_dir\": \"%s/scratch\","
		" \"image_cache\": \"%s/images\", \"image_cache_mib\": 1, \"templates\": "
		"\"%s/template.json\", \"cgroup\": \"\", \"uid_first\": 0, \"init_on_start\": false, "
		"\"boots_at_once\": 0, \"user\": \"root\"}",
		dir, dir, dir, dir, dir);

	_cleanup_free_ char *definition = xasprintf("{\"name\": \"default\", \"kernel\": "
						    "\"%s/vmlinux\", \"initrd\": \"%s/initrd\", "
						    "\"image\": \"%s/image\", \"machine\": "
						    "\"%s/machine.xml\"}",
						    dir, dir, dir, dir);

	write_text("factory.json", config);
	write_text("template.json", definition);
	write_text("vmlinux", "x");
	write_text("initrd", "x");
	write_text("image", "");
	if (truncate(image, IMAGE_BYTES) < 0)
		abort();
	write_text("machine.xml", "x");
}

/* Each bake fails by this. */
static void remove_kernel(void)
{
	_cleanup_free_ char *path = path_join(dir, "vmlinux");

	(void)unlink(path);
}

static void remove_files(void)
{
	factory_free(factory);
	jailer_free(jailer);
	loop_free(loop);
	(void)!path_remove(dir, NULL);
}

/* kiln-jailer, which is another process; it ends with this one. */
static int start_jailer(const char *config_path)
{
	struct factory_config config = {};
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		abort();
	pid_t pid = fork();
	if (pid < 0)
		abort();
	if (pid > 0) {
		close(ends[1]);
		return ends[0];
	}
	close(ends[0]);
	_exit(factory_config_load(config_path, &config, NULL) < 0
		      ? EXIT_FAILURE
		      : server_run(&config, config_path, ends[1]));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct factory_config config = {};
	struct factory_means means = {};
	struct error err = {};

	(void)argc;
	(void)argv;
	log_init("fuzz", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (!mkdtemp(dir))
		abort();
	write_files();
	_cleanup_free_ char *path = path_join(dir, "factory.json");
	jailer = jailer_new(start_jailer(path));
	loop = loop_new();
	if (factory_config_load(path, &config, &err) < 0 ||
	    jailer_begin(jailer, false, &means, &err) < 0 ||
	    factory_new(loop, &config, &means, &factory, &err) < 0) {
		fprintf(stderr, "no factory: %s\n", error_message(&err));
		exit(1);
	}
	close(means.http_fd); /* what comes there is fuzz_http's */
	close(means.socket_fd);
	remove_kernel();
	atexit(remove_files);
	return 0;
}

/* ---------------------------------------------------------------- its callers */

static void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	(void)reply;
	(void)userdata;
}

static void ask(struct ttrpc_client *client, const char *method, const ProtobufCMessage *message)
{
	ttrpc_client_call(client, &(struct ttrpc_call_options){
					  .service = service,
					  .method = method,
					  .request = message,
					  .on_reply = on_reply,
				  });
	fuzz_turn(loop);
}

static void make_harmless(ProtobufCMessage *message)
{
	Kiln__Factory__V1__PrepareImageRequest *prepare = (void *)message;

	if (message->descriptor != &kiln__factory__v1__prepare_image_request__descriptor)
		return;
	for (size_t i = 0; i < prepare->n_layers; i++) {
		char *path = xasprintf("/nowhere%s", prepare->layers[i]);
		free(prepare->layers[i]);
		prepare->layers[i] = path;
	}
}

static void ask_all(struct ttrpc_client *client, struct fuzz_input *input)
{
	const ProtobufCMethodDescriptor *method;
	ProtobufCMessage *message;

	while (fuzz_take_call(input, service, &method, &message)) {
		if (!message)
			continue;
		make_harmless(message);
		ask(client, method->name, message);
		protobuf_c_message_free_unpacked(message, NULL);
	}
}

/* What an earlier input has asked of the pool is kept; each begins with the same. */
static void resume(struct ttrpc_client *client)
{
	Kiln__Factory__V1__ResumeRequest request = KILN__FACTORY__V1__RESUME_REQUEST__INIT;

	ask(client, "Resume", &request.base);
}

/* A bake that fails, or a removal, ends in a thread of its own. */
static void await_no_calls(struct ttrpc_server *server)
{
	const bool never = false;

	for (unsigned ms = 0; ttrpc_server_calls(server) > 0; ms++) {
		if (ms > DEADLINE_MS)
			abort();
		(void)loop_run_until(loop, &never, 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct ttrpc_server *server = service_new(loop, factory);
	int fds[2];

	if (socket_pair(fds) < 0 || ttrpc_server_serve(server, fds[0], false, NULL) < 0)
		abort();
	struct ttrpc_client *client = ttrpc_client_new(loop, fds[1],
						       &(struct ttrpc_client_options){});
	resume(client);
	ask_all(client, &input);
	ttrpc_client_free(client);
	fuzz_turn(loop);
	await_no_calls(server);
	ttrpc_server_free(server);
	return 0;
}
