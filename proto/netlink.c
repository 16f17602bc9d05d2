#include "proto/netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_MAX = 64 * 1024 }; /* more than the kernel puts into a datagram (32 KiB) */

/* ---------------------------------------------------------------- requests */

/* The next len bytes of the message, zeroed. */
static void *grow(struct netlink_message *message, size_t len)
{
	size_t at = NLMSG_ALIGN(message->header.nlmsg_len);

	if (len > sizeof(*message) || at + NLMSG_ALIGN(len) > sizeof(*message))
		abort();
	message->header.nlmsg_len = (uint32_t)(at + len);
	return memset((char *)message + at, 0, NLMSG_ALIGN(len));
}

void *netlink_begin(struct netlink_message *message, uint16_t type, uint16_t flags, size_t size)
{
	message->header = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN,
					     .nlmsg_type = type,
					     .nlmsg_flags = flags | NLM_F_REQUEST };
	return grow(message, size);
}

void netlink_put(struct netlink_message *message, uint16_t type, const void *data, size_t len)
{
	struct nlattr *attribute = grow(message, NLA_HDRLEN + len);

	attribute->nla_type = type;
	attribute->nla_len = (uint16_t)(NLA_HDRLEN + len);
	if (len > 0)
		memcpy((char *)attribute + NLA_HDRLEN, data, len);
}

void netlink_put_u32(struct netlink_message *message, uint16_t type, uint32_t value)
{
	netlink_put(message, type, &value, sizeof(value));
}

void netlink_put_text(struct netlink_message *message, uint16_t type, const char *text)
{
	netlink_put(message, type, text, strlen(text) + 1);
}

struct nlattr *netlink_nest(struct netlink_message *message, uint16_t type)
{
	struct nlattr *nest = grow(message, NLA_HDRLEN);

	nest->nla_type = type;
	return nest;
}

void netlink_nest_end(struct netlink_message *message, struct nlattr *nest)
{
	nest->nla_len = (uint16_t)((char *)message + message->header.nlmsg_len - (char *)nest);
}

/* ---------------------------------------------------------------- answers */

/* An error of 0 is the kernel's consent. */
static int read_error(const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = NLMSG_DATA(message);

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(error->error)) || error->error > 0)
		return -EBADMSG;
	return error->error < 0 ? error->error : 1;
}

int netlink_read(struct netlink_answer *answer, const void *data, size_t len)
{
	const char *at = data;

	while (len >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)at;
		size_t step = NLMSG_ALIGN((size_t)message->nlmsg_len);

		if (message->nlmsg_len < NLMSG_HDRLEN || message->nlmsg_len > len)
			return -EBADMSG;
		at += step < len ? step : len;
		len -= step < len ? step : len;
		if (message->nlmsg_seq != answer->sequence)
			continue; /* of an earlier request, which was given up */
		answer->interrupted |= (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
		if (message->nlmsg_type == NLMSG_ERROR)
			return read_error(message);
		if (message->nlmsg_type == NLMSG_DONE)
			return answer->interrupted ? -EINTR : 1;
		if (answer->fn && message->nlmsg_type >= NLMSG_MIN_TYPE)
			answer->fn(message, answer->userdata);
	}
	return len > 0 ? -EBADMSG : 0;
}

/* Only the kernel's word counts: others in the namespace can send here as well. */
static int receive(int fd, struct netlink_answer *answer)
{
	_cleanup_free_ char *buffer = malloc(RECEIVE_MAX);
	struct sockaddr_nl sender = {};
	int r = buffer ? 0 : -ENOMEM;

	while (r == 0) {
		socklen_t size = sizeof(sender);
		ssize_t n = recvfrom(fd, buffer, RECEIVE_MAX, MSG_TRUNC, (struct sockaddr *)&sender,
				     &size);

		if (n < 0)
			r = errno == EINTR ? 0 : -errno;
		else if (n > RECEIVE_MAX)
			r = -EBADMSG;
		else if (size == sizeof(sender) && sender.nl_pid == 0)
			r = netlink_read(answer, buffer, (size_t)n);
	}
	return r < 0 ? r : 0;
}

int netlink_socket(void)
{
	const struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int send_message(int fd, struct netlink_message *message)
{
	static _Thread_local uint32_t last_sequence;
	ssize_t n;

	message->header.nlmsg_seq = ++last_sequence;
	do
		n = send(fd, message, message->header.nlmsg_len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int netlink_ask(int fd, struct netlink_message *message)
{
	message->header.nlmsg_flags |= NLM_F_ACK;
	int r = send_message(fd, message);
	struct netlink_answer answer = { .sequence = message->header.nlmsg_seq };
	return r < 0 ? r : receive(fd, &answer);
}

int netlink_dump(int fd, struct netlink_message *message, netlink_fn fn, void *userdata)
{
	message->header.nlmsg_flags |= NLM_F_DUMP;
	int r = send_message(fd, message);
	struct netlink_answer answer = { .sequence = message->header.nlmsg_seq,
					 .fn = fn,
					 .userdata = userdata };
	return r < 0 ? r : receive(fd, &answer);
}

/* ---------------------------------------------------------------- attributes */

static void read_attributes(const char *at, size_t len, const struct nlattr **table, size_t count)
{
	memset(table, 0, count * sizeof(*table));
	while (len >= NLA_HDRLEN) {
		const struct nlattr *attribute = (const struct nlattr *)at;
		size_t type = attribute->nla_type & NLA_TYPE_MASK;
		size_t step = NLA_ALIGN(attribute->nla_len);

		if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > len)
			return;
		if (type < count)
			table[type] = attribute;
		if (step >= len)
			return;
		at += step;
		len -= step;
	}
}

bool netlink_attributes(const struct nlmsghdr *message, size_t size, const struct nlattr **table,
			size_t count)
{
	size_t header = NLMSG_HDRLEN + NLMSG_ALIGN(size);

	if (message->nlmsg_len < NLMSG_LENGTH(size))
		return false;
	read_attributes((const char *)message + header,
			message->nlmsg_len > header ? message->nlmsg_len - header : 0, table,
			count);
	return true;
}

void netlink_nested(const struct nlattr *nest, const struct nlattr **table, size_t count)
{
	if (nest)
		read_attributes((const char *)nest + NLA_HDRLEN, nest->nla_len - (size_t)NLA_HDRLEN,
				table, count);
	else
		memset(table, 0, count * sizeof(*table));
}

const void *netlink_value(const struct nlattr *attribute, size_t size)
{
	if (!attribute || attribute->nla_len != NLA_HDRLEN + size)
		return NULL;
	return (const char *)attribute + NLA_HDRLEN;
}

uint32_t netlink_u32(const struct nlattr *attribute)
{
	const uint32_t *value = netlink_value(attribute, sizeof(*value));

	return value ? *value : 0;
}

void netlink_text(const struct nlattr *attribute, char *text, size_t size)
{
	size_t len = attribute ? attribute->nla_len - (size_t)NLA_HDRLEN : 0;
	const char *value = len > 0 ? (const char *)attribute + NLA_HDRLEN : "";

	text[0] = '\0';
	if (len > 0 && len <= size && strnlen(value, len) < len)
		memcpy(text, value, strnlen(value, len) + 1);
}
