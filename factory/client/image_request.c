#include "factory/client/image_request.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/client/factory_rpc.h"

#define REQUEST_TIMEOUT_MS (10 * 1000)

struct asking {
	struct loop *loop;
	struct ttrpc_client *factory;
	image_wait_fn fn; /* NULL: nobody waits */
	void *userdata;
	struct error error; /* what fn is told */
};

/* Also where the factory could not be asked. */
static void asking_end(void *userdata)
{
	struct asking *asking = userdata;

	if (asking->fn)
		asking->fn(&asking->error, asking->userdata);
	else if (asking->error.number)
		log_debug(NULL, "the factory makes no image: %s", error_message(&asking->error));
	error_done(&asking->error);
	ttrpc_client_free(asking->factory);
	free(asking);
}

static void on_prepared(const struct ttrpc_reply *reply, void *userdata)
{
	struct asking *asking = userdata;
	const Kiln__Factory__V1__PrepareImageResponse *answer = (const void *)reply->response;

	if (reply->code != TTRPC_OK)
		(void)error_set(&asking->error, EIO, "%s", reply->message);
	else if (*answer->error)
		(void)error_set(&asking->error, EIO, "image %.64s is %s: %s", answer->key,
				answer->state, answer->error);
	loop_defer(asking->loop, asking_end, asking);
}

static int ask(struct asking *asking, const char *address, const struct strv *layers,
	       const char *name, struct error *err)
{
	Kiln__Factory__V1__PrepareImageRequest request =
		KILN__FACTORY__V1__PREPARE_IMAGE_REQUEST__INIT;
	int r = factory_rpc_connect(asking->loop, address ? address : FACTORY_SOCKET,
				    &asking->factory, err);

	if (r < 0)
		return r;
	request.layers = layers->items;
	request.n_layers = layers->count;
	request.name = (char *)(name ? name : "");
	request.wait = asking->fn != NULL;
	factory_rpc_call(asking->factory, "PrepareImage", &request.base,
			 asking->fn ? IMAGE_WAIT_MS : REQUEST_TIMEOUT_MS, on_prepared, asking);
	return 0;
}

void image_wait(struct loop *loop, const char *factory_address, const struct strv *layers,
		image_wait_fn fn, void *userdata)
{
	struct asking *asking = xnew(struct asking);

	*asking = (struct asking){ .loop = loop, .fn = fn, .userdata = userdata };
	if (ask(asking, factory_address, layers, NULL, &asking->error) < 0)
		loop_defer(loop, asking_end, asking);
}

void image_request(struct loop *loop, const char *factory_address, const struct strv *layers,
		   const char *name)
{
	struct asking *asking = xnew(struct asking);

	*asking = (struct asking){ .loop = loop };
	if (ask(asking, factory_address, layers, name, &asking->error) < 0)
		asking_end(asking);
}
