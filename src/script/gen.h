/* gen.h - the tables that the build makes: documentation from doc blocks, and the Lua files for the program. */
#ifndef SNL_GEN_H
#define SNL_GEN_H
#include <stddef.h>

typedef struct sn_doc { const char *name, *text; } sn_doc;
extern const sn_doc sn_docs[];           /* by name, ends with a NULL name */

typedef struct sn_embed { const char *name, *src; size_t len; } sn_embed;
extern const sn_embed sn_embedded[];     /* "slugnet.model": the text of lua/slugnet/model.lua; ends with a NULL name */

#endif
