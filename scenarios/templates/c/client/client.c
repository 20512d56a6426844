// The beginning of a chat client. It shows what comes, sends what is typed, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Ctrl+C: the end of the program closes the connection (CLIENT-2).
static void stop(int number)
{
    (void)number;
    _exit(0);
}

// Connects to the first address that answers; -1 if none does. TODO: CLIENT-7.
static int connect_to(const char *host, const char *port)
{
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(host, port, &hints, &found))
        return -1;
    for (struct addrinfo *one = found; one; one = one->ai_next) {
        int server = socket(one->ai_family, SOCK_STREAM, 0);
        if (!connect(server, one->ai_addr, one->ai_addrlen))
            return server;
        close(server);
    }
    return -1;
}

// Writes all data, even if each write takes only a part.
static void write_all(int fd, const char *data, ssize_t size)
{
    for (ssize_t count; size > 0 && (count = write(fd, data, (size_t)size)) > 0; size -= count)
        data += count;
}

int main(int words, char **word)
{
    const char *host = "localhost", *port = "8080";
    for (int i = 1; i + 1 < words; i++) { // TODO: the other options of PROG-2.
        if (!strcmp(word[i], "--host"))
            host = word[i + 1];
        if (!strcmp(word[i], "--port"))
            port = word[i + 1];
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    int server = connect_to(host, port);
    if (server < 0) { // CLIENT-4
        fprintf(stderr, "cannot connect to %s:%s: no answer\n", host, port);
        return 1;
    }
    struct pollfd waiting[] = {{server, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    static char data[65536];
    while (poll(waiting, 2, -1) > 0) {
        if (waiting[0].revents) {
            ssize_t size = read(server, data, sizeof data);
            if (size <= 0)
                break;
            write_all(STDOUT_FILENO, data, size); // TODO: CLIENT-6.
        }
        if (waiting[1].revents) {
            ssize_t size = read(STDIN_FILENO, data, sizeof data);
            write_all(server, data, size);
            if (size <= 0) {
                waiting[1].fd = -1;
                shutdown(server, SHUT_WR); // CLIENT-3
            }
        }
    }
    // TODO: the last line decides the exit status (CLIENT-5).
    if (waiting[1].fd >= 0)
        fputs("Disconnected\n", stderr);
}
