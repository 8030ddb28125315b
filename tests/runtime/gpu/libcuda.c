/* A libcuda.so.1 of one card with 132 SMs, for the real cuda-bindings to call: enough of the driver's binary interface
 * to see that our table hands over and takes back what it should. Structures as in CUDA 13's cuda.h. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    unsigned count, least, multiple, flags;
} Sm;

typedef struct Resource {
    int type;
    unsigned char first, length, padding[90];
    union {
        Sm sm;
        unsigned char room[40];
    } u;
    struct Resource *next;
} Resource;

enum { OK, INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_HANDLE = 400, INVALID_CONFIGURATION = 915 };
static void *const PRIMARY = (void *)0x100, *const GREEN = (void *)0x200, *const STREAM = (void *)0x300;
static uintptr_t described; /* the atoms of the last description, a bit each */
static int held;

static int version(int *out) { return *out = 13000, OK; }
static int init(unsigned flags) { return flags ? INVALID_VALUE : OK; }
static int count(int *out) { return *out = 1, OK; }
static int get(int *out, int ordinal) { return *out = ordinal, ordinal ? INVALID_DEVICE : OK; }
static int name(char *out, int length, int device) { return strncpy(out, "Stand-in", length), OK; }
static int memory(size_t *out, int device) { return *out = 141ull << 30, OK; }
static int attribute(int *out, int which, int device) { return *out = which == 16 ? 132 : which == 75 ? 9 : 0, OK; }
static int uuid(unsigned char *out, int device) { return memset(out, 7, 16), OK; }
static int retain(void **out, int device) { return held++, *out = PRIMARY, OK; }
static int release(int device) { return held--, OK; }
static int push(void *context) { return context == PRIMARY ? OK : INVALID_HANDLE; }
static int synchronize(void) { return OK; }
static int pop(void **out) { return *out = PRIMARY, OK; }

static int all(int device, Resource *out, int type) {
    memset(out, 0, sizeof *out);
    out->type = type;
    out->u.sm.count = 132;
    return type == 1 ? OK : INVALID_VALUE;
}

static int split(Resource *out, unsigned *parts, const Resource *in, Resource *rest, unsigned flags, unsigned least) {
    unsigned size = flags & 1 ? 2 : 8, most = in->u.sm.count / size;
    if (least > size) return INVALID_CONFIGURATION;
    if (*parts > most) *parts = most;
    for (unsigned i = 0; out && i < *parts; i++) {
        memset(&out[i], 0, sizeof *out);
        out[i].type = 1, out[i].first = i, out[i].length = size, out[i].u.sm.count = size;
    }
    if (rest) memset(rest, 0, sizeof *rest), rest->type = 1, rest->u.sm.count = in->u.sm.count - *parts * size;
    return OK;
}

static int describe(void **out, Resource *parts, unsigned number) {
    described = 0;
    for (unsigned i = 0; i < number; i++) {
        if (parts[i].length != parts[i].u.sm.count) return INVALID_CONFIGURATION;
        described |= 1ull << parts[i].first;
    }
    return *out = (void *)described, OK;
}

static int green(void **out, void *description, int device, unsigned flags) {
    if (description != (void *)described || flags != 1) return INVALID_VALUE;
    return held++, *out = GREEN, OK;
}

static int end_green(void *context) { return context == GREEN ? held--, OK : INVALID_HANDLE; }
static int stream(void **out, void *context, unsigned flags, int priority) {
    if (context != GREEN || flags != 1) return INVALID_VALUE;
    return held++, *out = STREAM, OK;
}
static int end_stream(void *it) { return it == STREAM ? held--, OK : INVALID_HANDLE; }
static int finish_stream(void *it) { return it == STREAM ? OK : INVALID_HANDLE; }

/* Memory of this "device" is the process's own, and a handle is its address, 64 bytes passed by value. */
typedef struct {
    char *address;
    char rest[56];
} Handle;

static int allocate(char **out, size_t bytes) { return held++, *out = malloc(bytes), OK; }
static int release_memory(void *it) { return free(it), held--, OK; }
static int to_device(char *to, const void *from, size_t bytes) { return memcpy(to, from, bytes), OK; }
static int give(Handle *out, char *address) { return memset(out, 5, sizeof *out), out->address = address, OK; }
static int take(char **out, Handle it, unsigned flags) {
    if (flags != 1 || it.rest[0] != 5 || it.rest[55] != 5) return INVALID_VALUE;
    return held++, *out = it.address, OK;
}
static int leave(char *it) { return held--, OK; }

int stand_in_holds(void) { return held; }
uintptr_t stand_in_described(void) { return described; }
int cuGetProcAddress_v2(const char *wanted, void **out, int at, uint64_t flags, int *status);

static const struct {
    const char *name;
    void *function;
} TABLE[] = {
    {"cuGetProcAddress", cuGetProcAddress_v2}, {"cuGetProcAddress_v2", cuGetProcAddress_v2},
    {"cuDriverGetVersion", version}, {"cuInit", init}, {"cuDeviceGetCount", count}, {"cuDeviceGet", get},
    {"cuDeviceGetName", name}, {"cuDeviceTotalMem", memory}, {"cuDeviceGetAttribute", attribute},
    {"cuDeviceGetUuid", uuid}, {"cuDevicePrimaryCtxRetain", retain}, {"cuDevicePrimaryCtxRelease", release},
    {"cuCtxPushCurrent", push}, {"cuCtxSynchronize", synchronize}, {"cuCtxPopCurrent", pop},
    {"cuDeviceGetDevResource", all}, {"cuDevSmResourceSplitByCount", split}, {"cuDevResourceGenerateDesc", describe},
    {"cuGreenCtxCreate", green}, {"cuGreenCtxDestroy", end_green}, {"cuGreenCtxStreamCreate", stream},
    {"cuStreamDestroy", end_stream}, {"cuStreamSynchronize", finish_stream},
    {"cuMemAlloc", allocate}, {"cuMemFree", release_memory}, {"cuMemcpyHtoD", to_device},
    {"cuIpcGetMemHandle", give}, {"cuIpcOpenMemHandle", take}, {"cuIpcCloseMemHandle", leave},
};

int cuGetProcAddress_v2(const char *wanted, void **out, int at, uint64_t flags, int *status) {
    *out = 0;
    for (unsigned i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
        if (!strcmp(TABLE[i].name, wanted)) *out = TABLE[i].function;
    if (status) *status = !*out;
    return *out ? OK : 500;
}

int cuGetProcAddress(const char *wanted, void **out, int at, uint64_t flags) {
    return cuGetProcAddress_v2(wanted, out, at, flags, 0);
}
