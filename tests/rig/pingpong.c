/* TCP request and response, the floor that the probe's ping-pong is held against: kernel stamps on both sides, the time that
 * the other side held a request told in the reply and taken off. One connection, one message in flight.
 *   pingpong server PORT            serves one connection after the other until it is told to stop
 *   pingpong client HOST PORT BYTES RATE_HZ SECONDS      prints count, p50, p90, p99 in nanoseconds (RATE_HZ 0: back to back)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void prepare(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
}

/* A whole message; its arrival on the monotonic clock, 0 when the other side left. */
static uint64_t hear(int fd, char *buffer, size_t size) {
    uint64_t arrived = 0;
    for (size_t got = 0; got < size;) {
        char control[64];
        struct iovec part = {buffer + got, size - got};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(fd, &message, 0);
        if (n <= 0) return 0;
        arrived = clock_ns(CLOCK_MONOTONIC);
        uint64_t real = clock_ns(CLOCK_REALTIME);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        if (head != NULL && head->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(head), sizeof stamp);
            uint64_t at = (uint64_t)stamp.tv_sec * 1000000000u + (uint64_t)stamp.tv_nsec;
            if (at <= real) arrived -= real - at;
        }
        got += (size_t)n;
    }
    return arrived;
}

static int listening(uint16_t port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&where, sizeof where) || listen(listener, 1024)) return -1;
    puts("ready");
    fflush(stdout);
    return listener;
}

static int connected(const char *host, uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &where.sin_addr);
    if (connect(fd, (struct sockaddr *)&where, sizeof where)) return -1;
    prepare(fd);
    return fd;
}

static int serve(uint16_t port) {
    int listener = listening(port);
    while (listener >= 0) {
        int fd = accept(listener, NULL, NULL);
        uint32_t size = 0;
        static char buffer[65536];
        prepare(fd);
        if (hear(fd, (char *)&size, sizeof size) != 0) {
            size = ntohl(size);
            for (uint64_t arrived; size >= 16 && size <= sizeof buffer && (arrived = hear(fd, buffer, size)) != 0;) {
                uint64_t held = clock_ns(CLOCK_MONOTONIC) - arrived;
                memcpy(buffer, &held, sizeof held);
                if (send(fd, buffer, size, MSG_NOSIGNAL) != (ssize_t)size) break;
            }
        }
        close(fd);
    }
    return 1;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int measure(const char *host, uint16_t port, uint32_t size, uint64_t rate, uint64_t seconds) {
    int fd = connected(host, port);
    if (fd < 0) return 1;
    uint32_t told = htonl(size);
    static char buffer[65536];
    send(fd, &told, sizeof told, 0);
    size_t room = 1 << 24, count = 0;
    uint64_t *trips = malloc(room * sizeof *trips);
    uint64_t start = clock_ns(CLOCK_MONOTONIC), end = start + seconds * 1000000000u, step = rate ? 1000000000u / rate : 0;
    for (uint64_t number = 0; count < room; number++) {
        if (step) {
            uint64_t due = start + number * step;
            struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
        uint64_t sent = clock_ns(CLOCK_MONOTONIC), held;
        if (sent >= end) break;
        if (send(fd, buffer, size, MSG_NOSIGNAL) != (ssize_t)size) return 1;
        uint64_t arrived = hear(fd, buffer, size);
        if (arrived == 0) return 1;
        memcpy(&held, buffer, sizeof held);
        trips[count++] = arrived > sent + held ? arrived - sent - held : 0;
    }
    if (count == 0) return 1;
    qsort(trips, count, sizeof *trips, ascending);
    printf("%zu %llu %llu %llu\n", count, (unsigned long long)trips[count / 2], (unsigned long long)trips[count * 9 / 10],
           (unsigned long long)trips[count * 99 / 100]);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "server")) return serve((uint16_t)atoi(argv[2]));
    if (argc == 7 && !strcmp(argv[1], "client"))
        return measure(argv[2], (uint16_t)atoi(argv[3]), (uint32_t)atoi(argv[4]), (uint64_t)atoll(argv[5]), (uint64_t)atoll(argv[6]));
    fputs("pingpong server PORT | client HOST PORT BYTES RATE_HZ SECONDS\n", stderr);
    return 2;
}
