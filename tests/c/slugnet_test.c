/* slugnet_test.c - the stable C interface, and numbers and JSON below Lua. */
#include "slugnet.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/mem.h"
#include "check.h"
#include "file/bytes.h"
#include "file/json.h"
#include "file/number.h"

static void test_file(void) {
  static const char header[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}";
  char path[] = "/tmp/slugnet_test_XXXXXX", text[256];
  const int fd = mkstemp(path);
  CHECK(fd >= 0);
  close(fd);
  const uint64_t n = sizeof header - 1;
  const float v[2] = {1.5f, -2.0f};
  memcpy(text, &n, 8);
  memcpy(text + 8, header, n);
  memcpy(text + 8 + n, v, 8);
  CHECK(snf_write_file(path, text, 16 + n) == 0);
  slug_file *f = slug_open(path);
  slug_array a;
  CHECK(f != NULL && slug_count(f) == 1);
  CHECK(slug_find(f, "w", &a) == 0 && a.ndim == 2 && a.shape[0] == 2 && a.shape[1] == 1 && strcmp(a.dtype, "float32") == 0);
  CHECK(memcmp(a.data, v, sizeof v) == 0);
  CHECK(slug_find(f, "x", &a) == -1 && strstr(slug_error_message(), "'x'"));
  CHECK(slug_get(f, 1, &a) == -1 && slug_get(f, -1, &a) == -1);
  slug_close(f);
  slug_close(NULL);
  CHECK(snf_write_file(path, text, 15 + n) == 0);
  CHECK(slug_open(path) == NULL && strstr(slug_error_message(), path));
  unlink(path);
  CHECK(slug_open(path) == NULL);
  CHECK(strcmp(slug_version(), SLUG_VERSION) == 0);
}

static void test_numbers(void) {
  static const char *const texts[] = {"0", "-0", "1", "+1.5", ".5", "5.", "1e22", "1e23", "123456789012345678901234567890", "1.7976931348623157e308", "4.9e-324", "0.1",
                                      "2.2250738585072011e-308", "9007199254740993", "1e-400", "1e400", "1e99999999999999999999"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    double v = 7;
    const char *end = texts[i] + strlen(texts[i]);
    CHECK(snf_number(texts[i], end, &v) == end);
    const double want = strtod(texts[i], NULL);
    CHECK(memcmp(&v, &want, sizeof v) == 0);
  }
  double v;
  CHECK(snf_number("", "", &v) == NULL);
  const char *x = "-x", *e = "1ex", *h = "0x10";
  CHECK(snf_number(x, x + 2, &v) == NULL);
  CHECK(snf_number(e, e + 3, &v) == e + 1);
  CHECK(snf_number(h, h + 4, &v) == h + 1);
  const char *cut = "123456";
  CHECK(snf_number(cut, cut + 3, &v) == cut + 3 && v > 122 && v < 124);
}

static void test_json(void) {
  snf_json j;
  const char *s = "{\"a\":[1,\"x\\u00e9\"]}";
  char to[16];
  snf_json_start(&j, s, strlen(s));
  CHECK(snf_json_next(&j) == SNF_JSON_OBJECT);
  CHECK(snf_json_next(&j) == SNF_JSON_KEY && j.s.n == 1);
  CHECK(snf_json_next(&j) == SNF_JSON_ARRAY);
  CHECK(snf_json_next(&j) == SNF_JSON_INT && j.i == 1);
  CHECK(snf_json_next(&j) == SNF_JSON_STRING && snf_json_unescape(&j, to) == 3 && memcmp(to, "x\xc3\xa9", 3) == 0);
  CHECK(snf_json_next(&j) == SNF_JSON_ARRAY_END);
  CHECK(snf_json_next(&j) == SNF_JSON_OBJECT_END);
  CHECK(snf_json_next(&j) == SNF_JSON_END);
}

int main(void) {
  test_file();
  test_numbers();
  test_json();
  sn_mem_stats st;
  sn_mem_stat(&st);
  CHECK(st.small == 0 && st.live == 0);
  return CHECK_DONE();
}
