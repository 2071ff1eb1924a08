/* A stand-in for libnvidia-ml.so.1: boards whose power is a known function of CLOCK_MONOTONIC.
 *
 * NVML_SIM names a file of lines `device key value…`; `all` stands for every device. It is read
 * once, by the first nvmlInit. Times are seconds after `boot`.
 *
 *   count N                      (no device) number of boards
 *   boot T                       (no device) CLOCK_MONOTONIC, s: the curves' and counters' origin
 *   driver TEXT | nvml TEXT      (no device) versions
 *   init CODE                    (no device) what nvmlInitWithFlags answers
 *   seed N                       (no device) of noise and jitter: the same seed, the same values
 *
 *   I constant W | I square LOW HIGH PERIOD | I ramp FROM TO PERIOD   (a saw tooth)
 *   I recorded PATH              lines `t,watts`: linear in between, again from the start at the end
 *
 *   I refresh S [PHASE]          the registers of power are renewed every S seconds
 *   I window S                   field 186 is the mean of the S seconds before it was renewed;
 *                                with a refresh of 0.1 and 0.025 here: the A100's and the H100's
 *   I average S                  field 185 and PowerUsage are the mean of the last S seconds
 *   I noise W                    standard deviation of the registers of power
 *   I gain POWER [COUNTER]       what they read, as a multiple of the truth
 *   I counter 0|1                whether there is an energy counter at all
 *   I tick S [PHASE [JITTER]]    the counter moves every S seconds, give or take JITTER
 *   I latency S [BUSY]           asking the counter takes S seconds; in the BUSY seconds after each
 *                                of its ticks it is not answered, as by an H200
 *   I start J                    what the counter read at `boot`
 *   I fields 0|1                 whether fields 185, 186 and 191 exist
 *
 *   I name TEXT | I uuid TEXT | I pci TEXT | I chip PCI_DEVICE_ID | I arch N | I memory BYTES
 *   I slices N                   the MIG devices that it can be divided into
 *   I virtual N | I display 0|1  NVML's virtualisation mode; whether a display is on
 *   I limit ENFORCED [DEFAULT LEAST MOST]                             W
 *   I settable PATH              the limit may be set: what was is in this file, in mW, one a line,
 *                                and the last holds for every process
 *   I clocks SM MEMORY MOST_SM MOST_MEMORY                            MHz
 *   I temperature C | I utilisation GPU MEMORY | I reasons MASK
 *   I ecc -1|0|1 | I persistence -1|0|1 | I mig -1|0|1                -1: not supported
 *   I part UUID GI CI [SLICES]   a MIG device on it
 *   I process PID FROM TO        a compute process between two times
 *   I present FROM TO            enumerated by an nvmlInit in this time alone; lost outside it
 *
 *   I fault KIND FROM TO [VALUE [FUNCTION]]; kinds, where FUNCTION narrows the first four:
 *       code      calls answer VALUE
 *       once      one call answers VALUE, once in each process
 *       slow      calls take VALUE seconds
 *       hang      calls take until TO
 *       power     power alone answers VALUE (a code)
 *       energy    the counter alone answers VALUE (a code)
 *       nofield   field VALUE is not supported
 *       stuck     field VALUE reads 0 (VALUE 0: the functions PowerUsage and TotalEnergyConsumption)
 *       strange   the value of field VALUE has a type that NVML's header does not know
 *       narrow    the value of field VALUE has 32 bits, whatever it counts
 *       zero      power reads 0
 *       frozen    the counter stands still
 *       back      the counter starts again from 0 at FROM
 *       leap      the counter leaps by VALUE joules at FROM
 *       reload    calls answer 1 (uninitialised); the counter starts again from 0 at TO
 *       gain      power reads VALUE times what it would, the counter does not
 *       crowd     the list of processes says that it needs less room than it does
 *       limit, clock, application, temperature, reasons, mig    have this VALUE meanwhile
 *
 * A symbol is left out by renaming it: cc -DnvmlDeviceGetFieldValues=absent …
 */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST_DEVICES 64
#define MOST_FAULTS 64
#define MOST_PROCESSES 64
#define MOST_PARTS 8

