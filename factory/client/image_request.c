#include "factory/client/image_request.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/client/factory_rpc.h"

#define TIMEOUT_MS (10 * 1000)

struct asking {
	struct loop *loop;
	struct ttrpc_client *factory;
};

static void asking_free(void *userdata)
{
	struct asking *asking = userdata;

	ttrpc_client_free(asking->factory);
	free(asking);
}

static void on_prepared(const struct ttrpc_reply *reply, void *userdata)
{
	struct asking *asking = userdata;
	const Kiln__Factory__V1__PrepareImageResponse *answer = (const void *)reply->response;

	if (reply->code != TTRPC_OK)
		log_debug(NULL, "the factory makes no image: %s", reply->message);
	else if (*answer->error)
		log_debug(NULL, "image %.64s is %s: %s", answer->key, answer->state, answer->error);
	loop_defer(asking->loop, asking_free, asking);
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
	factory_rpc_call(asking->factory, "PrepareImage", &request.base, TIMEOUT_MS, on_prepared,
			 asking);
	return 0;
}

void image_request(struct loop *loop, const char *factory_address, const struct strv *layers,
		   const char *name)
{
	_cleanup_(error_done) struct error err = {};
	struct asking *asking = xnew(struct asking);

	asking->loop = loop;
	if (ask(asking, factory_address, layers, name, &err) < 0) {
		log_debug(NULL, "cannot ask the factory for an image: %s", error_message(&err));
		asking_free(asking);
	}
}
