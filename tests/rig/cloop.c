// cloop: the floor for short answers that are not streamed: raw sockets, epoll, closed loop, content-length only.
//   gcc -O2 -Wall -o cloop cloop.c ;  cloop PORT CONCURRENCY REQUESTS TOKENS
// Prints requests per second, from the first send to the last answer.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static char request[1024];
static int length, sent, wanted;

static void ask(int fd) {
  if (sent == wanted) return;
  sent++;
  if (send(fd, request, length, MSG_NOSIGNAL) != length) { perror("send"); exit(1); }
}

// Bytes of the whole answer once its head is there, 0 before.
static long size_of(const char *head, long have) {
  char *end = memmem(head, have, "\r\n\r\n", 4), *field = memmem(head, have, "ontent-length: ", 15);
  return end && field ? end + 4 - head + atol(field + 15) : 0;
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  int port = atoi(argv[1]), lanes = atoi(argv[2]), done = 0, epoll = epoll_create1(0);
  wanted = atoi(argv[3]);
  char body[512];
  int size = snprintf(body, sizeof body,
                      "{\"model\":\"ref-model\",\"messages\":[{\"role\":\"user\",\"content\":\"hello world\"}],"
                      "\"max_tokens\":%s,\"stream\":false}", argv[4]);
  length = snprintf(request, sizeof request,
                    "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n%s", size, body);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct lane { int fd; long have; char in[8192]; } *all = calloc(lanes, sizeof *all);
  double began = now();
  for (int i = 0; i < lanes; i++) {
    struct lane *lane = &all[i];
    int one = 1;
    lane->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(lane->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(lane->fd, (void *)&at, sizeof at)) { perror("connect"); return 1; }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = lane};
    epoll_ctl(epoll, EPOLL_CTL_ADD, lane->fd, &event);
    ask(lane->fd);
  }
  struct epoll_event events[256];
  while (done < wanted) {
    int ready = epoll_wait(epoll, events, 256, 10000);
    if (ready <= 0) return 1;
    for (int i = 0; i < ready; i++) {
      struct lane *lane = events[i].data.ptr;
      long got = recv(lane->fd, lane->in + lane->have, sizeof lane->in - lane->have, MSG_DONTWAIT);
      if (got <= 0) return 1;
      lane->have += got;
      long all_of_it = size_of(lane->in, lane->have);
      if (all_of_it && lane->have >= all_of_it) {
        lane->have = 0;
        done++;
        ask(lane->fd);
      }
    }
  }
  printf("%.1f\n", wanted / (now() - began));
  return 0;
}