enum { SUCCESS = 0, UNINITIALISED = 1, INVALID = 2, NOT_SUPPORTED = 3, FORBIDDEN = 4, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, LOST = 15 };

typedef struct { char kind[12], function[48]; double from, to, value; int spent; } Fault;
typedef struct { unsigned pid; double from, to; } Process;
typedef struct Device Device;
struct Device {
    char name[96], uuid[96], pci[32], curve[24], settable[200];
    double a, b, period, *t, *w, *sum; /* recorded: points and the energy up to each */
    int points;
    double refresh, refresh_phase, window, average, noise, gain;
    double tick, tick_phase, jitter, start, counter_gain, latency, busy;
    double limit[4], clocks[4], temperature, utilisation[2], present[2];
    unsigned long long memory, reasons;
    int fields, counter, arch, ecc, persistence, mig, faults, processes, parts;
    unsigned gi, ci, chip, slices, virtual, display;
    Fault fault[MOST_FAULTS];
    Process process[MOST_PROCESSES];
    Device *part[MOST_PARTS], *parent;
};

static Device devices[MOST_DEVICES], *enumerated[MOST_DEVICES];
static unsigned count, shown;
static double boot;
static char driver[81] = "570.86.15", nvml[81] = "12.570.86.15";
static int init_code, loaded, users;
static unsigned long long seed = 1;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9 - boot;
}

/* --- the truth */

/* The last recorded point that is not after `t`. */
static int point_before(const Device *d, double t) {
    int low = 0, high = d->points - 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (d->t[middle] <= t) low = middle; else high = middle;
    }
    return low;
}

static double power_at(const Device *d, double t) {
    double part = t / d->period - floor(t / d->period);
    if (!strcmp(d->curve, "square")) return part < 0.5 ? d->b : d->a;
    if (!strcmp(d->curve, "ramp")) return d->a + (d->b - d->a) * part;
    if (!strcmp(d->curve, "recorded")) {
        int k = point_before(d, part * d->period);
        double share = (part * d->period - d->t[k]) / (d->t[k + 1] - d->t[k]);
        return d->w[k] + (d->w[k + 1] - d->w[k]) * share;
    }
    return d->a;
}

/* Joules from the boot to `t`, which may be before it. */
static double energy_at(const Device *d, double t) {
    double whole = floor(t / d->period), part = t / d->period - whole, inside;
    if (!strcmp(d->curve, "square")) {
        inside = part < 0.5 ? d->b * part : d->b * 0.5 + d->a * (part - 0.5);
        return (whole * (d->a + d->b) / 2 + inside) * d->period;
    }
    if (!strcmp(d->curve, "ramp")) {
        inside = d->a * part + (d->b - d->a) * part * part / 2;
        return (whole * (d->a + d->b) / 2 + inside) * d->period;
    }
    if (!strcmp(d->curve, "recorded")) {
        int k = point_before(d, part * d->period);
        inside = (d->w[k] + power_at(d, t)) / 2 * (part * d->period - d->t[k]);
        return whole * d->sum[d->points - 1] + d->sum[k] + inside;
    }
    return d->a * t;
}

static void record(Device *d, const char *path) {
    FILE *file = fopen(path, "r");
    char line[128];
    double t, w;
    int room = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lf , %lf", &t, &w) != 2) continue; /* a heading */
        if (d->points == room) {
            room = room ? 2 * room : 256;
            d->t = realloc(d->t, room * sizeof *d->t);
            d->w = realloc(d->w, room * sizeof *d->w);
            d->sum = realloc(d->sum, room * sizeof *d->sum);
        }
        int k = d->points++;
        d->t[k] = k ? t - d->period : 0; /* d->period: the time of the first point, until the end */
        if (!k) d->period = t;
        d->w[k] = w;
        d->sum[k] = k ? d->sum[k - 1] + (d->t[k] - d->t[k - 1]) * (w + d->w[k - 1]) / 2 : 0;
    }
    if (file) fclose(file);
    if (d->points < 2) { fprintf(stderr, "nvml_sim: no curve in %s\n", path); exit(70); }
    d->period = d->t[d->points - 1];
}

