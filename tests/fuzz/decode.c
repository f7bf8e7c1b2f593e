/* The decoders of pictures. A PNG is decoded twice, the second time with check sums that fit: damage gets past them. */
#include "images/decode.c"
#include "images/orientation.c"

enum { MOST = 1 << 16 };

static void decode_once(const uint8_t *data, size_t size, int32_t bands) {
  struct pixels pixels = {0, 0, NULL};
  const char *problem = bands == RGB_BANDS ? decode(data, size, MOST, &pixels) : decode_bands(data, size, MOST, bands, &pixels);
  if (problem && pixels.rgb) abort();
  if (problem) return;
  unsigned sum = 0;
  size_t bytes = (size_t)pixels.width * (size_t)pixels.height * (size_t)bands;
  if (bytes < (size_t)bands || bytes > MOST * (size_t)bands) abort();
  for (size_t i = 0; i < bytes; i++) sum += pixels.rgb[i];
  if (sum > bytes * 255) abort();
  free(pixels.rgb);
}

static void decode_all(const uint8_t *data, size_t size) {
  for (int32_t bands = 2; bands <= 4; bands++) decode_once(data, size, bands);
}

static void reseal(uint8_t *data, size_t size) {
  for (size_t at = 8; size - at >= 12;) {
    size_t length = (size_t)wuffs_base__peek_u32be__no_bounds_check(data + at);
    if (length > size - at - 12) return;
    wuffs_crc32__ieee_hasher hasher;
    wuffs_base__status status = wuffs_crc32__ieee_hasher__initialize(&hasher, sizeof hasher, WUFFS_VERSION, 0);
    if (status.repr) abort();
    wuffs_base__slice_u8 content = wuffs_base__make_slice_u8(data + at + 4, length + 4);
    uint32_t sum = wuffs_crc32__ieee_hasher__update_u32(&hasher, content);
    wuffs_base__poke_u32be__no_bounds_check(data + at + 8 + length, sum);
    at += 12 + length;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!is_encoded(data, size)) return 0;
  decode_all(data, size);
  if (is_jpeg(data, size)) return 0;
  uint8_t *copy = malloc(size);
  if (!copy) abort();
  memcpy(copy, data, size);
  reseal(copy, size);
  decode_all(copy, size);
  free(copy);
  return 0;
}
