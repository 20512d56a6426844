// The beginning of a chat server. It asks each user for a name, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
#include <arpa/inet.h>
#include <err.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIGNALS, LISTENER, FIRST_USER, MOST = 1024 };

static struct pollfd watched[MOST]; // the signals, the listener, then the users
static nfds_t count = FIRST_USER;

// TODO: split the input into lines (FRAME-3); the first is the name (JOIN-2 to JOIN-4).
static void receive(struct pollfd *user)
{
    char data[4096];
    if (recv(user->fd, data, sizeof data, 0) > 0)
        return;
    close(user->fd);
    *user = watched[--count];
}

static int signal_fd(void)
{
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    return signalfd(-1, &ending, 0);
}

static int listen_on(const char *host, const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((in_port_t)atoi(port))};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    inet_pton(AF_INET, host, &at.sin_addr);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 128))
        err(1, "cannot listen on %s:%s", host, port);
    getsockname(listener, (struct sockaddr *)&at, &size);
    dprintf(STDOUT_FILENO, "Listening on %s:%d\n", host, ntohs(at.sin_port)); // PROG-3
    return listener;
}

int main(int words, char **word)
{
    const char *host = "127.0.0.1", *port = "8080";
    for (int i = 1; i + 1 < words; i++) { // TODO: the other options of PROG-1.
        if (!strcmp(word[i], "--host"))
            host = word[i + 1];
        if (!strcmp(word[i], "--port"))
            port = word[i + 1];
    }
    signal(SIGPIPE, SIG_IGN);
    watched[SIGNALS] = (struct pollfd){signal_fd(), POLLIN, 0};
    watched[LISTENER] = (struct pollfd){listen_on(host, port), POLLIN, 0};
    while (poll(watched, count, -1) > 0 && !watched[SIGNALS].revents) {
        for (nfds_t i = count; i-- > FIRST_USER;)
            if (watched[i].revents)
                receive(&watched[i]);
        if (watched[LISTENER].revents && count < MOST) {
            watched[count] = (struct pollfd){accept(watched[LISTENER].fd, NULL, NULL), POLLIN, 0};
            dprintf(watched[count++].fd, "Enter your screen name: "); // JOIN-1
        }
    }
    // STOP-1. TODO: send the first `\n` only if a prompt is pending.
    for (nfds_t i = FIRST_USER; i < count; i++)
        dprintf(watched[i].fd, "\nServer is shutting down\n");
}
