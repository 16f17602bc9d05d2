/* The commands of kiln-bench: a file or a few lines each, rows of the table in main.c.
 *
 * Each gets its own name as argv[0] and returns an exit status: 0 done; 1 it failed, or what it
 * was asked about is worse; 2 the command line is wrong.
 */
#pragma once

#include "base/error.h"

#define PROGRAM "kiln-bench"

enum { STATUS_WORSE = 1, STATUS_USAGE = 2 };

/* run [OPTION...] [SCENARIO...] */
int command_run(int argc, char **argv);
void command_run_help(void);

int command_compare(int argc, char **argv);  /* OLD NEW */
int command_report(int argc, char **argv);   /* RESULT */
int command_check(int argc, char **argv);    /* RESULT BASELINE */
int command_baseline(int argc, char **argv); /* RESULT */
int command_plot(int argc, char **argv);     /* RESULT FOLDER */
int command_trace(int argc, char **argv);    /* TRACES [ID [FOLDER]] */

/* Says it on stderr; returns status. */
int command_fail(int status, const struct error *err);
