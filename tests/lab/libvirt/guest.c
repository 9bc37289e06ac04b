/* Copyright: (c) 2026, the bigvm contributors
 * GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The lab's guest: the only program of a virtual machine, its PID 1. It writes to a chosen number of MiB at a chosen
 * rate, and once a second a line with a counter that only grows: "the counter goes on at the target" is the proof of
 * life after a migration. It also answers as a guest agent does (ping, sync, time, shutdown), where there is a channel.
 *
 * Kernel command line: dirty_mb=64 dirty_rate=20 (MiB/s; 0 = as fast as it can, -1 = not at all), dirty_random=1 to write
 * to pages at random; else to one after the other.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define TICK_MS 20
#define MOST_LATE_MS 60

static volatile unsigned long written; /* pages */

static long option(const char *line, const char *name, long fallback)
{
    const char *found = strstr(line, name);
    return found ? strtol(found + strlen(name), NULL, 10) : fallback;
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void load_drivers(void)
{
    char path[32];
    for (int i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "/driver%d.ko", i);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            break;
        if (syscall(SYS_finit_module, fd, "", 0))
            perror(path);
        close(fd);
    }
}

/* The port named after the agent, found in sysfs; -1 without one. */
static int open_channel(void)
{
    for (int tries = 0; tries < 50; tries++, usleep(100000)) {
        DIR *ports = opendir("/sys/class/virtio-ports");
        struct dirent *entry;
        while (ports && (entry = readdir(ports))) {
            char path[600], name[64] = "";
            snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
            FILE *file = fopen(path, "r");
            if (!file)
                continue;
            if (!fgets(name, sizeof name, file))
                name[0] = 0;
            fclose(file);
            if (strncmp(name, "org.qemu.guest_agent.0", 22) == 0) {
                snprintf(path, sizeof path, "/dev/%s", entry->d_name);
                closedir(ports);
                return open(path, O_RDWR | O_CLOEXEC);
            }
        }
        if (ports)
            closedir(ports);
    }
    return -1;
}

static void answer(int fd, const char *request)
{
    char text[256];
    const char *id = strstr(request, "\"id\"");
    if (strstr(request, "guest-sync")) {
        int marked = strstr(request, "guest-sync-delimited") != NULL;
        snprintf(text, sizeof text, "%s{\"return\": %lld}\n", marked ? "\xff" : "", id ? strtoll(strchr(id, ':') + 1, NULL, 10) : 0);
    } else if (strstr(request, "guest-get-time")) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        snprintf(text, sizeof text, "{\"return\": %lld}\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    } else if (strstr(request, "guest-shutdown")) {
        printf("going down\n");
        reboot(RB_POWER_OFF);
        return;
    } else if (strstr(request, "guest-ping")) {
        snprintf(text, sizeof text, "{\"return\": {}}\n");
    } else {
        snprintf(text, sizeof text, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"not known to this guest\"}}\n");
    }
    if (write(fd, text, strlen(text)) < 0)
        perror("agent");
}

static void *agent(void *unused)
{
    char line[4096];
    size_t length = 0;
    int fd = open_channel();
    if (fd < 0)
        return NULL;
    for (;;) {
        unsigned char byte;
        if (read(fd, &byte, 1) != 1) { /* nobody listens: the host end is closed */
            usleep(100000);
            continue;
        }
        if (byte == 0xff) {
            length = 0;
        } else if (byte == '\n') {
            line[length] = 0;
            if (length)
                answer(fd, line);
            length = 0;
        } else if (length < sizeof line - 1) {
            line[length++] = (char)byte;
        }
    }
    return unused;
}

static void *beat(void *unused)
{
    for (unsigned long count = 0;; count++) {
        printf("beat %lu written %lu MiB\n", count, written / 256);
        struct timespec second = {1, 0};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL);
    }
    return unused;
}

int main(void)
{
    char line[4096] = "";
    pthread_t thread;

    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    FILE *file = fopen("/proc/cmdline", "r");
    if (file) {
        if (!fgets(line, sizeof line, file))
            line[0] = 0;
        fclose(file);
    }
    long size = option(line, "dirty_mb=", 16), rate = option(line, "dirty_rate=", -1), at_random = option(line, "dirty_random=", 0);
    load_drivers();
    pthread_create(&thread, NULL, beat, NULL);
    pthread_create(&thread, NULL, agent, NULL);

    size_t pages = (size_t)size * 256, next = 0;
    unsigned char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        printf("no %ld MiB of memory\n", size);
        size = 0;
    }
    for (size_t i = 0; size && i < pages; i++) /* no zero pages: they would cost nothing to send */
        memset(memory + i * PAGE, (int)(i % 255) + 1, PAGE);
    if (rate < 0 || !size)
        for (;;)
            pause();
    /* By the clock, so that the rate is the one chosen. But little catching up: a guest that was slowed down has written less. */
    size_t share = rate ? (size_t)rate * 256 * TICK_MS / 1000 : pages;
    unsigned long seed = 88172645463325252UL;
    long long due = now_ms();
    for (;;) {
        for (size_t i = 0; i < share; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            next = at_random ? seed % pages : (next + 1) % pages;
            *(unsigned long *)(memory + next * PAGE) = ++written;
        }
        if (!rate)
            continue;
        due += TICK_MS;
        long long now = now_ms();
        if (now < due)
            usleep((useconds_t)(due - now) * 1000);
        else if (now - due > MOST_LATE_MS)
            due = now;
    }
}
