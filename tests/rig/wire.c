/* A wire between two network namespaces that delays, loses and limits: what `tc netem` is for where the kernel has none.
 * Packets go from a tun device to the other; each leaves `delay` after it came, those that chance takes never, and no faster than
 * the rate, behind a queue of 50 ms that drops what does not fit.
 *   wire NAMESPACE_A NAMESPACE_B DELAY_US LOSS_PPM MBIT SEED      (MBIT 0: no limit); devices are called wire0
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define ROOM 16384
#define MOST 2048
#define QUEUE_NS 50000000u

struct packet {
    uint64_t due;
    uint16_t size;
    char bytes[MOST];
};

/* One direction: a ring of packets in the order in which they leave, and when the line is free again. */
struct way {
    int in, out;
    uint64_t free_at;
    unsigned head, count;
    struct packet *ring;
};

static uint64_t delay_ns, loss_ppm, bits_per_s, chance;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t drawn(void) { /* xorshift64*, Vigna 2016 */
    chance ^= chance >> 12, chance ^= chance << 25, chance ^= chance >> 27;
    return (chance * 2685821657736338717u) >> 32;
}

static int tun_in(const char *namespace) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int ns = open(path, O_RDONLY | O_CLOEXEC), tun;
    if (ns < 0 || setns(ns, CLONE_NEWNET) || (tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0) return -1;
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strncpy(request.ifr_name, "wire0", sizeof request.ifr_name - 1);
    return ioctl(tun, TUNSETIFF, &request) ? -1 : tun;
}

static void take(struct way *way) {
    for (;;) {
        struct packet *packet = &way->ring[(way->head + way->count) % ROOM];
        ssize_t size = read(way->in, packet->bytes, MOST);
        if (size <= 0) return;
        uint64_t now = now_ns(), leaves = now;
        if (drawn() % 1000000u < loss_ppm || way->count == ROOM - 1) continue;
        if (bits_per_s) {
            uint64_t start = way->free_at > now ? way->free_at : now;
            if (start - now > QUEUE_NS) continue;
            leaves = way->free_at = start + (uint64_t)size * 8u * 1000000000u / bits_per_s;
        }
        packet->size = (uint16_t)size;
        packet->due = leaves + delay_ns;
        way->count++;
    }
}

/* Sends what is due; returns when the next one is, 0 where there is none. */
static uint64_t give(struct way *way) {
    while (way->count && way->ring[way->head].due <= now_ns()) {
        struct packet *packet = &way->ring[way->head];
        if (write(way->out, packet->bytes, packet->size) < 0) { /* the device is going down */
        }
        way->head = (way->head + 1) % ROOM;
        way->count--;
    }
    return way->count ? way->ring[way->head].due : 0;
}

int main(int argc, char **argv) {
    if (argc != 7) return fputs("wire NAMESPACE_A NAMESPACE_B DELAY_US LOSS_PPM MBIT SEED\n", stderr), 2;
    delay_ns = 1000u * strtoull(argv[3], NULL, 10);
    loss_ppm = strtoull(argv[4], NULL, 10);
    bits_per_s = 1000000u * strtoull(argv[5], NULL, 10);
    chance = 0x9e3779b97f4a7c15u ^ strtoull(argv[6], NULL, 10);
    int a = tun_in(argv[1]), b = tun_in(argv[2]);
    if (a < 0 || b < 0) return perror("wire"), 1;
    prctl(PR_SET_TIMERSLACK, 1); /* else every sleep may last 50 us longer */
    struct way ways[2] = {{.in = a, .out = b}, {.in = b, .out = a}};
    for (int i = 0; i < 2; i++) ways[i].ring = malloc(ROOM * sizeof *ways[i].ring);
    puts("wire is up");
    fflush(stdout);
    for (;;) {
        uint64_t next = 0;
        for (int i = 0; i < 2; i++) {
            take(&ways[i]);
            uint64_t due = give(&ways[i]);
            if (due && (!next || due < next)) next = due;
        }
        uint64_t now = now_ns();
        if (next && next < now + 120000u) continue; /* the last stretch awake: sleeping takes as long as the scheduler likes */
        struct pollfd ends[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
        uint64_t left = next ? next - now - 100000u : 1000000000u;
        struct timespec patience = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
        ppoll(ends, 2, &patience, NULL);
    }
}