/* --- what is seen of it */

/* 0 to 1, the same for the same numbers. */
static double chance(const Device *d, const char *what, long long k) {
    uint64_t x = seed * 0x9e3779b97f4a7c15ULL + (uint64_t)k * 0xbf58476d1ce4e5b9ULL;
    x += (uint64_t)(d - devices) * 0x94d049bb133111ebULL + (uint64_t)what[0];
    for (int i = 0; i < 2; i++) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    }
    return (double)((x ^ (x >> 31)) >> 11) / 9007199254740992.0;
}

static Fault *fault_of(Device *d, const char *kind, const char *function, double value, double t) {
    for (int i = 0; i < d->faults; i++) {
        Fault *f = &d->fault[i];
        if (strcmp(f->kind, kind) || t < f->from || t >= f->to) continue;
        if (function && f->function[0] && strcmp(f->function, function)) continue;
        if (value >= 0 && f->value != value) continue;
        return f;
    }
    return NULL;
}
static Fault *fault(Device *d, const char *kind) { return fault_of(d, kind, NULL, -1, now()); }

/* `usual`, or what a fault says of it now. */
static double at_present(Device *d, const char *kind, double usual) {
    const Fault *f = fault(d, kind);
    return f ? f->value : usual;
}

static double ticked_at(const Device *d, long long k) {
    return d->tick_phase + k * d->tick + d->jitter * (2 * chance(d, "tick", k) - 1);
}

static void await_counter(const Device *d) {
    double wait = d->latency, after = fmod(now() - d->tick_phase, d->tick);
    if (after >= 0 && after < d->busy) wait += d->busy - after;
    struct timespec t = {0, (long)(wait * 1e9)};
    if (wait > 0) nanosleep(&t, NULL);
}

static int energy_mj(Device *d, unsigned id, unsigned long long *out) {
    await_counter(d);
    double t = now(), leap = 0, since = 0, before = d->start;
    const Fault *f = fault(d, "energy");
    if (f) return (int)f->value;
    if (!d->counter || d->parent) return NOT_SUPPORTED;
    if (fault_of(d, "nofield", NULL, id, t)) return NOT_SUPPORTED;
    for (int i = 0; i < d->faults; i++) {
        f = &d->fault[i];
        int back = !strcmp(f->kind, "back") && t >= f->from;
        int reload = !strcmp(f->kind, "reload") && t >= f->to;
        if (back || reload) since = back ? f->from : f->to, before = 0;
        if (!strcmp(f->kind, "leap") && t >= f->from) leap += f->value;
    }
    if ((f = fault_of(d, "frozen", NULL, -1, t))) t = f->from;
    if (d->tick > 0) {
        long long k = (long long)floor((t - d->tick_phase) / d->tick) + 1;
        while (ticked_at(d, k) > t) k--;
        t = ticked_at(d, k);
    }
    double joules = (energy_at(d, t) - energy_at(d, since)) * d->counter_gain + before + leap;
    *out = fault_of(d, "stuck", NULL, id, now()) ? 0 : (unsigned long long)(fmax(0, joules) * 1e3);
    return SUCCESS;
}

static int power_mw(Device *d, unsigned id, unsigned *out) {
    double t = now(), window = d->window;
    const Fault *f = fault(d, "power");
    long long k = (long long)floor(t * 1e3);
    if (f) return (int)f->value;
    if (d->parent || fault_of(d, "nofield", NULL, id, t)) return NOT_SUPPORTED;
    if (d->refresh > 0) {
        k = (long long)floor((t - d->refresh_phase) / d->refresh);
        t = d->refresh_phase + k * d->refresh;
    }
    if (id != 186 && d->average > 0) window = d->average;
    double w = window > 0 ? (energy_at(d, t) - energy_at(d, t - window)) / window : power_at(d, t);
    w *= d->gain * at_present(d, "gain", 1);
    if (d->noise > 0) /* Box and Muller */
        w += d->noise * sqrt(-2 * log(1 - chance(d, "a", k))) * cos(2 * M_PI * chance(d, "b", k));
    if (fault(d, "zero") || fault_of(d, "stuck", NULL, id, now())) w = 0;
    *out = (unsigned)lround(fmax(0, w) * 1e3);
    return SUCCESS;
}

