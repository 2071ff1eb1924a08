/* A stand-in for libnvidia-ml.so.1: boards whose power is a known function of CLOCK_MONOTONIC.
 *
 * NVML_SIM names a file of lines `device key value…`; `all` stands for every device:
 *
 *   count N                      (no device) number of boards
 *   boot T                       (no device) CLOCK_MONOTONIC, s: the curves' and counters' origin
 *   driver TEXT                  (no device) version of the driver
 *   init CODE                    (no device) what nvmlInitWithFlags answers
 *   I name TEXT | I uuid TEXT
 *   I constant W | I square LOW HIGH PERIOD | I ramp FROM TO PERIOD   (a saw tooth)
 *   I tick S                     the counter moves every S seconds
 *   I refresh S                  the power register is renewed every S seconds
 *   I fields 0|1                 whether fields 186 and 191 exist
 *   I counter 0|1                whether there is an energy counter at all
 *   I mig 0|1 | I limit W
 *   I process PID FROM TO        a compute process between two times
 *   I fault KIND FROM TO [VALUE] seconds after `boot`; kinds:
 *       code      every call answers VALUE
 *       power     power alone answers VALUE
 *       energy    the counter alone answers VALUE
 *       zero      power reads 0
 *       frozen    the counter stands still
 *       back      the counter starts again from 0 at FROM
 *       gain      power reads VALUE times the truth, the counter does not
 *       slow      every call takes VALUE seconds
 *       hang      every call takes for ever
 *
 * Only what bench and other tools call is exported. The file is read once.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST_DEVICES 16
#define MOST_FAULTS 16
#define MOST_PROCESSES 8

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { char kind[12]; double from, to, value; } Fault;
typedef struct { unsigned pid; double from, to; } Process;
typedef struct {
    char name[96], uuid[96], curve[24];
    double a, b, period, tick, refresh, limit;
    int fields, counter, mig, faults, processes;
    Fault fault[MOST_FAULTS];
    Process process[MOST_PROCESSES];
} Device;

static Device devices[MOST_DEVICES];
static unsigned count;
static double boot;
static char driver[81] = "570.00";
static int init_code, loaded;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9 - boot;
}

static double power_at(const Device *d, double t) {
    double part = t / d->period - floor(t / d->period);
    if (!strcmp(d->curve, "square")) return part < 0.5 ? d->b : d->a;
    if (!strcmp(d->curve, "ramp")) return d->a + (d->b - d->a) * part;
    return d->a;
}

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
    return d->a * t;
}

static const Fault *fault(const Device *d, const char *kind, double t) {
    for (int i = 0; i < d->faults; i++) {
        const Fault *f = &d->fault[i];
        if (!strcmp(f->kind, kind) && t >= f->from && t < f->to) return f;
    }
    return NULL;
}

static void set(Device *d, const char *key, const char *rest) {
    Fault f = {"", 0, 0, 0};
    Process p = {0, 0, 0};
    if (!strcmp(key, "name")) snprintf(d->name, sizeof d->name, "%s", rest);
    else if (!strcmp(key, "uuid")) snprintf(d->uuid, sizeof d->uuid, "%s", rest);
    else if (!strcmp(key, "tick")) d->tick = atof(rest);
    else if (!strcmp(key, "refresh")) d->refresh = atof(rest);
    else if (!strcmp(key, "fields")) d->fields = atoi(rest);
    else if (!strcmp(key, "counter")) d->counter = atoi(rest);
    else if (!strcmp(key, "mig")) d->mig = atoi(rest);
    else if (!strcmp(key, "limit")) d->limit = atof(rest);
    else if (!strcmp(key, "process")) {
        if (d->processes < MOST_PROCESSES &&
            sscanf(rest, "%u %lf %lf", &p.pid, &p.from, &p.to) == 3)
            d->process[d->processes++] = p;
    } else if (!strcmp(key, "fault")) {
        if (d->faults < MOST_FAULTS &&
            sscanf(rest, "%11s %lf %lf %lf", f.kind, &f.from, &f.to, &f.value) >= 3)
            d->fault[d->faults++] = f;
    } else {
        snprintf(d->curve, sizeof d->curve, "%s", key);
        d->period = 1;
        sscanf(rest, "%lf %lf %lf", &d->a, &d->b, &d->period);
    }
}

static void load(void) {
    char line[256], who[16], key[24];
    const char *path = getenv("NVML_SIM");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (loaded++) { if (file) fclose(file); return; }
    for (unsigned i = 0; i < MOST_DEVICES; i++) {
        Device *d = &devices[i];
        *d = (Device){.a = 100, .period = 1, .tick = 0.1, .limit = 700, .fields = 1, .counter = 1};
        snprintf(d->name, sizeof d->name, "Simulated GPU");
        snprintf(d->uuid, sizeof d->uuid, "GPU-00000000-0000-0000-0000-%012u", i);
        strcpy(d->curve, "constant");
    }
    while (file && fgets(line, sizeof line, file)) {
        int used = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "count %u", &count) == 1 || sscanf(line, "boot %lf", &boot) == 1 ||
            sscanf(line, "driver %80s", driver) == 1 || sscanf(line, "init %d", &init_code) == 1)
            continue;
        if (sscanf(line, "%15s %23s %n", who, key, &used) < 2) continue;
        for (unsigned i = 0; i < MOST_DEVICES; i++)
            if (!strcmp(who, "all") || (unsigned)atoi(who) == i) set(&devices[i], key, line + used);
    }
    if (file) fclose(file);
}

/* What every call on a device does first. */
static int enter(const Device *d) {
    const Fault *f = fault(d, "hang", now());
    while (f) pause();
    if ((f = fault(d, "slow", now()))) {
        struct timespec t = {(time_t)f->value, (long)(fmod(f->value, 1) * 1e9)};
        nanosleep(&t, NULL);
    }
    return (f = fault(d, "code", now())) ? (int)f->value : SUCCESS;
}
#define ENTER(d) do { int code_ = enter(d); if (code_) return code_; } while (0)

