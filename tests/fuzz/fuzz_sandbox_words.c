/* Bytes as the config.json of a container's bundle, and as the command line of a process: what is
 * read of them is bounded, and lies within them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "ctl/bundle_words.h"
#include "ctl/shim_process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xcalloc(1, size + 1); /* with a terminator, as files are read */
	struct bundle_words words;
	struct shim_words line;

	if (size > 0)
		memcpy(text, data, size);
	if (shim_words_parse(text, size, &line) &&
	    (line.id < text || line.id > text + size || line.ns < text || line.address < text))
		abort();
	if (bundle_words_parse(text, size, &words, NULL) < 0)
		return 0;
	if ((words.pod && !*words.pod) || (words.image && strlen(words.image) > size))
		abort();
	bundle_words_done(&words);
	return 0;
}
