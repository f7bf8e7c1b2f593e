/* A camera by Video4Linux2: frames in the driver's own memory, of which the newest is taken and the others are given back.
 * What the driver says of a frame is checked before a byte of it is read, and nothing is waited for longer than LIMIT_MS. */
#include "commands/camera.h"

#include <stdio.h>
#include <string.h>

#include "bundle/bundle.h"

#ifdef __linux__
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle/text.h"
#include "commands/measure.h"
#include "commands/stopping.h"
#include "images/decode.h"
#include "images/image.h"

enum { BUFFERS = 4, LIMIT_MS = 5000, MOST_STRIDE = 1 << 18, NO_ORDER = -1 };
static const uint64_t most_frame_bytes = (uint64_t)1 << 29;

/* What is understood, the cheapest first. */
static const struct kind {
  uint32_t format;
  int32_t bytes; /* of a pixel in a row of `pixels` */
} kinds[] = {{V4L2_PIX_FMT_NV12, 1}, {V4L2_PIX_FMT_YUYV, 2}, {V4L2_PIX_FMT_RGB24, 3}, {V4L2_PIX_FMT_BGR24, 3},
             {V4L2_PIX_FMT_MJPEG, 0}};

struct camera {
  const char *device;
  int file;
  const struct kind *kind;
  int32_t width, height, stride, order;
  uint64_t frame_bytes; /* of a whole frame; 1 of a compressed one */
  struct { uint8_t *data; size_t size; } buffers[BUFFERS];
  uint32_t count;
  uint8_t *planes; /* a frame of YUYV as NV12 */
};

static int call(int file, unsigned long request, void *argument) {
  int result;
  do result = ioctl(file, request, argument);
  while (result < 0 && errno == EINTR && !stopped());
  return result;
}

static const char *name_of(uint32_t format) {
  static char name[5];
  for (int i = 0; i < 4; i++) {
    char letter = (char)(format >> 8 * i);
    name[i] = letter > ' ' && letter < 127 ? letter : '?';
  }
  return name;
}

static void refuse_without(const char *device, const char *reason) {
  char there[256] = "", path[32];
  for (int i = 0; i < 64 && strlen(there) < 200; i++) {
    snprintf(path, sizeof path, "/dev/video%d", i);
    if (!access(path, F_OK)) strcat(strcat(there, " "), path);
  }
  stop(EXIT_USAGE, "%s is no camera that can be used: %s; there are:%s", device, reason, *there ? there : " none");
}

