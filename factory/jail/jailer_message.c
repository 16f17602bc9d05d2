#include "factory/jail/jailer_message.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/memory.h"
#include "factory/cache/image_record.h"

static const char *const verb_names[] = {
	[JAILER_BEGIN] = "begin",
	[JAILER_TAKE] = "take user ids",
	[JAILER_COPY] = "copy",
	[JAILER_LAUNCH] = "launch",
	[JAILER_GROW] = "grow",
	[JAILER_REHEARSE] = "rehearse",
	[JAILER_KILL] = "kill",
	[JAILER_REAP] = "reap",
	[JAILER_FIND] = "find",
	[JAILER_REMOVE] = "remove",
	[JAILER_MEASURE] = "measure",
	[JAILER_SOCKET] = "socket",
	[JAILER_CONSOLE] = "console",
	[JAILER_FORGET] = "forget",
	[JAILER_BAKE] = "bake",
	[JAILER_IMAGES_TAKE] = "images take",
	[JAILER_IMAGES_LIST] = "images list",
	[JAILER_IMAGE_LOOK] = "image look",
	[JAILER_IMAGE_MAKE] = "image make",
	[JAILER_IMAGE_REMOVE] = "image remove",
	[JAILER_IMAGES_PRUNE] = "images prune",
};
DEFINE_STRING_TABLE(jailer_verb, enum jailer_verb, verb_names)

/* What a request may have: a field that is not named here is zero. */
enum {
	MACHINE = 1 << 0,  /* it must have this one */
	TEMPLATE = 1 << 1, /* ditto */
	UID = 1 << 2,
	SIZE = 1 << 3,
	NUMBER = 1 << 4,
	BYTES = 1 << 5,
};

static const struct {
	unsigned fields, flags;
	size_t fds_min, fds_max, texts_min, texts_max;
} forms[JAILER_VERBS] = {
	[JAILER_BEGIN] = { .flags = JAILER_ACTIVATED },
	[JAILER_TAKE] = { MACHINE | UID, 0, 0, 0, 0, 0 },
	[JAILER_COPY] = { TEMPLATE | UID | NUMBER, JAILER_BOOTED, 0, 0, 0, 0 },
	[JAILER_LAUNCH] = { MACHINE | TEMPLATE | UID | SIZE, JAILER_BOOTED | JAILER_MERGE, 0,
			    JAILER_FDS_MAX, 0, 0 },
	[JAILER_GROW] = { MACHINE | SIZE, 0, 0, 0, 1, 1 },
	[JAILER_REHEARSE] = { MACHINE, JAILER_UNDO, 0, 0, 0, 0 },
	[JAILER_KILL] = { 0, 0, 1, 1, 0, 0 },
	[JAILER_REAP] = { 0, 0, 1, 1, 0, 0 },
	[JAILER_FIND] = { MACHINE | UID, 0, 0, 0, 0, 0 },
	[JAILER_REMOVE] = { MACHINE | UID, 0, 0, 0, 0, 1 },
	[JAILER_MEASURE] = { NUMBER, 0, 0, 0, 0, 0 },
	[JAILER_SOCKET] = { NUMBER, 0, 0, 0, 0, 0 },
	[JAILER_CONSOLE] = { TEMPLATE, 0, 0, 0, 0, 0 },
	[JAILER_FORGET] = { 0, 0, 1, 1, 1, 2 },
	[JAILER_BAKE] = { 0, JAILER_ANEW, 1, 1, 1, 1 },
	[JAILER_IMAGES_TAKE] = { BYTES, 0, 0, 0, 0, 0 },
	[JAILER_IMAGES_LIST] = { 0, 0, 1, 1, 0, 0 },
	[JAILER_IMAGE_LOOK] = { 0, 0, 1, 1, 1, IMAGE_LAYERS_MAX },
	[JAILER_IMAGE_MAKE] = { TEMPLATE | BYTES, 0, 1, 1, 2, IMAGE_LAYERS_MAX + 1 },
	[JAILER_IMAGE_REMOVE] = { 0, 0, 1, 1, 1, 1 },
	[JAILER_IMAGES_PRUNE] = { 0, 0, 1, 1, 0, 0 },
};

/* A request on the wire. */
struct form {
	char version[16]; /* of the build; it stands here in all versions */
	uint32_t verb;
	uint32_t uid, flags, vcpus, memory_mib, number, mode;
	uint64_t bytes;
	char machine[ID_HEX_SIZE];
	char template_id[DIGEST_HEX_SIZE];
};

