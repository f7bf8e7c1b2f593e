/* SHA-256 (FIPS 180-4). */
#ifndef RG_SHA256_H
#define RG_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_HEX = 64 };

/* Writes the digest of `size` bytes as lower-case hexadecimal and a final zero. */
void sha256_hex(const uint8_t *data, size_t size, char hex[SHA256_HEX + 1]);

#endif
