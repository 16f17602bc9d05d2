/* The home folder of a user, as the container's own /etc/passwd has it. */
#pragma once

#include <sys/types.h>

/* "HOME=" and the folder, "/" where the user is not listed. The file is the container's and
 * may be anything: it is read up to a bound, and only if it is a plain file. The caller frees. */
char *home_variable(uid_t uid);
