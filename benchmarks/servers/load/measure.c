#define _GNU_SOURCE
#include "generator.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MOST_PROCESSES 64
#define MOST_LATENCIES 4000000u

uint64_t units, turns, empty_turns, wrong_replies;

static int processes[MOST_PROCESSES], process_count;
/* In tenths of a microsecond: seven minutes are the most then. */
static uint32_t *latencies;
static size_t latency_count;

void measure_process(int pid) {
    if (process_count == MOST_PROCESSES)
        fail("more than %d processes", MOST_PROCESSES);
    processes[process_count++] = pid;
}

void latency(uint64_t nanoseconds) {
    if (!latencies)
        latencies = malloc(sizeof *latencies * MOST_LATENCIES);
    if (latency_count < MOST_LATENCIES)
        latencies[latency_count++] = nanoseconds / 100 < UINT32_MAX ? (uint32_t)(nanoseconds / 100) : UINT32_MAX;
}

void forget_latencies(void) { latency_count = 0; }

static int by_size(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static double seconds_of(clockid_t clock) {
    struct timespec time;
    return clock_gettime(clock, &time) ? 0 : (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* User and system time of all threads. */
static double server_cpu(void) {
    double sum = 0;
    for (int i = 0; i < process_count; i++) {
        clockid_t clock;
        if (!clock_getcpuclockid(processes[i], &clock))
            sum += seconds_of(clock);
    }
    return sum;
}

static double server_memory(void) {
    double sum = 0;
    for (int i = 0; i < process_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "/proc/%d/statm", processes[i]);
        FILE *file = fopen(name, "r");
        if (!file)
            continue;
        unsigned long size, resident;
        if (fscanf(file, "%lu %lu", &size, &resident) == 2)
            sum += (double)resident * (double)sysconf(_SC_PAGESIZE);
        fclose(file);
    }
    return sum;
}

/* What all that runs on this machine has used. */
static double machine_cpu(void) {
    unsigned long user, nice, system, idle, wait, interrupts, soft_interrupts;
    double used = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (!file)
        return 0;
    if (fscanf(file, "cpu %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &system, &idle, &wait, &interrupts,
               &soft_interrupts) == 7)
        used = (double)(user + nice + system + interrupts + soft_interrupts) / (double)sysconf(_SC_CLK_TCK);
    fclose(file);
    return used;
}

moment look(void) {
    moment found = {.units = units, .turns = turns, .empty_turns = empty_turns};
    found.machine_cpu = machine_cpu();
    found.server_memory = server_memory();
    found.server_cpu = server_cpu();
    found.own_cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    found.at = now();
    return found;
}

void report(const char *step, const moment *before, const moment *after, uint64_t count) {
    double seconds = (double)(after->at - before->at) / 1e9, cpu = after->server_cpu - before->server_cpu;
    double own = after->own_cpu - before->own_cpu, machine = after->machine_cpu - before->machine_cpu;
    double looks = (double)(after->turns - before->turns);
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"step\": \"%s\", \"count\": %llu, \"seconds\": %.6f, \"cpu\": %.9f, \"memory_before\": %.0f, "
           "\"memory_after\": %.0f, \"generator_cpu\": %.6f, \"generator_idle\": %.4f, \"others_cpu\": %.4f, ",
           step, (unsigned long long)count, seconds, cpu, before->server_memory, after->server_memory, own,
           looks > 0 ? (double)(after->empty_turns - before->empty_turns) / looks : 0, machine - cpu - own);
    if (latency_count)
        printf("\"p50\": %.2f, \"p99\": %.2f, ", latencies[latency_count / 2] / 10.0,
               latencies[latency_count * 99 / 100] / 10.0);
    printf("\"wrong\": %llu}\n", (unsigned long long)wrong_replies);
    fflush(stdout);
}
