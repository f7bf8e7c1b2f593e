/* The decoders are Wuffs', memory-safe by construction; see third_party. Only what JPEG and PNG need is compiled. */
#define WUFFS_IMPLEMENTATION
#define WUFFS_CONFIG__STATIC_FUNCTIONS
#define WUFFS_CONFIG__MODULES
#define WUFFS_CONFIG__MODULE__ADLER32
#define WUFFS_CONFIG__MODULE__BASE__CORE
#define WUFFS_CONFIG__MODULE__BASE__INTERFACES
#define WUFFS_CONFIG__MODULE__BASE__PIXCONV
#define WUFFS_CONFIG__MODULE__CRC32
#define WUFFS_CONFIG__MODULE__DEFLATE
#define WUFFS_CONFIG__MODULE__JPEG
#define WUFFS_CONFIG__MODULE__PNG
#define WUFFS_CONFIG__MODULE__ZLIB
#define WUFFS_CONFIG__DST_PIXEL_FORMAT__ENABLE_ALLOWLIST
#define WUFFS_CONFIG__DST_PIXEL_FORMAT__ALLOW_RGB
#define WUFFS_CONFIG__DST_PIXEL_FORMAT__ALLOW_BGRA_NONPREMUL
#define WUFFS_CONFIG__DST_PIXEL_FORMAT__ALLOW_BGRA_NONPREMUL_4X16LE
#include "third_party/wuffs/wuffs-unsupported-snapshot.c"

#include <stdio.h>

#include "images/decode.h"
#include "images/orientation.h"

static const uint8_t jpeg_magic[3] = {0xff, 0xd8, 0xff}, png_magic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static const char no_memory[] = "there is not enough memory to decode it";

static int is_jpeg(const uint8_t *data, size_t size) {
  return size >= sizeof jpeg_magic && !memcmp(data, jpeg_magic, sizeof jpeg_magic);
}

int is_encoded(const uint8_t *data, size_t size) {
  return is_jpeg(data, size) || (size >= sizeof png_magic && !memcmp(data, png_magic, sizeof png_magic));
}

const char *too_large(uint64_t width, uint64_t height, int32_t most) {
  static char text[160];
  if (width * height <= (uint64_t)most) return NULL;
  snprintf(text, sizeof text, "it has %llu x %llu pixels, more than the %d allowed; up to %d can be allowed with --max-pixels",
           (unsigned long long)width, (unsigned long long)height, most, MOST_PIXELS);
  return text;
}

enum { RGB_BANDS = 3 };

/* How the pixels are decoded before they become RGB. */
enum depth { OPAQUE = 3, TRANSPARENT = 4, SIXTEEN_BITS = 8 }; /* bytes of a pixel */

/* Grey with 16 bits is rounded; of 16-bit colours Pillow takes the upper byte, and so does Wuffs. */
static int is_deep_grey(const uint8_t *data, size_t size) {
  return size > 25 && data[0] == png_magic[0] && data[24] == 16 && data[25] == 0; /* IHDR: bit depth, colour type */
}

static enum depth depth_of(const uint8_t *data, size_t size, const wuffs_base__image_config *config) {
  wuffs_base__pixel_format format = wuffs_base__pixel_config__pixel_format(&config->pixcfg);
  if (is_deep_grey(data, size)) return SIXTEEN_BITS;
  uint32_t alpha = wuffs_base__pixel_format__transparency(&format);
  return alpha == WUFFS_BASE__PIXEL_ALPHA_TRANSPARENCY__OPAQUE ? OPAQUE : TRANSPARENT;
}

static uint32_t format_of(enum depth depth) {
  switch (depth) {
    case TRANSPARENT: return WUFFS_BASE__PIXEL_FORMAT__BGRA_NONPREMUL;
    case SIXTEEN_BITS: return WUFFS_BASE__PIXEL_FORMAT__BGRA_NONPREMUL_4X16LE;
    default: return WUFFS_BASE__PIXEL_FORMAT__RGB;
  }
}

/* One colour laid over white, in the fixed-point arithmetic of Pillow's alpha_composite: 7 bits of fraction. */
static uint8_t over_white(uint32_t colour, uint32_t alpha) {
  uint32_t part = alpha * 128, sum = colour * part + 255 * (255 * 128 - part) + (128 << 7);
  return (uint8_t)(((sum >> 8) + sum) >> 8 >> 7);
}

/* Makes `count` pixels RGB where they lie: no pixel becomes longer. */
static void to_rgb(uint8_t *pixels, size_t count, enum depth depth) {
  uint8_t *out = pixels;
  for (const uint8_t *at = pixels; count > 0; count--, at += depth, out += 3) {
    if (depth == SIXTEEN_BITS) {
      uint32_t grey = (uint32_t)at[0] | (uint32_t)at[1] << 8;
      out[0] = out[1] = out[2] = (uint8_t)((grey * 255 + 32767) / 65535);
    } else {
      uint8_t red = over_white(at[2], at[3]), green = over_white(at[1], at[3]), blue = over_white(at[0], at[3]);
      out[0] = red, out[1] = green, out[2] = blue;
    }
  }
}