/* --- the file */

static void set(Device *d, const char *key, const char *rest) {
    Fault f = {"", "", 0, 0, 0, 0};
    Process p = {0, 0, 0};
    char uuid[96];
    unsigned gi, ci, slices = 1;
#define IS(text) (!strcmp(key, text))
    if IS("name") snprintf(d->name, sizeof d->name, "%s", rest);
    else if IS("uuid") snprintf(d->uuid, sizeof d->uuid, "%s", rest);
    else if IS("pci") snprintf(d->pci, sizeof d->pci, "%s", rest);
    else if IS("arch") d->arch = atoi(rest);
    else if IS("chip") d->chip = (unsigned)strtoul(rest, NULL, 16);
    else if IS("slices") d->slices = (unsigned)atoi(rest);
    else if IS("virtual") d->virtual = (unsigned)atoi(rest);
    else if IS("display") d->display = (unsigned)atoi(rest);
    else if IS("memory") d->memory = strtoull(rest, NULL, 10);
    else if IS("refresh") sscanf(rest, "%lf %lf", &d->refresh, &d->refresh_phase);
    else if IS("window") d->window = atof(rest);
    else if IS("average") d->average = atof(rest);
    else if IS("noise") d->noise = atof(rest);
    else if IS("gain") sscanf(rest, "%lf %lf", &d->gain, &d->counter_gain);
    else if IS("tick") sscanf(rest, "%lf %lf %lf", &d->tick, &d->tick_phase, &d->jitter);
    else if IS("latency") sscanf(rest, "%lf %lf", &d->latency, &d->busy);
    else if IS("start") d->start = atof(rest);
    else if IS("fields") d->fields = atoi(rest);
    else if IS("counter") d->counter = atoi(rest);
    else if IS("limit")
        sscanf(rest, "%lf %lf %lf %lf", d->limit, d->limit + 1, d->limit + 2, d->limit + 3);
    else if IS("clocks")
        sscanf(rest, "%lf %lf %lf %lf", d->clocks, d->clocks + 1, d->clocks + 2, d->clocks + 3);
    else if IS("settable") snprintf(d->settable, sizeof d->settable, "%s", rest);
    else if IS("temperature") d->temperature = atof(rest);
    else if IS("utilisation") sscanf(rest, "%lf %lf", d->utilisation, d->utilisation + 1);
    else if IS("reasons") d->reasons = strtoull(rest, NULL, 0);
    else if IS("ecc") d->ecc = atoi(rest);
    else if IS("persistence") d->persistence = atoi(rest);
    else if IS("mig") d->mig = atoi(rest);
    else if IS("present") sscanf(rest, "%lf %lf", d->present, d->present + 1);
    else if IS("part") {
        if (d->parts < MOST_PARTS && sscanf(rest, "%95s %u %u %u", uuid, &gi, &ci, &slices) >= 3) {
            Device *part = d->part[d->parts++] = calloc(1, sizeof *part);
            *part = (Device){.parent = d, .gi = gi, .ci = ci, .slices = slices, .period = 1};
            snprintf(part->uuid, sizeof part->uuid, "%s", uuid);
        }
    } else if IS("process") {
        if (d->processes < MOST_PROCESSES &&
            sscanf(rest, "%u %lf %lf", &p.pid, &p.from, &p.to) == 3)
            d->process[d->processes++] = p;
    } else if IS("fault") {
        if (d->faults < MOST_FAULTS && sscanf(rest, "%11s %lf %lf %lf %47s", f.kind, &f.from, &f.to,
                                              &f.value, f.function) >= 3)
            d->fault[d->faults++] = f;
    } else {
        snprintf(d->curve, sizeof d->curve, "%s", key);
        if IS("recorded") record(d, rest);
        else sscanf(rest, "%lf %lf %lf", &d->a, &d->b, &d->period);
    }
}

