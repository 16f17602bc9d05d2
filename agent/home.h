/* The home folder of a user, as the container's own /etc/passwd has it (agent/accounts.h). */
#pragma once

#include <sys/types.h>

/* "HOME=" and the folder, "/" where the user is not listed. The caller frees. */
char *home_variable(uid_t uid);