static void open_device(struct camera *camera) {
  struct stat status;
  struct v4l2_capability can = {0};
  camera->file = open(camera->device, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (camera->file < 0) refuse_without(camera->device, strerror(errno));
  if (fstat(camera->file, &status) || !S_ISCHR(status.st_mode)) refuse_without(camera->device, "it is no device");
  if (call(camera->file, VIDIOC_QUERYCAP, &can)) refuse_without(camera->device, "it does not speak Video4Linux2");
  uint32_t all = can.capabilities & V4L2_CAP_DEVICE_CAPS ? can.device_caps : can.capabilities;
  if (all & V4L2_CAP_VIDEO_CAPTURE_MPLANE && !(all & V4L2_CAP_VIDEO_CAPTURE))
    refuse_without(camera->device, "its frames lie in several pieces; give them to repghost-runtime --serve");
  if (!(all & V4L2_CAP_VIDEO_CAPTURE) || !(all & V4L2_CAP_STREAMING))
    refuse_without(camera->device, "it gives no stream of pictures");
}

/* Which order of repghost.h has the colours of a format in YCbCr; what the driver leaves open is as the kernel says. */
static int32_t colours_of(const struct v4l2_pix_format *f) {
  uint32_t matrix = f->ycbcr_enc ? f->ycbcr_enc : V4L2_MAP_YCBCR_ENC_DEFAULT(f->colorspace);
  uint32_t range = f->quantization ? f->quantization : V4L2_MAP_QUANTIZATION_DEFAULT(0, f->colorspace, matrix);
  int full = range == V4L2_QUANTIZATION_FULL_RANGE;
  if (matrix == V4L2_YCBCR_ENC_601) return full ? RG_NV12_FULL : RG_NV12;
  return matrix == V4L2_YCBCR_ENC_709 && !full ? RG_NV12_BT709 : NO_ORDER;
}

static int32_t order_of(const struct v4l2_pix_format *f) {
  if (f->pixelformat == V4L2_PIX_FMT_BGR24) return RG_BGR;
  return f->pixelformat == V4L2_PIX_FMT_NV12 || f->pixelformat == V4L2_PIX_FMT_YUYV ? colours_of(f) : RG_RGB;
}

static struct v4l2_pix_format choose_format(struct camera *camera, const struct camera_wish *wish) {
  struct v4l2_format asked;
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    asked = (struct v4l2_format){.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
    asked.fmt.pix.width = (uint32_t)wish->width, asked.fmt.pix.height = (uint32_t)wish->height;
    asked.fmt.pix.pixelformat = kinds[i].format, asked.fmt.pix.priv = V4L2_PIX_FMT_PRIV_MAGIC;
    if (call(camera->file, VIDIOC_S_FMT, &asked) && errno != EINVAL)
      stop(EXIT_UNREACHABLE, "%s cannot be set up: %s", camera->device, errno == EBUSY ? "another program uses it" : strerror(errno));
    camera->kind = &kinds[i];
    if (asked.fmt.pix.pixelformat == kinds[i].format) return asked.fmt.pix;
  }
  stop(EXIT_UNSUPPORTED, "%s gives frames in %s; NV12, YUYV, RGB3, BGR3 and MJPG are understood", camera->device,
       name_of(asked.fmt.pix.pixelformat));
}

/* Checks what a frame will be, and works out how many bytes of it are read. */
static void set_format(struct camera *camera, const struct v4l2_pix_format *f, int32_t most_pixels) {
  int planar = f->pixelformat == V4L2_PIX_FMT_NV12, paired = planar || f->pixelformat == V4L2_PIX_FMT_YUYV;
  uint64_t row = (uint64_t)f->width * (uint64_t)camera->kind->bytes;
  uint32_t stride = f->bytesperline ? f->bytesperline : (uint32_t)row;
  const char *problem = too_large(f->width, f->height, most_pixels);
  if (problem) stop(EXIT_UNSUPPORTED, "%s gives frames that are too large: %s", camera->device, problem);
  if (!f->width || !f->height || (paired && (f->width % 2 || f->height % 2)) ||
      (camera->kind->bytes && (stride < row || stride > MOST_STRIDE)))
    stop(EXIT_UNSUPPORTED, "%s says that its frames have %u x %u pixels of %s in rows of %u bytes, which cannot be", camera->device,
         f->width, f->height, name_of(f->pixelformat), f->bytesperline);
  camera->order = order_of(f);
  if (camera->order == NO_ORDER)
    stop(EXIT_UNSUPPORTED, "%s gives colours that are neither BT.601 nor BT.709 in video range", camera->device);
  camera->width = (int32_t)f->width, camera->height = (int32_t)f->height, camera->stride = (int32_t)stride;
  uint64_t rows = planar ? (uint64_t)f->height * 3 / 2 : f->height;
  camera->frame_bytes = camera->kind->bytes ? (rows - 1) * stride + row : 1;
  if (f->pixelformat == V4L2_PIX_FMT_YUYV) camera->planes = allocate((size_t)f->width * f->height * 3 / 2);
}

static void give_back(const struct camera *camera, uint32_t index) {
  struct v4l2_buffer buffer = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP, .index = index};
  if (call(camera->file, VIDIOC_QBUF, &buffer) && !stopped())
    stop(EXIT_UNREACHABLE, "%s takes no memory for its frames: %s", camera->device, strerror(errno));
}

