/* JSON text. */
#ifndef RG_TEXT_H
#define RG_TEXT_H

#include <stddef.h>

/* Prints a JSON string. Bytes that are no UTF-8, as file names may hold, become \udc80 to \udcff, which is how Python
 * spells such names. */
void print_string(const char *text, size_t size);

/* Prints a number with so many digits, or null when it is not finite. */
void print_number(double number, int digits);

#endif
