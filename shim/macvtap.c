#include "shim/macvtap.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/network_cards.h"
#include "proto/netlink.h"
#include "shim/netns.h"

enum { DEVICE_TEXT_MAX = 32 /* "MAJOR:MINOR" */, ALIAS_MAX = 256 };

/* ---------------------------------------------------------------- the interface */

static int ask_for(int fd, int link, const char *name)
{
	struct netlink_message message;

	(void)netlink_begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
			    sizeof(struct ifinfomsg));
	netlink_put_text(&message, IFLA_IFNAME, name);
	netlink_put_u32(&message, IFLA_LINK, (uint32_t)link);
	struct nlattr *info = netlink_nest(&message, IFLA_LINKINFO);
	netlink_put_text(&message, IFLA_INFO_KIND, "macvtap");
	struct nlattr *data = netlink_nest(&message, IFLA_INFO_DATA);
	netlink_put_u32(&message, IFLA_MACVLAN_MODE, MACVLAN_MODE_PASSTHRU);
	netlink_nest_end(&message, data);
	netlink_nest_end(&message, info);
	return netlink_ask(fd, &message);
}

/* The kernel takes no alias of a link that is just being made. */
static int mark(int fd, int index, const char *vm_id)
{
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = index;
	netlink_put_text(&message, IFLA_IFALIAS, vm_id);
	return netlink_ask(fd, &message);
}

static void remove_link(int fd, int index)
{
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_DELLINK, 0, sizeof(*link));

	link->ifi_index = index;
	(void)netlink_ask(fd, &message);
}

static int refused(int number, const char *name, struct error *err)
{
	if (number == -EINVAL || number == -EBUSY)
		return error_set(err, EBUSY,
				 "cannot make the macvtap %s: the pod's interface is a macvlan, or "
				 "in a bridge, or has such a thing on it already; "
				 "internetworking_model tcfilter can join it",
				 name);
	return error_set_errno(err, number, "cannot make the macvtap %s (modprobe macvtap)", name);
}

static int make_link(int fd, int link, const char *name, const char *vm_id, int *ret_index,
		     struct error *err)
{
	struct ifreq request = {};
	int r = ask_for(fd, link, name);

	if (r < 0)
		return refused(r, name, err);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	r = ioctl(fd, SIOCGIFINDEX, &request) < 0 ? -errno : mark(fd, request.ifr_ifindex, vm_id);
	if (r < 0) {
		remove_link(fd, request.ifr_ifindex);
		return error_set_errno(err, r, "cannot mark the macvtap %s as ours", name);
	}
	*ret_index = request.ifr_ifindex;
	return 0;
}

/* ---------------------------------------------------------------- its descriptor */

static int read_number(int netns, int index, dev_t *ret_number, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("class/macvtap/tap%d/dev", index);
	_cleanup_close_ int sysfs = -EBADF, fd = -EBADF;
	char text[DEVICE_TEXT_MAX] = "";
	unsigned major, minor;
	int r = netns_sysfs(netns, &sysfs, err);

	if (r < 0)
		return r;
	fd = openat(sysfs, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read_full(fd, text, sizeof(text) - 1) < 0 ||
	    sscanf(text, "%u:%u", &major, &minor) != 2)
		return error_set(err, ENODEV, "the kernel does not say what device %s is", path);
	*ret_number = makedev(major, minor);
	return 0;
}

/* By a node of our own, on a file system that nobody else sees, and that goes with this. */
static int open_number(dev_t number, int *ret_fd, struct error *err)
{
	_cleanup_close_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC), tree = -EBADF;

	if (context >= 0 && fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		tree = fsmount(context, FSMOUNT_CLOEXEC, 0);
	if (tree < 0 || mknodat(tree, "tap", S_IFCHR | 0600, number) < 0)
		return error_set_errno(err, errno, "cannot make the node of a macvtap");
	*ret_fd = openat(tree, "tap", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return *ret_fd < 0 ? error_set_errno(err, errno, "cannot open a macvtap") : 0;
}

static int open_tap(int netns, int index, int *ret_tap, struct error *err)
{
	struct ifreq as_taps = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	_cleanup_close_ int fd = -EBADF;
	dev_t number = 0;
	int r = read_number(netns, index, &number, err);

	if (r == 0)
		r = open_number(number, &fd, err);
	if (r < 0)
		return r;
	if (ioctl(fd, TUNSETIFF, &as_taps) < 0)
		return error_set_errno(err, errno, "cannot have a macvtap as a tap");
	*ret_tap = steal_fd(&fd);
	return 0;
}

int macvtap_make(int netns, int link, size_t card, const char *vm_id, int *ret_tap,
		 struct error *err)
{
	_cleanup_free_ char *name = xasprintf(NETWORK_CARD_TAP, card);
	_cleanup_close_ int fd = -EBADF;
	int index = 0;
	int r = netns_netlink(netns, &fd, err);

	if (r == 0)
		r = make_link(fd, link, name, vm_id, &index, err);
	if (r < 0)
		return r;
	r = open_tap(netns, index, ret_tap, err);
	if (r < 0)
		remove_link(fd, index);
	return r;
}

/* ---------------------------------------------------------------- its end */

struct search {
	const char *vm_id;
	int found[NETWORK_CARDS_MAX]; /* indices */
	size_t count;
};

static void on_link(const struct nlmsghdr *message, void *userdata)
{
	const struct ifinfomsg *header = NLMSG_DATA(message);
	const struct nlattr *table[IFLA_IFALIAS + 1];
	struct search *search = userdata;
	char alias[ALIAS_MAX];

	if (message->nlmsg_type != RTM_NEWLINK || search->count == ARRAY_SIZE(search->found) ||
	    !netlink_attributes(message, sizeof(*header), table, ARRAY_SIZE(table)))
		return;
	netlink_text(table[IFLA_IFALIAS], alias, sizeof(alias));
	if (str_equal(alias, search->vm_id))
		search->found[search->count++] = header->ifi_index;
}

void macvtap_remove(int fd, const char *vm_id)
{
	struct search search = { .vm_id = vm_id };
	struct netlink_message message;

	(void)netlink_begin(&message, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	if (netlink_dump(fd, &message, on_link, &search) < 0 && search.count == 0)
		return;
	while (search.count > 0)
		remove_link(fd, search.found[--search.count]);
}
