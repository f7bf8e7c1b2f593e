/* A camera that is none, for LD_PRELOAD: /dev/video-standin speaks Video4Linux2 as the variables of tests/support/camera.py
 * say. Its clock jumps where a program would wait. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 8, LENGTH_OFFSET = 4096 };

static int camera = -1, queued[MOST], first, count, ready, gone;
static uint32_t sequence, length;
static uint8_t *memory[MOST];
static FILE *frames;
static int64_t jumped_ms;

static long number(const char *name, long usual) {
  const char *text = getenv(name);
  return text ? atol(text) : usual;
}

static int is(const char *name, const char *value) {
  const char *text = getenv(name);
  return text && !strcmp(text, value);
}

static int fail(int code) {
  errno = code;
  return -1;
}

int open(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "open");
  if (strcmp(path, "/dev/video-standin")) return real(path, flags);
  frames = fopen(getenv("CAMERA_FRAMES"), "rb");
  return camera = real("/dev/null", flags);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  now->tv_sec += jumped_ms / 1000;
  return result;
}

static int more(void) {
  int next = frames ? fgetc(frames) : EOF;
  return next == EOF ? 0 : (ungetc(next, frames), 1);
}

int poll(struct pollfd *fds, nfds_t n, int timeout) {
  (void)n;
  if (more() || is("CAMERA_END", "damaged")) {
    ready = (int)number("CAMERA_BURST", 1);
    if (!more()) jumped_ms += 1000;
    return fds->revents = POLLIN, 1;
  }
  if (is("CAMERA_END", "vanish")) return gone = 1, fds->revents = POLLERR | POLLHUP, 1;
  jumped_ms += timeout;
  return 0;
}

void *mmap(void *place, size_t size, int rights, int flags, int file, off_t offset) {
  static void *(*real)(void *, size_t, int, int, int, off_t);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "mmap");
  if (file < 0 || file != camera) return real(place, size, rights, flags, file, offset);
  return memory[offset / LENGTH_OFFSET] = real(NULL, size, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int set_format(struct v4l2_format *f) {
  const char *name = getenv("CAMERA_FORMAT");
  f->fmt.pix.pixelformat = v4l2_fourcc(name[0], name[1], name[2], name[3]);
  f->fmt.pix.width = (uint32_t)number("CAMERA_WIDTH", 16), f->fmt.pix.height = (uint32_t)number("CAMERA_HEIGHT", 12);
  f->fmt.pix.bytesperline = (uint32_t)number("CAMERA_STRIDE", 0);
  f->fmt.pix.colorspace = V4L2_COLORSPACE_SRGB;
  f->fmt.pix.ycbcr_enc = (uint32_t)number("CAMERA_MATRIX", 0), f->fmt.pix.quantization = (uint32_t)number("CAMERA_RANGE", 0);
  length = (uint32_t)number("CAMERA_FRAME_BYTES", 0);
  return is("CAMERA_LIE", "busy") ? fail(EBUSY) : 0;
}

static int next_frame(struct v4l2_buffer *buffer) {
  if (gone) return fail(ENODEV);
  if (!ready || !count) return fail(EAGAIN);
  ready--, count--;
  buffer->index = (uint32_t)queued[first], first = (first + 1) % MOST;
  buffer->sequence = sequence++;
  buffer->bytesused = (uint32_t)fread(memory[buffer->index], 1, length, frames);
  if (!buffer->bytesused) buffer->flags = V4L2_BUF_FLAG_ERROR, buffer->bytesused = length;
  if (is("CAMERA_LIE", "index")) buffer->index = 7;
  if (is("CAMERA_LIE", "short")) buffer->bytesused /= 2;
  return 0;
}

int ioctl(int file, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  struct v4l2_buffer *buffer = argument;
  if (file != camera) return fail(ENOTTY);
  switch (request) {
    case VIDIOC_QUERYCAP: {
      struct v4l2_capability *can = argument;
      can->capabilities = V4L2_CAP_DEVICE_CAPS | V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      can->device_caps = (uint32_t)number("CAMERA_CAPS", V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING);
      return is("CAMERA_LIE", "none") ? fail(ENOTTY) : 0;
    }
    case VIDIOC_S_FMT: return set_format(argument);
    case VIDIOC_REQBUFS: return is("CAMERA_LIE", "no memory") ? fail(ENOMEM) : 0;
    case VIDIOC_QUERYBUF:
      buffer->length = length - (uint32_t)(is("CAMERA_LIE", "length") ? 1 : 0);
      buffer->m.offset = buffer->index * LENGTH_OFFSET;
      return 0;
    case VIDIOC_QBUF: return queued[(first + count++) % MOST] = (int)buffer->index, 0;
    case VIDIOC_DQBUF: return next_frame(buffer);
    case VIDIOC_STREAMON: return is("CAMERA_LIE", "stream") ? fail(EBUSY) : 0;
    case VIDIOC_STREAMOFF: return 0;
    default: return fail(ENOTTY);
  }
}