static void load(void) {
    static char line[4400], who[16], key[24];
    const char *path = getenv("NVML_SIM");
    FILE *file;
    if (loaded++) return;
    for (unsigned i = 0; i < MOST_DEVICES; i++) {
        Device *d = &devices[i];
        *d = (Device){.a = 100, .period = 1, .gain = 1, .counter_gain = 1, .tick = 0.1,
                      .limit = {700, 700, 200, 700}, .clocks = {1410, 2619, 1980, 2619},
                      .temperature = 55, .utilisation = {50, 25}, .present = {-1e18, 1e18},
                      .memory = 85520809984ULL, .fields = 1, .counter = 1, .arch = 9, .ecc = 1,
                      .persistence = 1, .chip = 0x2330, .slices = 7};
        snprintf(d->name, sizeof d->name, "Simulated GPU");
        snprintf(d->uuid, sizeof d->uuid, "GPU-00000000-0000-0000-0000-%012u", i);
        snprintf(d->pci, sizeof d->pci, "00000000:%02X:00.0", i + 1);
        strcpy(d->curve, "constant");
    }
    file = path ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        int used = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "count %u", &count) == 1 || sscanf(line, "boot %lf", &boot) == 1 ||
            sscanf(line, "driver %80s", driver) == 1 || sscanf(line, "nvml %80s", nvml) == 1 ||
            sscanf(line, "init %d", &init_code) == 1 || sscanf(line, "seed %llu", &seed) == 1)
            continue;
        if (sscanf(line, "%15s %23s %n", who, key, &used) < 2) continue;
        for (unsigned i = 0; i < MOST_DEVICES; i++)
            if (!strcmp(who, "all") || (unsigned)atoi(who) == i) set(&devices[i], key, line + used);
    }
    if (file) fclose(file);
    if (count > MOST_DEVICES) count = MOST_DEVICES;
}

static int is_present(const Device *d) { return now() >= d->present[0] && now() < d->present[1]; }

/* What every call on a device does first. */
static int enter(Device *d, const char *function) {
    Device *board = d->parent ? d->parent : d;
    Fault *f;
    if (!users) return UNINITIALISED;
    while (fault_of(board, "hang", function, -1, now())) usleep(10000);
    if ((f = fault_of(board, "slow", function, -1, now()))) {
        struct timespec t = {(time_t)f->value, (long)(fmod(f->value, 1) * 1e9)};
        nanosleep(&t, NULL);
    }
    if (!is_present(board)) return LOST;
    if (fault(board, "reload")) return UNINITIALISED;
    if ((f = fault_of(board, "once", function, -1, now())) && !f->spent++) return (int)f->value;
    return (f = fault_of(board, "code", function, -1, now())) ? (int)f->value : SUCCESS;
}
#define ENTER(d) do { int code_ = enter(d, __func__); if (code_) return code_; } while (0)
#define BOARD(d) do { ENTER(d); if ((d)->parent) return NOT_SUPPORTED; } while (0)

/* --- NVML: the library and the system */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    load();
    if (init_code) return init_code;
    if (!users++)
        for (unsigned i = 0; i < count; i++)
            if (is_present(&devices[i])) enumerated[shown++] = &devices[i];
    return SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
    if (!users) return UNINITIALISED;
    if (!--users) shown = 0;
    return SUCCESS;
}

static int text(char *out, unsigned size, const char *value) {
    if (strlen(value) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return text(out, size, driver); }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { return text(out, size, nvml); }
int nvmlSystemGetCudaDriverVersion(int *out) { *out = 12080; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12080; return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
        case 1: return "Uninitialized";
        case 3: return "Not Supported";
        case 4: return "Insufficient Permissions";
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Error";
    }
}

/* --- NVML: which devices there are */

