/* error.h - how everything below `script` says that something failed.
 *
 * A function that can fail returns 0 or -1 (or a pointer or NULL) after one call of sn_fail. The message
 * is kept per thread until the next one; nothing is printed and nothing jumps. Form of a message: what,
 * where, what was got, what would do: "conv2d: input has 3 channels, weight wants 1 (input 8x3x28x28, ...)".
 */
#ifndef SN_ERROR_H
#define SN_ERROR_H
#include <stddef.h>

enum { SN_OK = 0, SN_ERROR_USER = 1, SN_ERROR_MEMORY = 2, SN_ERROR_IO = 3 };

/* Record a message; always returns -1, so that `return sn_fail(...)` reads well. */
int sn_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for memory that could not be had: code SN_ERROR_MEMORY, message names the bytes and `what`. */
int sn_fail_memory(size_t bytes, const char *what);
/* The same for the outside world: code SN_ERROR_IO (Lua returns nil, message instead of raising). */
int sn_fail_io(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Put words in front of the present message ("layer 3 'fc1': " ...), the code stays. Returns -1. */
int sn_fail_prefix(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

const char *sn_error_message(void); /* never NULL; "" when nothing failed yet */
int sn_error_code(void);
void sn_error_clear(void);

#endif