/* Makes `count` pixels of blue, green, red and alpha the stored bands where they lie: no pixel becomes longer. */
static void to_bands(uint8_t *pixels, size_t count, int32_t bands) {
  uint8_t *out = pixels;
  for (const uint8_t *at = pixels; count > 0; count--, at += TRANSPARENT, out += bands) {
    uint8_t red = at[2], green = at[1], blue = at[0], other = at[3];
    out[0] = red;
    if (bands == 2) out[1] = other;
    else
      out[1] = green, out[2] = blue, out[3] = other;
  }
}

/* What Wuffs says, without the mark and the name of the module it begins with. */
static const char *why(wuffs_base__status status) {
  const char *colon = strstr(status.repr, ": ");
  return colon ? colon + 2 : status.repr;
}

static const char *decode_pixels(wuffs_base__image_decoder *decoder, wuffs_base__io_buffer *source,
                                 wuffs_base__image_config *config, int32_t bands, enum depth depth,
                                 struct pixels *pixels) {
  wuffs_base__pixel_buffer buffer;
  size_t count = (size_t)pixels->width * (size_t)pixels->height;
  uint64_t work_bytes = wuffs_base__image_decoder__workbuf_len(decoder).max_incl;
  if (work_bytes > SIZE_MAX / 2) return no_memory;
  uint8_t *memory = malloc(count * depth), *work = malloc((size_t)work_bytes + 1);
  const char *problem = memory && work ? NULL : no_memory;
  wuffs_base__pixel_config__set(&config->pixcfg, format_of(depth), WUFFS_BASE__PIXEL_SUBSAMPLING__NONE,
                                (uint32_t)pixels->width, (uint32_t)pixels->height);
  if (!problem) {
    wuffs_base__status status = wuffs_base__pixel_buffer__set_from_slice(
        &buffer, &config->pixcfg, wuffs_base__make_slice_u8(memory, count * depth));
    if (!status.repr)
      status = wuffs_base__image_decoder__decode_frame(decoder, &buffer, source, WUFFS_BASE__PIXEL_BLEND__SRC,
                                                       wuffs_base__make_slice_u8(work, (size_t)work_bytes), NULL);
    if (status.repr) problem = why(status);
  }
  free(work);
  if (problem) {
    free(memory);
    return problem;
  }
  if (bands != RGB_BANDS) to_bands(memory, count, bands);
  else if (depth != OPAQUE)
    to_rgb(memory, count, depth);
  pixels->rgb = memory;
  return NULL;
}

static const char *decode_with(wuffs_base__image_decoder *decoder, const uint8_t *data, size_t size, int32_t most,
                               int32_t bands, struct pixels *pixels) {
  wuffs_base__io_buffer source = wuffs_base__ptr_u8__reader((uint8_t *)data, size, true);
  wuffs_base__image_config config = {0};
  wuffs_base__status status = wuffs_base__image_decoder__decode_image_config(decoder, &config, &source);
  if (status.repr) return why(status);
  uint32_t width = wuffs_base__pixel_config__width(&config.pixcfg);
  uint32_t height = wuffs_base__pixel_config__height(&config.pixcfg);
  if (width < 1 || height < 1) return "it has no pixels";
  const char *problem = too_large(width, height, most);
  if (problem) return problem;
  pixels->width = (int32_t)width, pixels->height = (int32_t)height;
  return decode_pixels(decoder, &source, &config, bands, bands == RGB_BANDS ? depth_of(data, size, &config) : TRANSPARENT, pixels);
}

static const char *upright(int way, int32_t bands, struct pixels *pixels) {
  uint8_t *turned = malloc((size_t)pixels->width * (size_t)pixels->height * (size_t)bands);
  if (!turned) {
    free(pixels->rgb);
    return no_memory;
  }
  turn(way, pixels->rgb, pixels->width, pixels->height, bands, turned);
  free(pixels->rgb);
  *pixels = way < 5 ? (struct pixels){pixels->width, pixels->height, turned}
                    : (struct pixels){pixels->height, pixels->width, turned};
  return NULL;
}

/* The bands that a PNG file stores; 0 of one with another colour type, and of a JPEG file. */
static int32_t stored_bands(const uint8_t *data, size_t size) {
  if (size <= 25 || data[0] != png_magic[0]) return 0;
  return data[25] == 4 ? 2 : data[25] == 6 ? 4 : 0; /* IHDR: colour type */
}

static const char *decode_into(const uint8_t *data, size_t size, int32_t most, int32_t bands, struct pixels *pixels) {
  wuffs_base__image_decoder *decoder = is_jpeg(data, size) ? wuffs_jpeg__decoder__alloc_as__wuffs_base__image_decoder()
                                                           : wuffs_png__decoder__alloc_as__wuffs_base__image_decoder();
  if (!decoder) return no_memory;
  const char *problem = decode_with(decoder, data, size, most, bands, pixels);
  free(decoder);
  int way = problem ? 1 : orientation(data, size);
  return way == 1 ? problem : upright(way, bands, pixels);
}

const char *decode(const uint8_t *data, size_t size, int32_t most, struct pixels *pixels) {
  return decode_into(data, size, most, RGB_BANDS, pixels);
}

const char *decode_bands(const uint8_t *data, size_t size, int32_t most, int32_t bands, struct pixels *pixels) {
  if (stored_bands(data, size) != bands)
    return bands == 4 ? "the network takes pictures of 4 bands, and it has others; save it as PNG with RGB and alpha"
                      : "the network takes pictures of 2 bands, and it has others; save it as PNG with grey and alpha";
  return decode_into(data, size, most, bands, pixels);
}