static void map_buffers(struct camera *camera) {
  struct v4l2_requestbuffers wanted = {.count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
  if (call(camera->file, VIDIOC_REQBUFS, &wanted) || wanted.count < 1 || wanted.count > BUFFERS)
    stop(EXIT_UNREACHABLE, "%s has no memory for frames: %s", camera->device, errno == EBUSY ? "another program uses it" : strerror(errno));
  for (camera->count = 0; camera->count < wanted.count; camera->count++) {
    struct v4l2_buffer buffer = {.type = wanted.type, .memory = wanted.memory, .index = camera->count};
    int refused = call(camera->file, VIDIOC_QUERYBUF, &buffer);
    if (refused || buffer.length < camera->frame_bytes || buffer.length > most_frame_bytes)
      stop(EXIT_UNREACHABLE, "%s has memory of %u bytes for a frame that takes %llu", camera->device, buffer.length,
           (unsigned long long)camera->frame_bytes);
    void *data = mmap(NULL, buffer.length, PROT_READ | PROT_WRITE, MAP_SHARED, camera->file, (off_t)buffer.m.offset);
    if (data == MAP_FAILED) stop(EXIT_UNREACHABLE, "%s: its frames cannot be mapped: %s", camera->device, strerror(errno));
    camera->buffers[camera->count].data = data, camera->buffers[camera->count].size = buffer.length;
    give_back(camera, camera->count);
  }
}

/* Takes the next frame that is there; returns 0 when there is none. */
static int take_frame(const struct camera *camera, struct v4l2_buffer *frame) {
  *frame = (struct v4l2_buffer){.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
  if (call(camera->file, VIDIOC_DQBUF, frame)) {
    if (errno == EAGAIN || stopped()) return 0;
    stop(EXIT_UNREACHABLE, "%s vanished, or failed: %s", camera->device, strerror(errno));
  }
  if (frame->index >= camera->count)
    stop(EXIT_UNREACHABLE, "%s gave frame %u of %u, which cannot be", camera->device, frame->index, camera->count);
  return 1;
}

/* Takes the newest frame and gives the older ones back; returns 0 when there is none. */
static int take_newest(const struct camera *camera, struct v4l2_buffer *frame) {
  struct v4l2_buffer next;
  if (!take_frame(camera, frame)) return 0;
  for (uint32_t i = 1; i < camera->count && take_frame(camera, &next); i++) give_back(camera, frame->index), *frame = next;
  return 1;
}

/* YUYV has the colours of two pixels in every row, NV12 those of a block: the mean of both rows. */
static void to_nv12(const struct camera *camera, const uint8_t *data) {
  uint8_t *luma = camera->planes, *chroma = luma + (size_t)camera->width * (size_t)camera->height;
  for (int32_t y = 0; y < camera->height; y++) {
    const uint8_t *row = data + (size_t)camera->stride * (size_t)y, *other = y % 2 ? row : row + camera->stride;
    for (int32_t x = 0; x < camera->width; x++) *luma++ = row[2 * x];
    for (int32_t x = 0; y % 2 == 0 && x < camera->width; x++) *chroma++ = (uint8_t)((row[2 * x + 1] + other[2 * x + 1] + 1) / 2);
  }
}

/* Makes the network's input of a frame. Returns null, or what is wrong with it. */
static const char *prepare_frame(const struct classifier *c, const struct camera *camera, const uint8_t *data, size_t size) {
  struct rg_picture picture = {
      .pixels = data, .width = camera->width, .height = camera->height, .order = camera->order, .stride = camera->stride};
  struct pixels decoded = {0, 0, NULL};
  if (camera->kind->format == V4L2_PIX_FMT_MJPEG) {
    const char *problem = is_encoded(data, size) ? decode(data, size, c->most_pixels, &decoded) : "it is no JPEG";
    if (problem) return problem;
    picture.pixels = decoded.rgb, picture.width = decoded.width, picture.height = decoded.height;
    picture.stride = (ptrdiff_t)decoded.width * 3;
  } else if (camera->planes) {
    to_nv12(camera, data);
    picture.pixels = camera->planes, picture.stride = camera->width;
  }
  picture.chroma = picture.pixels + picture.stride * picture.height, picture.chroma_stride = picture.stride;
  const char *problem = prepare_picture(c->model, &picture, c->rgb);
  free(decoded.rgb);
  return problem;
}

static const char *classify_frame(const struct classifier *c, const struct camera *camera, const struct v4l2_buffer *frame) {
  double start = milliseconds();
  size_t size = frame->bytesused < camera->buffers[frame->index].size ? frame->bytesused : camera->buffers[frame->index].size;
  if (frame->flags & V4L2_BUF_FLAG_ERROR || size < camera->frame_bytes) return "it is not whole";
  const char *problem = prepare_frame(c, camera, camera->buffers[frame->index].data, size);
  if (problem) return problem;
  double prepared = milliseconds();
  infer(c->model, c->rgb, c->logits);
  double done = milliseconds();
  printf("{\"command\":\"camera\",\"frame\":%u", frame->sequence);
  print_result(c, prepared - start, done - prepared);
  send_output();
  return NULL;
}

/* Waits for a frame that can be used and classifies it. */
static void next_frame(const struct classifier *c, const struct camera *camera) {
  const char *problem = "none came";
  struct pollfd readable = {.fd = camera->file, .events = POLLIN};
  struct v4l2_buffer frame;
  for (double limit = milliseconds() + LIMIT_MS, now; problem && !stopped();) {
    if ((now = milliseconds()) >= limit)
      stop(EXIT_UNREACHABLE, "%s gave no picture for %d seconds: %s; look at its cable and its other users", camera->device,
           LIMIT_MS / 1000, problem);
    if (poll(&readable, 1, (int)(limit - now) + 1) <= 0) continue;
    if (!take_newest(camera, &frame)) {
      if (readable.revents & (POLLERR | POLLHUP | POLLNVAL)) rest(10); /* which poll does not wait for */
      continue;
    }
    problem = classify_frame(c, camera, &frame);
    give_back(camera, frame.index);
  }
}

void watch_camera(const struct classifier *c, const struct camera_wish *wish) {
  struct camera camera = {.device = wish->device};
  struct v4l2_buffer stale;
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  stop_on_signals();
  open_device(&camera);
  struct v4l2_pix_format format = choose_format(&camera, wish);
  set_format(&camera, &format, c->most_pixels);
  map_buffers(&camera);
  if (call(camera.file, VIDIOC_STREAMON, &type))
    stop(EXIT_UNREACHABLE, "%s does not begin: %s", camera.device, errno == EBUSY ? "another program uses it" : strerror(errno));
  printf("{\"command\":\"camera\",\"device\":");
  print_string(wish->device, strlen(wish->device));
  printf(",\"width\":%d,\"height\":%d,\"format\":\"%s\",\"variant\":\"%s\"}\n", camera.width, camera.height,
         name_of(camera.kind->format), c->model->variant());
  send_output();
  for (int taken = 0; !stopped() && (!wish->most || taken < wish->most); taken++) {
    if (taken && wish->interval_ms) {
      rest(wish->interval_ms);
      while (take_newest(&camera, &stale)) give_back(&camera, stale.index); /* from before the rest */
    }
    next_frame(c, &camera);
  }
  call(camera.file, VIDIOC_STREAMOFF, &type);
  close(camera.file);
}
#else
void watch_camera(const struct classifier *c, const struct camera_wish *wish) {
  (void)c;
  stop(EXIT_UNSUPPORTED, "%s is read by Video4Linux2, which this system does not have", wish->device);
}
#endif
