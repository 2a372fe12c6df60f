/* gen.h - the tables that the build makes: documentation from doc blocks, and the Lua files for the program. */
#ifndef SNL_GEN_H
#define SNL_GEN_H
#include <stddef.h>

extern const unsigned char sn_docs[];    /* packed by gzip; unpacked, each block is a form feed, its name, a newline and its text */
extern const size_t sn_docs_bytes;

typedef struct sn_embed { const char *name, *src; size_t len; } sn_embed;
extern const sn_embed sn_embedded[];     /* "slugnet.model": the text of lua/slugnet/model.lua; ends with a NULL name */

#endif
