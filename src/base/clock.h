/* clock.h - time. */
#ifndef SN_CLOCK_H
#define SN_CLOCK_H
#include <stdint.h>
int64_t sn_clock_ns(void); /* monotonic */
#endif
