/* The terminal that a program in a guest is to have as its own: this process's hands it every byte.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct raw_terminal {
	struct termios before;
	bool is_raw;
};

/* Standard input and output are one. */
bool raw_terminal_is_there(void);

/* Characters; zeros where it does not say. */
void raw_terminal_size(uint32_t *ret_width, uint32_t *ret_height);

/* No line discipline, no signals from keys. What cannot be changed stays as it is. */
void raw_terminal_begin(struct raw_terminal *terminal);

/* As it was. */
void raw_terminal_end(struct raw_terminal *terminal);
