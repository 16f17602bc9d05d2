/* How much of the guest's memory may be taken before its kernel has to find more.
 *
 * Each zone of memory has watermarks: below "low" the kernel begins to reclaim, below "min" it
 * kills a process where nothing can be reclaimed. A zone also keeps a reserve that is not for
 * allocations which a higher zone could serve. How high the watermarks are is read and not guessed
 * from the size: once the kernel has turned transparent huge pages on (by default from 512 MiB of
 * usable memory on) khugepaged raises them, from 3 MiB to 44 MiB at 1 GiB. Source: mm/page_alloc.c,
 * mm/vmstat.c and mm/khugepaged.c of Linux 6.12.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* By the text of /proc/zoneinfo: the pages that processes can take until each zone is down at its
 * high watermark and its reserve. -EPROTO where a zone is not described in full, or none is. */
_must_check_ int watermarks_parse(const char *zoneinfo, uint64_t *ret_pages, struct error *err);

/* The same for the running kernel, in bytes. */
_must_check_ int watermarks_spare(uint64_t *ret_bytes, struct error *err);