struct reply_form {
	int32_t result, status, pid;
	uint32_t flags, guest_cid;
	uint64_t start_time;
};

/* ---------------------------------------------------------------- requests */

int jailer_request_print(const struct jailer_request *request, char **ret_data, size_t *ret_len,
			 struct error *err)
{
	struct form form = {
		.version = KILN_VERSION,
		.verb = request->verb,
		.uid = request->uid,
		.flags = request->flags,
		.vcpus = request->vcpus,
		.memory_mib = request->memory_mib,
		.number = request->number,
		.mode = request->mode,
		.bytes = request->bytes,
	};
	size_t len = sizeof(form);

	memcpy(form.machine, request->machine, sizeof(form.machine));
	memcpy(form.template_id, request->template_id, sizeof(form.template_id));
	for (size_t i = 0; i < request->text.count; i++)
		len += strlen(request->text.items[i]) + 1;
	if (len > JAILER_MESSAGE_MAX)
		return error_set(err, E2BIG, "%zu bytes are too much to ask of kiln-jailer", len);
	char *data = xcalloc(1, len), *at = data + sizeof(form);
	memcpy(data, &form, sizeof(form));
	for (size_t i = 0; i < request->text.count; i++)
		at = stpcpy(at, request->text.items[i]) + 1;
	*ret_data = data;
	*ret_len = len;
	return 0;
}

/* size - 1 digits and a NUL, or nothing but NULs where it need not be there. */
static bool is_hex(const char *text, size_t size, bool wanted)
{
	if (!wanted) {
		for (size_t i = 0; i < size; i++)
			if (text[i])
				return false;
		return true;
	}
	return text[size - 1] == '\0' && strspn(text, "0123456789abcdef") == size - 1;
}

static int check_fields(const struct form *form, struct error *err)
{
	unsigned fields = forms[form->verb].fields;

	if (!is_hex(form->machine, sizeof(form->machine), fields & MACHINE))
		return error_set(err, EBADMSG, "its machine");
	if (!is_hex(form->template_id, sizeof(form->template_id), fields & TEMPLATE))
		return error_set(err, EBADMSG, "its template");
	if ((form->uid && !(fields & UID)) || (form->bytes && !(fields & BYTES)) ||
	    ((form->vcpus || form->memory_mib) && !(fields & SIZE)) ||
	    ((form->number || form->mode) && !(fields & NUMBER)))
		return error_set(err, EBADMSG, "a number that its verb has not");
	if (form->flags & ~forms[form->verb].flags)
		return error_set(err, EBADMSG, "its flags");
	return 0;
}

static int parse_texts(const char *data, size_t len, enum jailer_verb verb, struct strv *ret,
		       struct error *err)
{
	if (len > 0 && data[len - 1] != '\0')
		return error_set(err, EBADMSG, "a text without an end");
	for (size_t at = 0; at < len; at += strlen(data + at) + 1) {
		if (ret->count == forms[verb].texts_max)
			return error_set(err, EBADMSG, "too many texts");
		strv_add(ret, data + at);
	}
	return ret->count < forms[verb].texts_min ? error_set(err, EBADMSG, "too few texts") : 0;
}

static int parse(const char *data, size_t len, size_t nfds, struct jailer_request *request,
		 struct error *err)
{
	struct form form;

	if (len < sizeof(form) || len > JAILER_MESSAGE_MAX)
		return error_set(err, EBADMSG, "its length");
	memcpy(&form, data, sizeof(form));
	if (strncmp(form.version, KILN_VERSION, sizeof(form.version)) != 0)
		return error_set(
			err, EBADMSG,
			"kiln-factory and kiln-jailer are of different versions: start both "
			"again, of one installation");
	if (form.verb >= JAILER_VERBS)
		return error_set(err, EBADMSG, "its verb");
	if (nfds < forms[form.verb].fds_min || nfds > forms[form.verb].fds_max)
		return error_set(err, EBADMSG, "the number of its descriptors");
	int r = check_fields(&form, err);
	if (r == 0)
		r = parse_texts(data + sizeof(form), len - sizeof(form), form.verb, &request->text,
				err);
	if (r < 0)
		return r;
	request->verb = form.verb;
	request->uid = form.uid;
	request->flags = form.flags;
	request->vcpus = form.vcpus;
	request->memory_mib = form.memory_mib;
	request->number = form.number;
	request->mode = form.mode;
	request->bytes = form.bytes;
	memcpy(request->machine, form.machine, sizeof(form.machine));
	memcpy(request->template_id, form.template_id, sizeof(form.template_id));
	return 0;
}

