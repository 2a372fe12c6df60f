/* words.c - words for messages: what a Lua value is, which name may have been meant; and strings that live as long as the process. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "script/script.h"

const char *snl_escape(const char *s, char *buf, size_t n) {
  size_t k = 0;
  for (; *s && k + 5 < n && k < 40; s++) {
    const unsigned char c = (unsigned char)*s;
    if (c < 32 || c == 127) k += (size_t)snprintf(buf + k, n - k, "\\%d", c);
    else buf[k++] = *s;
  }
  if (*s) k += (size_t)snprintf(buf + k, n - k, "...");
  buf[k] = 0;
  return buf;
}

const char *snl_describe(lua_State *L, int i, char *buf, size_t n) {
  char text[64];
  const snl_box *b = snl_test_box(L, i);
  if (b) {
    if (b->t == NULL) snprintf(buf, n, "a closed tensor");
    else snprintf(buf, n, "a %s tensor of shape %s", sn_dtypes[b->t->dtype].name, SNT_SHAPE(b->t));
    return buf;
  }
  switch (lua_type(L, i)) {
    case LUA_TNUMBER: snprintf(buf, n, "the number %.14g", lua_tonumber(L, i)); break;
    case LUA_TSTRING: snprintf(buf, n, "the string '%s'", snl_escape(lua_tostring(L, i), text, sizeof text)); break;
    case LUA_TBOOLEAN: snprintf(buf, n, "%s", lua_toboolean(L, i) ? "true" : "false"); break;
    case LUA_TNIL: case LUA_TNONE: snprintf(buf, n, "nil"); break;
    case LUA_TTABLE: snprintf(buf, n, "a table"); break;
    default: snprintf(buf, n, "a %s", lua_typename(L, lua_type(L, i)));
  }
  return buf;
}

int snl_distance(const char *a, const char *b) {
  char x[64], y[64];
  int row[65], n = 0, m = 0;
  for (; *a && n < 63; a++)
    if (*a != '_') x[n++] = (char)(*a >= 'A' && *a <= 'Z' ? *a + 32 : *a);
  for (; *b && m < 63; b++)
    if (*b != '_') y[m++] = (char)(*b >= 'A' && *b <= 'Z' ? *b + 32 : *b);
  for (int j = 0; j <= m; j++) row[j] = j;
  for (int i = 1; i <= n; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= m; j++) {
      const int up = row[j], change = diagonal + (x[i - 1] != y[j - 1]);
      int best = up + 1 < row[j - 1] + 1 ? up + 1 : row[j - 1] + 1;
      if (change < best) best = change;
      diagonal = up;
      row[j] = best;
    }
  }
  return row[m];
}

const char *snl_nearest(const char *word, const char *const *names) {
  const char *best = NULL;
  const size_t len = strlen(word);
  for (const char *const *n = names; len > 2 && *n; n++) /* "retain" for "retain_graph" */
    if (strncmp(*n, word, len) == 0 && (best == NULL || strlen(*n) < strlen(best))) best = *n;
  if (best) return best;
  int limit = len < 5 ? 1 : len < 8 ? 2 : 3; /* more would be guessing */
  for (; *names; names++) {
    const int d = snl_distance(word, *names);
    if (d < limit || (best == NULL && d == limit)) {
      best = *names;
      limit = d;
    }
  }
  return best;
}

const char *snl_intern(const char *s) {
  typedef struct word { struct word *next; char text[]; } word;
  static word *words; /* atomic; a few equations and the like */
  for (word *w = __atomic_load_n(&words, __ATOMIC_ACQUIRE); w; w = w->next)
    if (strcmp(w->text, s) == 0) return w->text;
  const size_t n = strlen(s) + 1;
  word *w = sn_malloc(sizeof *w + n);
  if (w == NULL) return NULL;
  memcpy(w->text, s, n);
  w->next = __atomic_load_n(&words, __ATOMIC_ACQUIRE);
  while (!__atomic_compare_exchange_n(&words, &w->next, w, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {}
  return w->text;
}
