/* json.c - JSON token by token. */
#include "file/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "file/number.h"

/* What may come next. FIRST_KEY and FIRST_VALUE may also be the end of an empty container. */
enum { VALUE, FIRST_VALUE, KEY, FIRST_KEY, AFTER };

void snf_json_start(snf_json *j, const char *text, size_t n) {
  j->text = j->p = text;
  j->end = text + n;
  j->depth = 0;
  j->expect = VALUE;
}

static snf_token bad(const snf_json *j, const char *what) {
  sn_fail_io("%s at byte %lld of the JSON", what, (long long)(j->p - j->text) + 1);
  return SNF_JSON_ERROR;
}

static void skip_space(snf_json *j) {
  while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r')) j->p++;
}

/* ---- strings */

/* Bytes of one well-formed UTF-8 character at p, 0 if it is none. */
static int utf8_length(const char *p, const char *end) {
  const unsigned char *s = (const unsigned char *)p;
  const int64_t left = end - p;
  if (s[0] < 0x80) return 1;
  const int n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
  if (n == 0 || left < n) return 0;
  for (int i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
  return n;
}

static int hex4(const char *p, const char *end) {
  int v = 0;
  if (end - p < 4) return -1;
  for (int i = 0; i < 4; i++) {
    const char c = p[i];
    const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (d < 0) return -1;
    v = v * 16 + d;
  }
  return v;
}

/* The code point of the \u escape whose hex digits begin at p, a pair counted as one; *n: bytes from p. -1 if it is none. */
static int32_t escape_at(const char *p, const char *end, int *n) {
  const int a = hex4(p, end);
  *n = 4;
  if (a < 0 || (a >= 0xdc00 && a < 0xe000)) return -1;
  if (a < 0xd800 || a >= 0xe000) return a;
  if (end - p < 10 || p[4] != '\\' || p[5] != 'u') return -1;
  const int b = hex4(p + 6, end);
  *n = 10;
  return b >= 0xdc00 && b < 0xe000 ? 0x10000 + ((a - 0xd800) << 10) + (b - 0xdc00) : -1;
}

/* p is behind the opening quote; everything about the string is checked here, so that taking out its escapes cannot fail. */
static snf_token string(snf_json *j, snf_token kind) {
  j->s.p = j->p;
  j->escaped = false;
  while (j->p < j->end && *j->p != '"') {
    const unsigned char c = (unsigned char)*j->p;
    if (c < 0x20) return bad(j, "a control character inside a string");
    if (c == '\\') {
      j->escaped = true;
      j->p++;
      if (j->p == j->end) break;
      if (*j->p == 'u') {
        int n;
        if (escape_at(j->p + 1, j->end, &n) < 0) return bad(j, "a \\u that is no character");
        j->p += 1 + n;
      } else if (*j->p && strchr("\"\\/bfnrt", *j->p)) {
        j->p++;
      } else {
        return bad(j, "an unknown escape");
      }
      continue;
    }
    const int n = utf8_length(j->p, j->end);
    if (n == 0) return bad(j, "bytes that are not UTF-8");
    j->p += n;
  }
  if (j->p >= j->end) return bad(j, "a string without an end");
  j->s.n = (size_t)(j->p - j->s.p);
  j->p++;
  return kind;
}

static size_t put_utf8(char *to, int32_t c) {
  if (c < 0x80) return to[0] = (char)c, 1;
  if (c < 0x800) return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 63)), 2;
  if (c < 0x10000) return to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 63)), to[2] = (char)(0x80 | (c & 63)), 3;
  to[0] = (char)(0xf0 | c >> 18);
  to[1] = (char)(0x80 | (c >> 12 & 63));
  to[2] = (char)(0x80 | (c >> 6 & 63));
  to[3] = (char)(0x80 | (c & 63));
  return 4;
}

size_t snf_json_unescape(const snf_json *j, char *to) {
  const char *p = j->s.p, *end = j->s.p + j->s.n;
  char *q = to;
  if (!j->escaped) return memmove(to, p, j->s.n), j->s.n;
  while (p < end) {
    if (*p != '\\') {
      *q++ = *p++;
      continue;
    }
    const char c = p[1];
    p += 2;
    if (c == 'u') {
      int n;
      q += put_utf8(q, escape_at(p, end, &n));
      p += n;
    } else {
      *q++ = c == 'b' ? '\b' : c == 'f' ? '\f' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
    }
  }
  return (size_t)(q - to);
}

/* ---- numbers and words */

static const char *digits(const char *p, const char *end) {
  while (p < end && *p >= '0' && *p <= '9') p++;
  return p;
}

