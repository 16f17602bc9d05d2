/* Scope cleanup and visible hand-over of what is owned.
 *
 *   _cleanup_free_ char *name = xstrdup(x);      freed when the scope ends
 *   _cleanup_close_ int fd = -EBADF;             closed when the scope ends
 *   _cleanup_(strbuf_done) struct strbuf b = {}; any destructor taking a pointer
 *   return steal_ptr(name);                      the caller owns it now
 *
 * A destructor given NULL or a negative descriptor does nothing, and none of
 * them changes errno.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn)       __attribute__((cleanup(fn)))
#define _unused_            __attribute__((unused))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))

/* First in a declaration. A result that is dropped on purpose is cast to void; gcc accepts that
 * only with the standard's attribute. */
#ifdef __clang__
#define _must_check_ __attribute__((warn_unused_result))
#else
#define _must_check_ [[nodiscard]]
#endif

/* Element count of a true array; a pointer does not compile. */
#define ARRAY_SIZE(a)                                                                              \
	(sizeof(a) / sizeof((a)[0]) +                                                              \
	 sizeof(char[1 - 2 * __builtin_types_compatible_p(typeof(a), typeof(&(a)[0]))]) - 1)

/* Returns the pointer and leaves NULL behind: the caller owns it now. */
#define steal_ptr(ptr)                                                                             \
	({                                                                                         \
		typeof(ptr) *steal_at_ = &(ptr);                                                   \
		typeof(ptr) steal_value_ = *steal_at_;                                             \
		*steal_at_ = NULL;                                                                 \
		steal_value_;                                                                      \
	})

/* Returns the descriptor and leaves -EBADF behind: the caller owns it now. */
static inline int steal_fd(int *fd)
{
	int value = *fd;
	*fd = -EBADF;
	return value;
}

/* Closes fd if it is one, keeps errno, returns -EBADF to be stored in its place. */
static inline int close_fd(int fd)
{
	if (fd >= 0) {
		int saved = errno;
		close(fd);
		errno = saved;
	}
	return -EBADF;
}

static inline void cleanup_close(int *fd)
{
	*fd = close_fd(*fd);
}

static inline void cleanup_free(void *ptr)
{
	int saved = errno;
	free(*(void **)ptr);
	errno = saved;
}

/* Defines fn_cleanup(type *) that calls fn(type) where the value is not NULL. */
#define DEFINE_CLEANUP(type, fn)                                                                   \
	static inline void fn##_cleanup(type *ptr)                                                 \
	{                                                                                          \
		if (*ptr) {                                                                        \
			int saved_ = errno;                                                        \
			fn(*ptr);                                                                  \
			errno = saved_;                                                            \
		}                                                                                  \
	}

DEFINE_CLEANUP(FILE *, fclose)

#define _cleanup_free_  _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_file_  _cleanup_(fclose_cleanup)
