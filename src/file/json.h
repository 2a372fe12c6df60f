/* json.h - JSON (RFC 8259) token by token, strict: UTF-8 is checked, nothing may follow, nesting is bounded, nothing is allocated. */
#ifndef SNF_JSON_H
#define SNF_JSON_H
#include "file/bytes.h"

typedef enum snf_token {
  SNF_JSON_ERROR = -1, SNF_JSON_END, SNF_JSON_OBJECT, SNF_JSON_OBJECT_END, SNF_JSON_ARRAY, SNF_JSON_ARRAY_END, SNF_JSON_KEY, SNF_JSON_STRING,
  SNF_JSON_INT, SNF_JSON_FLOAT, SNF_JSON_TRUE, SNF_JSON_FALSE, SNF_JSON_NULL
} snf_token;

#define SNF_JSON_DEPTH 128

typedef struct snf_json {
  const char *text, *p, *end;
  int depth;
  char kind[SNF_JSON_DEPTH + 1]; /* '{' or '[' of each open container */
  char expect;                   /* what may come: see json.c */
  snf_str s;                     /* KEY, STRING: the bytes between the quotes */
  bool escaped;                  /* and whether there are escapes among them */
  int64_t i;                     /* INT */
  double d;                      /* FLOAT, and INT too */
} snf_json;

/* The text must have a 0 after its end (p[n]). */
void snf_json_start(snf_json *j, const char *text, size_t n);
/* The next token; SNF_JSON_ERROR after sn_fail_io("... at byte N of the JSON"). */
snf_token snf_json_next(snf_json *j);
/* The present string without its escapes into `to`, which has room for s.n bytes and may be s.p itself; its length. */
size_t snf_json_unescape(const snf_json *j, char *to);

int snf_put_json(snf_text *t, const char *s, size_t n); /* a quoted string; -1 after sn_fail when it is not UTF-8 */
int snf_put_number(snf_text *t, double v);              /* the fewest digits that read back to the same bits, and a mark of being no integer */

#endif