static snf_token number(snf_json *j) {
  const char *p = j->p + (*j->p == '-'), *q = digits(p, j->end);
  if (q == p) return bad(j, "something that is no value");
  if (*p == '0' && q - p > 1) return bad(j, "a number that begins with 0");
  bool whole = true;
  if (q < j->end && *q == '.') {
    p = q + 1;
    q = digits(p, j->end);
    if (q == p) return bad(j, "a number that ends in its point");
    whole = false;
  }
  if (q < j->end && (*q == 'e' || *q == 'E')) {
    p = q + 1;
    if (p < j->end && (*p == '+' || *p == '-')) p++;
    q = digits(p, j->end);
    if (q == p) return bad(j, "a number without its exponent");
    whole = false;
  }
  if (snf_number(j->p, q, &j->d) != q || isinf(j->d)) return bad(j, "a number that is too large");
  const char *from = j->p;
  j->p = q;
  if (!whole) return SNF_JSON_FLOAT;
  int64_t v = 0;
  const bool minus = *from == '-';
  for (p = from + minus; p < q; p++) /* counted downwards: there is one more below 0 */
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, *p - '0', &v)) return SNF_JSON_FLOAT;
  if (!minus && __builtin_sub_overflow(0, v, &v)) return SNF_JSON_FLOAT;
  if (minus && v == 0) return SNF_JSON_FLOAT; /* -0 */
  j->i = v;
  return SNF_JSON_INT;
}

static snf_token word(snf_json *j, const char *w, snf_token kind) {
  const size_t n = strlen(w);
  if ((size_t)(j->end - j->p) < n || memcmp(j->p, w, n) != 0) return bad(j, "something that is no value");
  j->p += n;
  return kind;
}

/* ---- the grammar */

static snf_token open_container(snf_json *j, snf_token kind) {
  if (j->depth == SNF_JSON_DEPTH) return bad(j, "too deep nesting");
  j->kind[j->depth++] = *j->p++;
  j->expect = kind == SNF_JSON_OBJECT ? FIRST_KEY : FIRST_VALUE;
  return kind;
}

static snf_token close_container(snf_json *j) {
  j->p++;
  j->expect = AFTER;
  return j->kind[--j->depth] == '{' ? SNF_JSON_OBJECT_END : SNF_JSON_ARRAY_END;
}

static snf_token value(snf_json *j) {
  if (j->p >= j->end) return bad(j, j->depth ? "the end inside a list or an object" : "nothing");
  j->expect = AFTER;
  switch (*j->p) {
    case '{': return open_container(j, SNF_JSON_OBJECT);
    case '[': return open_container(j, SNF_JSON_ARRAY);
    case '"': j->p++; return string(j, SNF_JSON_STRING);
    case 't': return word(j, "true", SNF_JSON_TRUE);
    case 'f': return word(j, "false", SNF_JSON_FALSE);
    case 'n': return word(j, "null", SNF_JSON_NULL);
    default: return number(j);
  }
}

static snf_token key(snf_json *j) {
  if (j->p >= j->end || *j->p != '"') return bad(j, "no name where one must be");
  j->p++;
  const snf_token t = string(j, SNF_JSON_KEY);
  if (t != SNF_JSON_KEY) return t;
  skip_space(j);
  if (j->p >= j->end || *j->p != ':') return bad(j, "no colon after a name");
  j->p++;
  j->expect = VALUE;
  return t;
}

snf_token snf_json_next(snf_json *j) {
  skip_space(j);
  if (j->expect == AFTER) {
    if (j->depth == 0) return j->p == j->end ? SNF_JSON_END : bad(j, "more after the end");
    const char open = j->kind[j->depth - 1];
    if (j->p < j->end && *j->p == (open == '{' ? '}' : ']')) return close_container(j);
    if (j->p >= j->end || *j->p != ',') return bad(j, "neither a comma nor the end of its list or object");
    j->p++;
    skip_space(j);
    j->expect = open == '{' ? KEY : VALUE;
  }
  if (j->expect == FIRST_KEY && j->p < j->end && *j->p == '}') return close_container(j);
  if (j->expect == FIRST_VALUE && j->p < j->end && *j->p == ']') return close_container(j);
  return j->expect == KEY || j->expect == FIRST_KEY ? key(j) : value(j);
}

/* ---- writing */

int snf_put_json(snf_text *t, const char *s, size_t n) {
  const char *p = s, *end = s + n, *plain = s;
  if (snf_put(t, "\"", 1) < 0) return -1;
  while (p < end) {
    const unsigned char c = (unsigned char)*p;
    const int len = utf8_length(p, end);
    if (len == 0) return sn_fail("a string that is not UTF-8 (%s) has no place in JSON", SNF_SHOW(((snf_str){s, n})));
    if (c >= 0x20 && c != '"' && c != '\\') {
      p += len;
      continue;
    }
    char e[8];
    snprintf(e, sizeof e, c == '\n' ? "\\n" : c == '"' ? "\\\"" : c == '\\' ? "\\\\" : "\\u%04x", c);
    if (snf_put(t, plain, (size_t)(p - plain)) < 0 || snf_puts(t, e) < 0) return -1;
    plain = ++p;
  }
  return snf_put(t, plain, (size_t)(p - plain)) < 0 || snf_put(t, "\"", 1) < 0 ? -1 : 0;
}

int snf_put_number(snf_text *t, double v) {
  char s[40];
  for (int digits_ = 15; digits_ <= 17; digits_++) {
    snprintf(s, sizeof s, "%.*g", digits_, v);
    char *comma = strpbrk(s, "0123456789");
    while (comma && *comma && strchr("0123456789", *comma)) comma++;
    if (comma && *comma && *comma != 'e') *comma = '.'; /* a locale's own point */
    double back;
    if (snf_number(s, s + strlen(s), &back) && back == v) break;
  }
  if (strpbrk(s, ".e") == NULL) strcat(s, ".0");
  return snf_puts(t, s);
}