int jailer_request_parse(const char *data, size_t len, size_t nfds,
			 struct jailer_request *ret_request, struct error *err)
{
	struct jailer_request request = {};
	int r = parse(data, len, nfds, &request, err);

	if (r < 0) {
		jailer_request_done(&request);
		error_wrap(err, "a request that is none");
		return r;
	}
	*ret_request = request;
	return 0;
}

void jailer_request_done(struct jailer_request *request)
{
	strv_done(&request->text);
}

/* ---------------------------------------------------------------- moving them */

union control {
	struct cmsghdr header; /* for its alignment */
	char space[CMSG_SPACE(JAILER_FDS_MAX * sizeof(int))];
};

ssize_t jailer_send(int socket, const void *data, size_t len, const int *fds, size_t nfds)
{
	struct iovec part = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control = {};
	ssize_t n;

	if (nfds > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(header), fds, nfds * sizeof(int));
	}
	do
		n = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static size_t take_fds(struct msghdr *message, int ret_fds[static JAILER_FDS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(ret_fds + count, CMSG_DATA(header), here * sizeof(int));
		count += here; /* the buffer has no room for more than JAILER_FDS_MAX */
	}
	return count;
}

ssize_t jailer_receive(int socket, char data[static JAILER_MESSAGE_MAX],
		       int ret_fds[static JAILER_FDS_MAX], size_t *ret_nfds)
{
	struct iovec part = { .iov_base = data, .iov_len = JAILER_MESSAGE_MAX };
	union control control = {};
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n;

	do
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*ret_nfds = take_fds(&message, ret_fds);
	if (!(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return n;
	for (size_t i = 0; i < *ret_nfds; i++)
		close(ret_fds[i]);
	*ret_nfds = 0;
	return message.msg_flags & MSG_TRUNC ? -EPROTO : -EMFILE;
}

int jailer_reply_send(int socket, const struct jailer_reply *reply)
{
	const struct reply_form form = { .result = reply->result,
					 .status = reply->status,
					 .pid = reply->pid,
					 .flags = reply->flags,
					 .guest_cid = reply->guest_cid,
					 .start_time = reply->start_time };
	_cleanup_free_ char *data = xcalloc(1, JAILER_MESSAGE_MAX);
	size_t room = JAILER_MESSAGE_MAX - sizeof(form) - 1;
	size_t len = reply->text ? strnlen(reply->text, room) : 0;

	memcpy(data, &form, sizeof(form));
	if (len > 0)
		memcpy(data + sizeof(form), reply->text, len);
	ssize_t n = jailer_send(socket, data, sizeof(form) + len + 1, reply->fds, reply->nfds);
	return n < 0 ? (int)n : 0;
}

int jailer_reply_receive(int socket, struct jailer_reply *ret_reply)
{
	_cleanup_free_ char *data = xcalloc(1, JAILER_MESSAGE_MAX);
	int fds[JAILER_FDS_MAX];
	struct reply_form form;
	size_t nfds = 0;
	ssize_t n = jailer_receive(socket, data, fds, &nfds);

	if (n <= 0)
		return n < 0 ? (int)n : -ENOTCONN;
	if ((size_t)n <= sizeof(form) || data[n - 1] != '\0' || nfds > JAILER_REPLY_FDS) {
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		return -EPROTO;
	}
	memcpy(&form, data, sizeof(form));
	*ret_reply = (struct jailer_reply){
		.result = form.result,
		.status = form.status,
		.pid = form.pid,
		.flags = form.flags,
		.guest_cid = form.guest_cid,
		.start_time = form.start_time,
		.text = xstrdup(data + sizeof(form)),
		.nfds = nfds,
	};
	memcpy(ret_reply->fds, fds, nfds * sizeof(int));
	return 0;
}

void jailer_reply_done(struct jailer_reply *reply)
{
	for (size_t i = 0; i < reply->nfds; i++)
		close_fd(reply->fds[i]);
	free(reply->text);
	*reply = (struct jailer_reply){};
}
