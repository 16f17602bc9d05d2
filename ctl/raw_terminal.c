#include "ctl/raw_terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

bool raw_terminal_is_there(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

void raw_terminal_size(uint32_t *ret_width, uint32_t *ret_height)
{
	struct winsize size = {};

	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	*ret_width = size.ws_col;
	*ret_height = size.ws_row;
}

void raw_terminal_begin(struct raw_terminal *terminal)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &terminal->before) < 0)
		return;
	raw = terminal->before;
	cfmakeraw(&raw);
	terminal->is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void raw_terminal_end(struct raw_terminal *terminal)
{
	if (terminal->is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
	terminal->is_raw = false;
}