int nvmlDeviceGetCount_v2(unsigned *out) { *out = shown; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **out) {
    if (index >= shown) return INVALID;
    ENTER(enumerated[index]);
    *out = enumerated[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **out) {
    for (unsigned i = 0; i < shown; i++) {
        if (strcmp(enumerated[i]->uuid, uuid)) continue;
        ENTER(enumerated[i]);
        *out = enumerated[i];
        return SUCCESS;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, Device **out) {
    for (unsigned i = 0; i < shown; i++) {
        if (strcasecmp(enumerated[i]->pci, pci)) continue;
        ENTER(enumerated[i]);
        *out = enumerated[i];
        return SUCCESS;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(Device *d, unsigned *out) {
    ENTER(d);
    for (unsigned i = 0; i < shown; i++)
        if (enumerated[i] == d) *out = i;
    return SUCCESS;
}

int nvmlDeviceGetName(Device *d, char *out, unsigned size) {
    ENTER(d);
    return text(out, size, d->parent ? d->parent->name : d->name);
}
int nvmlDeviceGetUUID(Device *d, char *out, unsigned size) {
    ENTER(d);
    return text(out, size, d->uuid);
}
int nvmlDeviceGetMinorNumber(Device *d, unsigned *out) {
    BOARD(d);
    *out = (unsigned)(d - devices);
    return SUCCESS;
}
int nvmlDeviceGetArchitecture(Device *d, unsigned *out) {
    ENTER(d);
    *out = (unsigned)(d->parent ? d->parent : d)->arch;
    return SUCCESS;
}
int nvmlDeviceGetBrand(Device *d, unsigned *out) { ENTER(d); *out = 2; return SUCCESS; }
int nvmlDeviceGetSerial(Device *d, char *out, unsigned size) {
    BOARD(d);
    return text(out, size, "0000000000001");
}

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
} PciInfo;
int nvmlDeviceGetPciInfo_v3(Device *d, PciInfo *out) {
    BOARD(d);
    *out = (PciInfo){.id = d->chip << 16 | 0x10de, .subsystem = 0x16c110de};
    sscanf(d->pci, "%x:%x:%x", &out->domain, &out->bus, &out->device);
    snprintf(out->bus_id, sizeof out->bus_id, "%s", d->pci);
    snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.0", out->domain & 0xffff,
             out->bus & 0xff, out->device & 0xff);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) {
    BOARD(d);
    int mig = (int)at_present(d, "mig", d->mig);
    if (mig < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned)mig;
    return SUCCESS;
}
int nvmlDeviceIsMigDeviceHandle(Device *d, unsigned *out) {
    ENTER(d);
    *out = d->parent != NULL;
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *out) {
    BOARD(d);
    *out = d->mig > 0 ? d->slices : 0;
    return SUCCESS;
}
typedef struct { unsigned multiprocessors, engines[5], gpu_slices, compute_slices;
                 unsigned long long memory_mb; } Attributes;
int nvmlDeviceGetAttributes_v2(Device *d, Attributes *out) {
    ENTER(d);
    if (!d->parent) return NOT_SUPPORTED;
    *out = (Attributes){.multiprocessors = 16 * d->slices, .gpu_slices = d->slices,
                        .compute_slices = d->slices, .memory_mb = 9728 * d->slices};
    return SUCCESS;
}
int nvmlDeviceGetVirtualizationMode(Device *d, unsigned *out) {
    BOARD(d);
    *out = d->virtual;
    return SUCCESS;
}
int nvmlDeviceGetDisplayActive(Device *d, unsigned *out) {
    BOARD(d);
    *out = d->display;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(Device *d, unsigned index, Device **out) {
    BOARD(d);
    if (d->mig <= 0) return NOT_SUPPORTED;
    if (index >= (unsigned)d->parts) return NOT_FOUND;
    *out = d->part[index];
    return SUCCESS;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *d, Device **out) {
    ENTER(d);
    if (!d->parent) return INVALID;
    *out = d->parent;
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(Device *d, unsigned *out) {
    ENTER(d);
    if (!d->parent) return NOT_SUPPORTED;
    *out = d->gi;
    return SUCCESS;
}
int nvmlDeviceGetComputeInstanceId(Device *d, unsigned *out) {
    ENTER(d);
    if (!d->parent) return NOT_SUPPORTED;
    *out = d->ci;
    return SUCCESS;
}

/* --- NVML: energy and power */

int nvmlDeviceGetTotalEnergyConsumption(Device *d, unsigned long long *out) {
    ENTER(d);
    return energy_mj(d, 0, out);
}
int nvmlDeviceGetPowerUsage(Device *d, unsigned *out) { ENTER(d); return power_mw(d, 0, out); }

typedef struct {
    unsigned id, scope;
    long long time, latency;
    unsigned type;
    int code;
    union { unsigned u; unsigned long long ull; } value;
} FieldValue;

static int one_field(Device *d, FieldValue *v) {
    int known = v->id == 83 || (d->fields && (v->id == 185 || v->id == 186 || v->id == 191));
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    v->time = t.tv_sec * 1000000LL + t.tv_nsec / 1000;
    v->latency = 0;
    if (!known || v->scope) return NOT_SUPPORTED;
    int energy = v->id == 83 || v->id == 191;
    v->type = fault_of(d, "strange", NULL, v->id, now()) ? 99 : energy ? 3 : 1;
    if (!energy) return power_mw(d, v->id, &v->value.u);
    int code = energy_mj(d, v->id, &v->value.ull);
    if (fault_of(d, "narrow", NULL, v->id, now())) {
        v->type = 1;
        v->value.ull &= 0xffffffff;
    }
    return code;
}

int nvmlDeviceGetFieldValues(Device *d, int n, FieldValue *v) {
    ENTER(d);
    for (int i = 0; i < n; i++) v[i].code = one_field(d, &v[i]);
    return SUCCESS;
}

static unsigned milli(double watts) { return (unsigned)lround(watts * 1e3); }
static unsigned limit_mw(Device *d) {
    unsigned last = milli(at_present(d, "limit", d->limit[0]));
    FILE *file = d->settable[0] ? fopen(d->settable, "r") : NULL;
    while (file && fscanf(file, "%u", &last) == 1) {}
    if (file) fclose(file);
    return last;
}
int nvmlDeviceGetEnforcedPowerLimit(Device *d, unsigned *out) {
    BOARD(d);
    *out = limit_mw(d);
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementLimit(Device *d, unsigned *out) {
    BOARD(d);
    *out = limit_mw(d);
    return SUCCESS;
}
int nvmlDeviceSetPowerManagementLimit(Device *d, unsigned mw) {
    BOARD(d);
    if (!d->settable[0]) return FORBIDDEN;
    if (mw < milli(d->limit[2]) || mw > milli(d->limit[3])) return INVALID;
    struct stat about;
    int shut = !stat(d->settable, &about) && !(about.st_mode & S_IWUSR); /* also to root */
    FILE *file = shut ? NULL : fopen(d->settable, "a");
    if (!file) return FORBIDDEN;
    fprintf(file, "%u\n", mw);
    fclose(file);
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementDefaultLimit(Device *d, unsigned *out) {
    BOARD(d);
    *out = milli(d->limit[1]);
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementLimitConstraints(Device *d, unsigned *least, unsigned *most) {
    BOARD(d);
    *least = milli(d->limit[2]), *most = milli(d->limit[3]);
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementMode(Device *d, unsigned *out) { BOARD(d); *out = 1; return SUCCESS; }

/* --- NVML: what describes a device and its state */

static int tristate(int value, unsigned *current) {
    if (value < 0) return NOT_SUPPORTED;
    *current = (unsigned)value;
    return SUCCESS;
}
int nvmlDeviceGetEccMode(Device *d, unsigned *current, unsigned *pending) {
    BOARD(d);
    return tristate(d->ecc, current) || tristate(d->ecc, pending) ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetPersistenceMode(Device *d, unsigned *out) {
    BOARD(d);
    return tristate(d->persistence, out);
}
int nvmlDeviceGetComputeMode(Device *d, unsigned *out) { ENTER(d); *out = 0; return SUCCESS; }

int nvmlDeviceGetMemoryInfo(Device *d, unsigned long long *out) {
    ENTER(d);
    const Device *board = d->parent ? d->parent : d;
    out[0] = board->memory, out[1] = board->memory - (1ULL << 30), out[2] = 1ULL << 30;
    return SUCCESS;
}
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;
int nvmlDeviceGetMemoryInfo_v2(Device *d, Memory *out) {
    ENTER(d);
    const Device *board = d->parent ? d->parent : d;
    out->total = board->memory, out->used = 1ULL << 30, out->reserved = 0;
    out->free = out->total - out->used;
    return SUCCESS;
}

/* Neither a Grace Hopper nor a user who may change more than `settable`. */
int nvmlDeviceGetC2cModeInfoV(Device *d, unsigned *out) { BOARD(d); (void)out; return NOT_SUPPORTED; }
int nvmlDeviceSetPersistenceMode(Device *d, unsigned mode) { BOARD(d); (void)mode; return FORBIDDEN; }

typedef struct { unsigned gpu, memory; } Utilization;
int nvmlDeviceGetUtilizationRates(Device *d, Utilization *out) {
    BOARD(d);
    *out = (Utilization){(unsigned)d->utilisation[0], (unsigned)d->utilisation[1]};
    return SUCCESS;
}

/* Kinds: 0 graphics, 1 multiprocessors, 2 memory, 3 video. */
static int clock_mhz(Device *d, unsigned kind, int most, unsigned *out) {
    if (kind > 3) return INVALID;
    double usual = d->clocks[(kind == 2) + 2 * most];
    *out = (unsigned)(kind == 2 || most ? usual : at_present(d, "clock", usual));
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(Device *d, unsigned kind, unsigned *out) {
    BOARD(d);
    return clock_mhz(d, kind, 0, out);
}
int nvmlDeviceGetMaxClockInfo(Device *d, unsigned kind, unsigned *out) {
    BOARD(d);
    return clock_mhz(d, kind, 1, out);
}
int nvmlDeviceGetApplicationsClock(Device *d, unsigned kind, unsigned *out) {
    BOARD(d);
    if (kind == 2) return clock_mhz(d, kind, 1, out);
    *out = (unsigned)at_present(d, "application", d->clocks[2]);
    return kind > 3 ? INVALID : SUCCESS;
}
int nvmlDeviceGetClock(Device *d, unsigned kind, unsigned which, unsigned *out) {
    BOARD(d);
    return clock_mhz(d, kind, which == 3, out);
}

static unsigned long long reasons_now(Device *d) {
    return (unsigned long long)at_present(d, "reasons", (double)d->reasons);
}
int nvmlDeviceGetCurrentClocksEventReasons(Device *d, unsigned long long *out) {
    BOARD(d);
    *out = reasons_now(d);
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(Device *d, unsigned long long *out) {
    BOARD(d);
    *out = reasons_now(d);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(Device *d, unsigned sensor, unsigned *out) {
    BOARD(d);
    if (sensor) return INVALID;
    *out = (unsigned)at_present(d, "temperature", d->temperature);
    return SUCCESS;
}
typedef struct { unsigned version, sensor; int value; } Temperature;
int nvmlDeviceGetTemperatureV(Device *d, Temperature *out) {
    BOARD(d);
    if (out->sensor) return INVALID;
    out->value = (int)at_present(d, "temperature", d->temperature);
    return SUCCESS;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned gi, ci; } ProcessInfo;
typedef struct { unsigned pid; unsigned long long memory; } OldProcessInfo;

/* Into one of the two, whichever is given. */
static int list_processes(Device *d, unsigned *n, ProcessInfo *out, OldProcessInfo *old) {
    unsigned found = 0, room = *n;
    double t = now();
    for (int i = 0; i < d->processes; i++) {
        const Process *p = &d->process[i];
        if (t < p->from || t >= p->to) continue;
        if (out && found < room)
            out[found] = (ProcessInfo){p->pid, 1 << 20, 0xffffffff, 0xffffffff};
        if (old && found < room) old[found] = (OldProcessInfo){p->pid, 1 << 20};
        found++;
    }
    *n = found > room && fault(d, "crowd") ? room + 1 : found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) {
    ENTER(d);
    return list_processes(d, n, out, NULL);
}
int nvmlDeviceGetComputeRunningProcesses_v2(Device *d, unsigned *n, ProcessInfo *out) {
    ENTER(d);
    return list_processes(d, n, out, NULL);
}
int nvmlDeviceGetComputeRunningProcesses(Device *d, unsigned *n, OldProcessInfo *out) {
    ENTER(d);
    return list_processes(d, n, NULL, out);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) {
    (void)out;
    ENTER(d);
    *n = 0;
    return SUCCESS;
}
