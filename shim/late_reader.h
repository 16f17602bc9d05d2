/* The end of a FIFO that its reader has not opened yet.
 *
 * containerd opens its end of an output beside the call that starts the process, and on a busy host
 * may come to that when the process has ended already. With the shim's descriptor all that was
 * written would go, and the reader, whose open(2) waits for a writer, would wait for ever; a
 * kubelet's probe with it. So the FIFO is kept until somebody has it open for reading.
 */
#pragma once

#include "base/loop.h"

struct late_reader;

/* Takes fd, which is closed when the FIFO has another reader. NULL: it has one, fd is closed; or it
 * cannot be found out. */
struct late_reader *late_reader_new(struct loop *loop, int fd);
void late_reader_free(struct late_reader *late); /* the FIFO is closed, reader or not */