static int energy_mj(const Device *d, unsigned long long *out) {
    double t = now(), since = 0;
    const Fault *f = fault(d, "energy", t);
    if (f) return (int)f->value;
    if (!d->counter) return NOT_SUPPORTED;
    for (int i = 0; i < d->faults; i++) {
        if (!strcmp(d->fault[i].kind, "back") && t >= d->fault[i].from) since = d->fault[i].from;
        if (!strcmp(d->fault[i].kind, "frozen") && t >= d->fault[i].from && t < d->fault[i].to)
            t = d->fault[i].from;
    }
    if (d->tick > 0) t = floor(t / d->tick) * d->tick;
    *out = (unsigned long long)(fmax(0, energy_at(d, t) - energy_at(d, since)) * 1e3);
    return SUCCESS;
}

static int power_mw(const Device *d, unsigned *out) {
    double t = now();
    const Fault *f = fault(d, "power", t);
    if (f) return (int)f->value;
    if (d->refresh > 0) t = floor(t / d->refresh) * d->refresh;
    *out = (unsigned)(power_at(d, t) * 1e3);
    if ((f = fault(d, "gain", t))) *out = (unsigned)(*out * f->value);
    if (fault(d, "zero", now())) *out = 0;
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; load(); return init_code; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *out) { *out = count; return SUCCESS; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    snprintf(out, size, "%s", driver);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **out) {
    if (index >= count) return INVALID;
    ENTER(&devices[index]);
    *out = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetName(Device *d, char *out, unsigned size) {
    ENTER(d);
    snprintf(out, size, "%s", d->name);
    return SUCCESS;
}

int nvmlDeviceGetUUID(Device *d, char *out, unsigned size) {
    ENTER(d);
    snprintf(out, size, "%s", d->uuid);
    return SUCCESS;
}

int nvmlDeviceGetArchitecture(Device *d, unsigned *out) { ENTER(d); *out = 9; return SUCCESS; }

int nvmlDeviceGetMemoryInfo(Device *d, unsigned long long *out) {
    ENTER(d);
    out[0] = 80000000000ULL, out[1] = 79000000000ULL, out[2] = 1000000000ULL;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(Device *d, unsigned long long *out) {
    ENTER(d);
    return energy_mj(d, out);
}

int nvmlDeviceGetPowerUsage(Device *d, unsigned *out) { ENTER(d); return power_mw(d, out); }

typedef struct {
    unsigned id, scope;
    long long time, latency;
    unsigned type;
    int code;
    union { unsigned u; unsigned long long ull; } value;
} FieldValue;

int nvmlDeviceGetFieldValues(Device *d, int n, FieldValue *v) {
    ENTER(d);
    for (int i = 0; i < n; i++) {
        if (v[i].id == 186 && d->fields) v[i].type = 1, v[i].code = power_mw(d, &v[i].value.u);
        else if ((v[i].id == 191 && d->fields) || v[i].id == 83)
            v[i].type = 3, v[i].code = energy_mj(d, &v[i].value.ull);
        else v[i].code = NOT_SUPPORTED;
    }
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(Device *d, unsigned *out) {
    ENTER(d);
    *out = (unsigned)(d->limit * 1e3);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) {
    ENTER(d);
    *current = *pending = (unsigned)d->mig;
    return SUCCESS;
}

typedef struct { unsigned gpu, memory; } Utilization;
int nvmlDeviceGetUtilizationRates(Device *d, Utilization *out) {
    ENTER(d);
    *out = (Utilization){50, 25};
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(Device *d, int kind, unsigned *out) {
    (void)kind;
    ENTER(d);
    *out = 1410;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(Device *d, int sensor, unsigned *out) {
    (void)sensor;
    ENTER(d);
    *out = 55;
    return SUCCESS;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned gi, ci; } ProcessInfo;
int nvmlDeviceGetComputeRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) {
    unsigned found = 0, room = *n;
    double t = now();
    ENTER(d);
    for (int i = 0; i < d->processes; i++) {
        if (t < d->process[i].from || t >= d->process[i].to) continue;
        if (out && found < room) out[found] = (ProcessInfo){d->process[i].pid, 1 << 20, 0, 0};
        found++;
    }
    *n = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

const char *nvmlErrorString(int code) {
    switch (code) {
        case 3: return "Not Supported";
        case 4: return "Insufficient Permissions";
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Error";
    }
}
