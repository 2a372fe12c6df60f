/* number.h - decimal numbers out of text, whatever the locale. */
#ifndef SNF_NUMBER_H
#define SNF_NUMBER_H

/* [+-]digits[.digits][e[+-]digits] at p, correctly rounded; where it ends, or NULL if there is none. There must be a 0 at or after `end`. */
const char *snf_number(const char *p, const char *end, double *v);

#endif
