#include "shim/stats_rows.h"

#include <net/if.h>
#include <string.h>

#include "base/strings.h"

/* As the kernel names the files of the hugetlb controller. */
static bool is_page_size(const char *name)
{
	static const char *const units[] = { "KB", "MB", "GB" };
	size_t digits = strspn(name, "0123456789");

	if (digits < 1 || digits > 4 || name[0] == '0')
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (str_equal(name + digits, units[i]))
			return true;
	return false;
}

static void choose_size(const Grpc__CgroupStats__HugetlbStatsEntry *size, struct stats_rows *rows)
{
	if (rows->nsizes == STATS_SIZES_MAX || !is_page_size(size->key))
		return;
	for (size_t i = 0; i < rows->nsizes; i++)
		if (str_equal(rows->sizes[i]->key, size->key))
			return;
	rows->sizes[rows->nsizes++] = size;
}

static void choose_disk_row(const Grpc__BlkioStatsEntry *row, const Grpc__BlkioStatsEntry **rows,
			    size_t *count)
{
	if (*count == STATS_DISK_ROWS_MAX ||
	    !(str_equal(row->op, "Read") || str_equal(row->op, "Write")))
		return;
	for (size_t i = 0; i < *count; i++)
		if (rows[i]->major == row->major && rows[i]->minor == row->minor &&
		    str_equal(rows[i]->op, row->op))
			return;
	rows[(*count)++] = row;
}

static void choose_disks(const Grpc__BlkioStats *disks, struct stats_rows *rows)
{
	for (size_t i = 0; i < disks->n_io_service_bytes_recursive; i++)
		choose_disk_row(disks->io_service_bytes_recursive[i], rows->disk_bytes,
				&rows->ndisk_bytes);
	for (size_t i = 0; i < disks->n_io_serviced_recursive; i++)
		choose_disk_row(disks->io_serviced_recursive[i], rows->disk_operations,
				&rows->ndisk_operations);
}

static bool is_card_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return len > 0 && len < IFNAMSIZ;
}

static void choose_card(const Grpc__NetworkStats *card, struct stats_rows *rows)
{
	if (rows->ncards == STATS_CARDS_MAX || !is_card_name(card->name))
		return;
	for (size_t i = 0; i < rows->ncards; i++)
		if (str_equal(rows->cards[i]->name, card->name))
			return;
	rows->cards[rows->ncards++] = card;
}

void stats_rows_choose(const Grpc__StatsContainerResponse *stats, struct stats_rows *ret)
{
	const Grpc__CgroupStats *cgroup = stats->cgroup_stats;

	*ret = (struct stats_rows){};
	for (size_t i = 0; cgroup && i < cgroup->n_hugetlb_stats; i++)
		choose_size(cgroup->hugetlb_stats[i], ret);
	if (cgroup && cgroup->blkio_stats)
		choose_disks(cgroup->blkio_stats, ret);
	for (size_t i = 0; i < stats->n_network_stats; i++)
		choose_card(stats->network_stats[i], ret);
}
